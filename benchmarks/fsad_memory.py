"""What the FSAD-Transformer allocates, against the formulation that projects every value level to its width first.

Both formulations give the same result (sampling and the value projection are linear and commute); they differ in their
intermediate tensors. Measured on the CPU for a training step of the FSAD-Transformer alone (forward and backward) on
the features of nnU-Net's six-stage encoder, for a patch of 64×160×160. ``allocated`` is the sum of all tensors'
storages that were allocated, ``peak`` the most that was alive at one time, both without the input features. Needs no
data::

    python benchmarks/fsad_memory.py
    python benchmarks/fsad_memory.py --patch 32 80 80 --batch-size 2 --layers 1
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from allocations import AllocationCounter

from maskmed_nnu.networks.layers.maskmed.fsad import FSADTransformer
from maskmed_nnu.nnunet.experiment_planning import maskmed_rules

CHANNELS = (32, 64, 128, 256, 320, 320)
FORMULATIONS = {"project every level first": True, "sample natively, project after": False, "ours": None}


def measure(features: list[Tensor], settings: dict, project_first: bool | None) -> tuple[int, int, float]:
    """Bytes allocated in all, bytes alive at the peak, seconds of processor time."""
    torch.manual_seed(0)
    network = FSADTransformer(channels=CHANNELS, spatial_dims=3, project_first=project_first, **settings)
    counter = AllocationCounter()
    counter.ignore(*features, *network.parameters())
    begin = time.process_time()
    with counter:
        refined = network(features)
        loss = sum(refined[level].square().mean() for level in network.query_levels)
        loss.backward()
    seconds = time.process_time() - begin
    for feature in features:
        feature.grad = None
    return counter.allocated, counter.peak, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", nargs=3, type=int, default=(64, 160, 160))
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--layers", type=int, help="FSAD layers (default: the planner's)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    strides = [(1, 1, 1), *[(2, 2, 2)] * 4, (1, 2, 2)]
    settings = maskmed_rules.network_settings(args.patch, strides, num_classes=16, regions=False)["fsad"]
    if args.layers is not None:
        settings["layers"] = args.layers
    features, shape = [], list(args.patch)
    for channels, stride in zip(CHANNELS, strides, strict=True):
        shape = [edge // step for edge, step in zip(shape, stride, strict=True)]
        features.append(torch.randn(args.batch_size, channels, *shape, requires_grad=True))
    results = {name: measure(features, settings, choice) for name, choice in FORMULATIONS.items()}
    base = results["project every level first"]
    print("| formulation | allocated | share | peak | share | CPU s |\n| --- | --- | --- | --- | --- | --- |")
    for name, (allocated, peak, seconds) in results.items():
        print(
            f"| {name} | {allocated / 2**20:,.0f} MiB | {allocated / base[0]:.2f} "
            f"| {peak / 2**20:,.0f} MiB | {peak / base[1]:.2f} | {seconds:.1f} |"
        )
    print(
        f"\npatch {'×'.join(map(str, args.patch))}, batch {args.batch_size}, levels {', '.join(map(str, CHANNELS))}, "
        f"FSAD {settings}"
    )


if __name__ == "__main__":
    main()
