"""What more objects cost IAUNet's loss: a tile with ten times as many of them beside another.

The loss is that of `LocationCriterion` on network outputs of the same size (450 queries, four supervised layers, masks
at full resolution), forward and backward pass, the label map to targets included. Objects are discs, or balls in a
volume, on a jittered grid.
Each has a query beside its centre, so that all of them are matched, and the other queries lie on objects too, so that
many compete. The two take turns, so that a busy machine slows both alike. Needs no data::

    python benchmarks/instance_loss.py
    python benchmarks/instance_loss.py --dims 3
    python benchmarks/instance_loss.py --device cuda
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead
from maskmed_nnu.networks.output import QueryOutput
from maskmed_nnu.nnunet.training.loss.instance_targets import instance_targets

LAYERS, MASK_CHANNELS = 4, 8
DEFAULTS = {
    2: {"tile": 512, "window": 96, "queries": 450, "objects": [30, 300]},
    3: {"tile": 96, "window": 32, "queries": 300, "objects": [20, 200]},
}


def label_map(objects: int, shape: Sequence[int], random: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """``[2, *shape]``, semantic map and ids of balls that do not touch; and their centres ``[N, dim]`` (x, y, z)."""
    rows = math.ceil(objects ** (1 / len(shape)) - 1e-9)
    ids, step = np.zeros(shape, np.int16), np.array(shape) / rows
    place = np.moveaxis(np.indices(shape), 0, -1) + 0.5
    centres = []
    for index in random.permutation(rows ** len(shape))[:objects]:
        cell = np.array(np.unravel_index(index, (rows,) * len(shape)))
        centre = (cell + 0.5 + random.uniform(-0.1, 0.1, len(shape))) * step
        around = tuple(slice(max(int(at - s), 0), int(at + s) + 1) for at, s in zip(centre, step, strict=True))
        near = ((place[around] - centre) ** 2).sum(-1) < min(0.35 * step.min(), 12) ** 2
        centres.append(centre[::-1])
        ids[around][near] = len(centres)
    return torch.from_numpy(np.stack([(ids > 0).astype(np.int16), ids])), np.stack(centres)


def network_output(head: DynamicMaskHead, places: Tensor, shape: Sequence[int], queries: int) -> QueryOutput:
    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, device=places.device).requires_grad_()

    batch = len(places)
    return QueryOutput(
        leaf(LAYERS, batch, queries, 2),
        leaf(LAYERS, batch, queries, head.embedding_size),
        leaf(batch, MASK_CHANNELS + len(shape), *shape),
        reference_points=places,
        centre_logits=leaf(batch, 1, *(edge // 4 for edge in shape)),
    )


def stepper(objects: int, args: argparse.Namespace) -> Callable[[], None]:
    random = np.random.default_rng(objects)
    shape = (args.tile,) * args.dims
    maps, places = [], []
    for _ in range(args.batch_size):
        seg, centres = label_map(objects, shape, random)
        chosen = np.concatenate([np.arange(objects), random.integers(objects, size=args.queries)])[: args.queries]
        place = centres[chosen] + random.normal(0, 2, (args.queries, args.dims))
        maps.append(seg)
        places.append(torch.from_numpy(place.clip(0, args.tile - 1)) / args.tile)
    seg, places = torch.stack(maps).to(args.device), torch.stack(places).float().to(args.device)
    head = DynamicMaskHead(mask_channels=MASK_CHANNELS, hidden=8, scale=[args.window / 2] * args.dims)
    output = network_output(head, places, shape, args.queries)
    criterion = LocationCriterion(num_classes=1, mask_head=head, window=[args.window] * args.dims)

    def step() -> None:
        targets = instance_targets(seg, layer_classes=[1], thing_classes=[1], min_fragment=[8])
        criterion(output, targets).total.backward()
        if seg.is_cuda:
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, choices=sorted(DEFAULTS), default=2)
    for name in ("tile", "window", "queries"):
        parser.add_argument(f"--{name}", type=int, help=f"{DEFAULTS[2][name]}; {DEFAULTS[3][name]} in a volume")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--objects", type=int, nargs="+", help="30 300; 20 200 in a volume")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    args = parser.parse_args()
    for name, default in DEFAULTS[args.dims].items():
        setattr(args, name, default if getattr(args, name) is None else getattr(args, name))
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    steps = {objects: stepper(objects, args) for objects in args.objects}
    wall: dict[int, list[float]] = {objects: [] for objects in steps}
    busy: dict[int, list[float]] = {objects: [] for objects in steps}
    for repeat in range(-2, args.repeats):
        for objects, step in steps.items():
            begin, begin_busy = time.perf_counter(), time.process_time()
            step()
            if repeat >= 0:  # the first two warm caches and allocators up
                wall[objects].append(time.perf_counter() - begin)
                busy[objects].append(time.process_time() - begin_busy)
    print("| objects | s per loss | ratio | CPU s per loss | ratio |\n| --- | --- | --- | --- | --- |")
    wall_of, busy_of = ({n: statistics.median(t) for n, t in times.items()} for times in (wall, busy))
    first = args.objects[0]
    for n in steps:
        print(
            f"| {n} | {wall_of[n]:.3f} | {wall_of[n] / wall_of[first]:.2f} "
            f"| {busy_of[n]:.3f} | {busy_of[n] / busy_of[first]:.2f} |"
        )
    print(
        f"\nmedians of {args.repeats} interleaved repeats; tile {'×'.join([str(args.tile)] * args.dims)}, "
        f"batch {args.batch_size}, {args.queries} queries, window {args.window}, {args.device}, "
        f"{args.threads} thread(s)"
    )


if __name__ == "__main__":
    main()
