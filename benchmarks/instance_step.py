"""What a training step of IAUNet costs in a volume: its peak memory, and its time beside nnU-Net's own 3d_fullres.

Both networks have the scales that nnU-Net plans for patch and voxels; ours has the planner's widths and settings,
nnU-Net's has 32 features at full resolution. A step is forward, loss from label map, backward, gradient clipping and
optimizer. Each network runs in a process of its own, whose peak memory is that of the interpreter and its packages too.
Needs no data::

    python benchmarks/instance_step.py
    python benchmarks/instance_step.py --patch 32 96 96 --voxel 3 1 1 --objects 60 --window 12 32 32
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from benchmarks.instance_loss import label_map
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.nnunet.experiment_planning import patch_rules
from maskmed_nnu.nnunet.experiment_planning.instance_rules import PYRAMID, QUERY_MARGIN
from maskmed_nnu.nnunet.experiment_planning.planners.iaunet import BASE_FEATURES, MAX_FEATURES
from maskmed_nnu.nnunet.plans_handling.settings.iaunet import IAUNetSettings, ImageQueryLoss
from maskmed_nnu.nnunet.training.loss.instance_loss import InstanceLoss

Step = Callable[[], None]


def encoder(args: argparse.Namespace, base: int, most: int) -> dict[str, Any]:
    scales = patch_rules.topology(args.patch, args.voxel)
    stages = len(scales.strides)
    return {
        "n_stages": stages,
        "features_per_stage": [min(base * 2**stage, most) for stage in range(stages)],
        "conv_op": nn.Conv3d,
        "kernel_sizes": scales.kernels,
        "strides": scales.strides,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


def iaunet(args: argparse.Namespace, target: Tensor) -> Step:
    plan = encoder(args, BASE_FEATURES, MAX_FEATURES)
    settings = IAUNetSettings.plan(
        num_things=1,
        levels=plan["n_stages"] - len(PYRAMID),
        blocks_per_level=0,
        pyramid=list(PYRAMID),
        num_queries=round(QUERY_MARGIN * args.objects),
        query_stride=4,
        window=args.window,
    )
    network = IAUNet(input_channels=1, num_classes=2, **plan, **settings)
    weights = ImageQueryLoss.plan()
    loss = InstanceLoss(
        dense_weight=weights.pop("dense_weight"),
        criterion=LocationCriterion(num_classes=1, mask_head=network.mask_head, window=network.window, **weights),
        instances={"layer_classes": [1], "thing_classes": [1], "min_fragment": [8]},
        num_classes=2,
        batch_dice=False,
        is_ddp=False,
    )
    return stepper(network, lambda image: loss(network(image), target), target)


def nnunet(args: argparse.Namespace, target: Tensor) -> Step:
    network = PlainConvUNet(1, num_classes=2, deep_supervision=True, **encoder(args, 32, 320))
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    scales = len(patch_rules.topology(args.patch, args.voxel).strides) - 1
    one_scale = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
    loss = DeepSupervisionWrapper(one_scale, [1 / 2**scale for scale in range(scales)])
    semantic = target[:, :1].float()

    def loss_of(image: Tensor) -> Tensor:
        outputs = network(image)
        return loss(outputs, [nn.functional.interpolate(semantic, one.shape[2:]) for one in outputs])

    return stepper(network, loss_of, target)


def stepper(network: nn.Module, loss_of: Callable[[Tensor], Tensor], target: Tensor) -> Step:
    image = target[:, :1] + 0.5 * torch.randn(target[:, :1].shape)
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(image).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()

    return step


METHODS = {"IAUNet": iaunet, "nnU-Net": nnunet}


def measure(name: str, args: argparse.Namespace) -> tuple[float, float]:
    """CPU seconds per step, and the peak of the process in GiB."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    target = torch.stack([label_map(args.objects, args.patch, random)[0] for _ in range(args.batch_size)])
    step = METHODS[name](args, target)
    times = []
    for _ in range(1 + args.repeats):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    return statistics.median(times[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 96, 96])
    parser.add_argument("--voxel", type=float, nargs=3, default=[1, 1, 1])
    parser.add_argument("--window", type=int, nargs=3, default=[32, 32, 32])
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    print("| network | CPU s per step | ratio | peak memory, GiB |\n| --- | --- | --- | --- |", flush=True)
    rows = {}
    for name in args.methods:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows[name] = pool.apply(measure, (name, args))
    for name, (seconds, memory) in rows.items():
        print(f"| {name} | {seconds:.2f} | {seconds / rows[args.methods[-1]][0]:.2f} | {memory:.1f} |")
    print(
        f"\nmedians of {args.repeats} steps; patch {'×'.join(map(str, args.patch))}, batch {args.batch_size}, "
        f"{args.objects} objects per sample, {args.threads} thread(s)"
    )


if __name__ == "__main__":
    main()
