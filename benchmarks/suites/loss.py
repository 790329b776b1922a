"""What matching and losses of many objects cost.

objects: IAUNet's loss as planned, of a tile with ten times as many objects beside another. Outputs of the network have
the same size, forward and backward pass, the label map to targets included. Each object has a query beside its centre,
so that all of them are matched, and the other queries lie on objects too, so that many compete. --dims 3: in a volume.

matching: the share of matching and loss in a step of IAUNet as published, with 100 queries, 100 objects and 9 layers;
beside them Mask2Former's own (transformers) of the same outputs, whose masks at a quarter of the resolution it asks
for. Its targets are given as the stack of masks that it wants, for nothing.

    python -m benchmarks loss
    python -m benchmarks loss --cases objects --dims 3
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness.case import Case, Method, Run
from benchmarks.subjects import mask2former, objects, scenes, unets
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead
from maskmed_nnu.networks.output import QueryOutput
from maskmed_nnu.nnunet.training.loss.instance_targets import instance_targets

LAYERS, MASK_CHANNELS = 4, 8
DEFAULTS = {
    2: {"tile": 512, "window": 96, "queries": 450, "objects": [30, 300]},
    3: {"tile": 96, "window": 32, "queries": 300, "objects": [20, 200]},
}
SMOKE = {"tile": 32, "window": 8, "queries": 8, "objects": [2, 6]}
MATCHED = 100
"""Objects in a tile of the case "matching"."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dims", type=int, choices=sorted(DEFAULTS), default=2)
    for name in ("tile", "window", "queries"):
        default = f"{DEFAULTS[2][name]}; {DEFAULTS[3][name]} in a volume"
        parser.add_argument(f"--{name}", type=int, help=f"default: {default}")
    parser.add_argument("--objects", type=int, nargs="+", help="in a tile (default: 30 300; 20 200 in a volume)")
    parser.add_argument("--batch-size", type=int, default=2)


def many_objects(options: argparse.Namespace) -> Case:
    chosen = dict(SMOKE if options.smoke else DEFAULTS[options.dims])
    chosen |= {name: getattr(options, name) for name in chosen if getattr(options, name) is not None}
    counts = chosen["objects"]
    return Case(
        title=(
            f"IAUNet's loss, tile {'×'.join([str(chosen['tile'])] * options.dims)}, batch {options.batch_size}, "
            f"{chosen['queries']} queries, window {chosen['window']}"
        ),
        unit="loss",
        peer=_label(counts[0]),
        methods=[Method(_label(n), functools.partial(_location_loss, n, chosen, options)) for n in counts],
        repeats=15,
    )


def _label(count: int) -> str:
    return f"{count} objects"


def _location_loss(count: int, chosen: dict[str, Any], options: argparse.Namespace) -> Run:
    random = np.random.default_rng(count)
    tile, queries, shape = chosen["tile"], chosen["queries"], (chosen["tile"],) * options.dims
    maps, places = [], []
    for _ in range(options.batch_size):
        seg, centres = scenes.label_map(count, shape, random)
        nearest = np.concatenate([np.arange(count), random.integers(count, size=queries)])[:queries]
        place = centres[nearest] + random.normal(0, 2, (queries, options.dims))
        maps.append(seg)
        places.append(torch.from_numpy(place.clip(0, tile - 1)) / tile)
    seg, place = torch.stack(maps).to(options.device), torch.stack(places).float().to(options.device)
    head = DynamicMaskHead(mask_channels=MASK_CHANNELS, hidden=8, scale=[chosen["window"] / 2] * options.dims)
    output = _network_output(head, place, shape)
    criterion = LocationCriterion(num_classes=1, mask_head=head, window=[chosen["window"]] * options.dims)

    def step() -> None:
        targets = instance_targets(seg, **objects.INSTANCES)
        criterion(output, targets).total.backward()

    return Run(step)


def _network_output(head: DynamicMaskHead, places: Tensor, shape: tuple[int, ...]) -> QueryOutput:
    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, device=places.device).requires_grad_()

    batch, queries = places.shape[:2]
    return QueryOutput(
        leaf(LAYERS, batch, queries, 2),
        leaf(LAYERS, batch, queries, head.embedding_size),
        leaf(batch, MASK_CHANNELS + len(shape), *shape),
        reference_points=places,
        centre_logits=leaf(batch, 1, *(edge // 4 for edge in shape)),
    )


def matching(options: argparse.Namespace) -> Case:
    tile, count = (64, 5) if options.smoke else (options.tile or 512, (options.objects or [MATCHED])[0])

    @functools.cache
    def subject() -> tuple[nn.Module, str, nn.Module, Tensor, Tensor]:
        random = np.random.default_rng(0)
        maps = [scenes.label_map(count, (tile, tile), random)[0] for _ in range(options.batch_size)]
        network, encoder = objects.published_iaunet(channels=1, smoke=options.smoke)
        loss = objects.published_loss(network)
        target = torch.stack(maps)
        image = objects.device_image(target, options)
        return network.to(options.device).train(), encoder, loss, image, target.to(options.device)

    @functools.cache
    def outputs() -> QueryOutput:
        """Of one forward pass, as leaves."""
        network, _, _, image, _ = subject()
        output = network(image)
        return output._replace(
            **{
                name: getattr(output, name).detach().requires_grad_()
                for name in ("class_logits", "mask_embeddings", "mask_features")
            }
        )

    def whole_step() -> Run:
        network, encoder, loss, image, target = subject()
        trained = unets.Trained(network, loss, torch.optim.AdamW(network.parameters(), 1e-4))
        step = unets.training_step(trained, image, target)
        return Run(step, unets.num_parameters(network), notes={"encoder": encoder})

    def of_outputs(loss_of: Callable[[], Callable[[QueryOutput], Tensor]]) -> Run:
        output, loss = outputs(), loss_of()

        def backward() -> None:
            for leaf in (output.class_logits, output.mask_embeddings, output.mask_features):
                leaf.grad = None  # inside a network, nothing is added to an earlier step's gradient
            loss(output).backward()

        return Run(backward, notes={"layers": len(output.class_logits)})

    def ours() -> Callable[[QueryOutput], Tensor]:
        _, _, loss, _, target = subject()
        return lambda output: loss(output, target)

    def theirs() -> Callable[[QueryOutput], Tensor]:
        network, _, _, _, target = subject()
        return mask2former.loss_of_outputs(network.mask_head, target)

    whole = "a step of IAUNet as published"
    return Case(
        title=f"Matching and loss of {count} objects in tiles of {tile}×{tile}, batch {options.batch_size}",
        peer=whole,
        methods=[
            Method(whole, whole_step),
            Method("of it, matching and loss", lambda: of_outputs(ours)),
            Method("Mask2Former's matching and loss (transformers)", lambda: of_outputs(theirs)),
        ],
        repeats=3,
    )


CASES = {"objects": many_objects, "matching": matching}
DEFAULT = tuple(CASES)
