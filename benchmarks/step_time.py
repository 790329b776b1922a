"""How much longer a training step of MaskMed takes than one of the stock network with the same encoder.

Both networks have the encoder, patch and batch that nnU-Net plans for MSD Hippocampus (3d_fullres); ours has the
planner's defaults for that plan. A step is forward, loss, backward, gradient clipping and optimizer, as in nnU-Net's
``train_step``. The two take turns, so that a busy machine slows both alike; where it is very busy, the processor time
with ``--threads 1`` is the figure to trust. Needs no data::

    python benchmarks/step_time.py
    python benchmarks/step_time.py fsad=null            # a variant: any of MaskMed's arguments, as key=json
    python benchmarks/step_time.py loss.num_points=12544
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.maskmed import MaskMed
from maskmed_nnu.nnunet.experiment_planning import maskmed_rules
from maskmed_nnu.nnunet.training.loss.maskmed_loss import MaskMedLoss

PATCH, CLASSES = (40, 56, 40), 3
PLAN = {
    "n_stages": 4,
    "features_per_stage": (32, 64, 128, 256),
    "conv_op": nn.Conv3d,
    "kernel_sizes": ((3, 3, 3),) * 4,
    "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    "n_conv_per_stage": (2, 2, 2, 2),
    "n_conv_per_stage_decoder": (2, 2, 2),
    "conv_bias": True,
    "norm_op": nn.InstanceNorm3d,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"inplace": True},
}


def dense_loss() -> DC_and_CE_loss:
    """nnU-Net's loss of one scale with the settings of that plan."""
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, dice_class=MemoryEfficientSoftDiceLoss)


def stock() -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    network = PlainConvUNet(1, num_classes=CLASSES, deep_supervision=True, **PLAN)
    network.apply(InitWeights_He(1e-2))
    loss = DeepSupervisionWrapper(dense_loss(), [2 / 3, 1 / 3, 0.0])
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, weight_decay=3e-5, momentum=0.99, nesterov=True)
    return network, loss, optimizer


def ours(overrides: dict) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    network_settings = maskmed_rules.network_settings(PATCH, PLAN["strides"], num_classes=CLASSES, regions=False)
    loss_settings = maskmed_rules.loss_settings(PATCH)
    for key, value in overrides.items():
        if key.startswith("loss."):
            loss_settings[key.removeprefix("loss.")] = value
        else:
            network_settings[key] = value
    network = MaskMed(input_channels=1, num_classes=CLASSES, deep_supervision=True, **PLAN, **network_settings)
    aux_weight = loss_settings.pop("aux_weight")
    criterion = SetCriterion(
        num_classes=CLASSES,
        mask_head=DotProductMaskHead(),
        matching="fixed" if network_settings["head"] == "unmatched_queries" else "bipartite",
        **loss_settings,
    )
    loss = MaskMedLoss(
        criterion=criterion,
        dense=dense_loss(),
        num_classes=CLASSES,
        regions=False,
        ignore_label=None,
        aux_weight=aux_weight,
    )
    return network, loss, torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=3e-5, fused=True)


def batch(size: int, device: torch.device) -> tuple[Tensor, list[Tensor]]:
    """Noise, and a label map of two boxes on nnU-Net's three supervised scales."""
    label = torch.zeros(size, 1, *PATCH, device=device)
    label[:, :, 10:20, 14:40, 12:28], label[:, :, 20:30, 14:40, 12:28] = 1, 2
    return torch.randn(size, 1, *PATCH, device=device), [label[:, :, ::s, ::s, ::s].contiguous() for s in (1, 2, 4)]


def stepper(
    network: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, data: Tensor, target: list[Tensor]
) -> Callable[[], None]:
    network.to(data.device).train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(network(data), target).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        if data.is_cuda:
            torch.cuda.synchronize()

    return step


def parse_override(text: str) -> tuple[str, object]:
    key, separator, value = text.partition("=")
    try:
        if not separator:
            raise ValueError
        return key, json.loads(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=json") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", type=parse_override, metavar="KEY=JSON")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    data, target = batch(args.batch_size, torch.device(args.device))
    methods = {"stock": stock(), "MaskMed": ours(dict(args.overrides))}
    steps = {name: stepper(*parts, data, target) for name, parts in methods.items()}
    wall: dict[str, list[float]] = {name: [] for name in steps}
    busy: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(-2, args.repeats):
        for name, step in steps.items():
            begin, begin_busy = time.perf_counter(), time.process_time()
            step()
            if repeat >= 0:  # the first two warm caches and allocators up
                wall[name].append(time.perf_counter() - begin)
                busy[name].append(time.process_time() - begin_busy)
    print(
        "| network | parameters | s per step | ratio | CPU s per step | ratio |\n| --- | --- | --- | --- | --- | --- |"
    )
    wall_of, busy_of = ({n: statistics.median(t) for n, t in times.items()} for times in (wall, busy))
    for name, (network, _, _) in methods.items():
        parameters = sum(p.numel() for p in network.parameters())
        print(
            f"| {name} | {parameters:,} | {wall_of[name]:.3f} | {wall_of[name] / wall_of['stock']:.2f} "
            f"| {busy_of[name]:.3f} | {busy_of[name] / busy_of['stock']:.2f} |"
        )
    print(
        f"\nmedians of {args.repeats} interleaved repeats; patch {'×'.join(map(str, PATCH))}, "
        f"batch {args.batch_size}, {args.device}, {args.threads} threads"
    )


if __name__ == "__main__":
    main()
