"""nnU-Net's own network and MaskMed on one plan, with losses, optimizers and a batch to train on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.maskmed import MaskMed
from maskmed_nnu.nnunet.experiment_planning import maskmed_rules
from maskmed_nnu.nnunet.training.loss.maskmed_loss import MaskMedLoss, deep_supervision_weights

FEATURES = (32, 64, 128, 256, 320, 320)
FEATURES_2D = (32, 64, 128, 256, 512, 512, 512, 512)


class Plan(NamedTuple):
    """What nnU-Net plans for a data set."""

    name: str
    patch: tuple[int, ...]
    batch: int
    classes: int
    network: dict[str, Any]

    def __str__(self) -> str:
        patch = "×".join(map(str, self.patch))
        stages, classes = self.network["n_stages"], self.classes
        return f"{self.name}: patch {patch}, {stages} stages, {classes} classes"


class Trained(NamedTuple):
    """A network and what trains it."""

    network: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer


def encoder(
    features: Sequence[int],
    dim: int,
    *,
    strides: Sequence[Sequence[int]] | None = None,
    kernels: Sequence[Sequence[int]] | None = None,
) -> dict[str, Any]:
    """nnU-Net's arguments of a plain network; without ``strides`` every stage but the first halves each axis."""
    stages = len(features)
    return {
        "n_stages": stages,
        "features_per_stage": tuple(features),
        "conv_op": (nn.Conv2d, nn.Conv3d)[dim - 2],
        "kernel_sizes": kernels or ((3,) * dim,) * stages,
        "strides": strides or ((1,) * dim, *((2,) * dim,) * (stages - 1)),
        "n_conv_per_stage": (2,) * stages,
        "n_conv_per_stage_decoder": (2,) * (stages - 1),
        "conv_bias": True,
        "norm_op": (nn.InstanceNorm2d, nn.InstanceNorm3d)[dim - 2],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patch", type=int, default=96, metavar="EDGE", help="of the full plan's cube (default: 96)")
    parser.add_argument("--batch-size", type=int, help="default: 2, of the full plan 1")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=JSON",
        help="MaskMed's arguments in place of the planner's, with loss. those of the set loss: fsad=null",
    )


def hippocampus(options: argparse.Namespace) -> Plan:
    """3d_fullres of MSD Hippocampus."""
    patch = (16, 24, 16) if options.smoke else (40, 56, 40)
    features = (4, 8, 8, 8) if options.smoke else FEATURES[:4]
    return Plan("plan of Hippocampus", patch, options.batch_size or 2, 3, encoder(features, 3))


def full(options: argparse.Namespace) -> Plan:
    """What a large data set such as AMOS gets, on a cube of any edge."""
    edge, features = (32, (4,) * 5) if options.smoke else (options.patch, FEATURES)
    return Plan("full plan", (edge,) * 3, options.batch_size or 1, 16, encoder(features, 3))


PLANS: dict[str, Callable[[argparse.Namespace], Plan]] = {"hippocampus": hippocampus, "full": full}


def dense_loss() -> DC_and_CE_loss:
    """nnU-Net's loss of one scale."""
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, dice_class=MemoryEfficientSoftDiceLoss)


def stock_network(plan: Plan, *, channels: int = 1, deep_supervision: bool = True) -> nn.Module:
    network = PlainConvUNet(channels, num_classes=plan.classes, deep_supervision=deep_supervision, **plan.network)
    return network.apply(InitWeights_He(1e-2))


def stock(plan: Plan) -> Trained:
    """nnU-Net's network, loss and optimizer."""
    network = stock_network(plan)
    weights = deep_supervision_weights(plan.network["n_stages"] - 1, drop_last=0.0)
    loss = DeepSupervisionWrapper(dense_loss(), weights)
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, weight_decay=3e-5, momentum=0.99, nesterov=True)
    return Trained(network, loss, optimizer)


def maskmed(plan: Plan, overrides: dict[str, Any]) -> Trained:
    """MaskMed with its planner's settings, but for ``overrides``; those of the loss begin with ``loss.``."""
    network_settings = maskmed_rules.network_settings(
        plan.patch, plan.network["strides"], num_classes=plan.classes, regions=False
    )
    loss_settings = maskmed_rules.loss_settings(plan.patch)
    for key, value in overrides.items():
        settings = loss_settings if key.startswith("loss.") else network_settings
        settings[key.removeprefix("loss.")] = value
    network = MaskMed(input_channels=1, num_classes=plan.classes, **plan.network, **network_settings)
    aux_weight = loss_settings.pop("aux_weight")
    criterion = SetCriterion(
        num_classes=plan.classes,
        mask_head=DotProductMaskHead(),
        matching="fixed" if network_settings["head"] == "unmatched_queries" else "bipartite",
        **loss_settings,
    )
    loss = MaskMedLoss(
        criterion=criterion,
        dense=dense_loss(),
        num_classes=plan.classes,
        regions=False,
        ignore_label=None,
        aux_weight=aux_weight,
    )
    return Trained(network, loss, torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=3e-5))


def batch(plan: Plan, device: torch.device) -> tuple[Tensor, list[Tensor]]:
    """Noise on a label map with a box of every class, and that map on nnU-Net's supervised scales."""
    label = torch.zeros(plan.batch, 1, *plan.patch)
    for number in range(1, plan.classes):
        starts = [number * step % (2 * edge // 3) for step, edge in zip((37, 13, 7), plan.patch, strict=True)]
        box = [slice(start, start + edge // 3) for start, edge in zip(starts, plan.patch, strict=True)]
        label[:, 0, box[0], box[1], box[2]] = number
    image = (torch.randn(label.shape) + label).to(device)
    label = label.to(device)
    scales = [2**scale for scale in range(plan.network["n_stages"] - 1)]
    return image, [label[:, :, ::s, ::s, ::s].contiguous() for s in scales]


def training_step(
    trained: Trained, image: Tensor, target: Any, *, dtype: torch.dtype = torch.float32
) -> Callable[[], None]:
    """As nnU-Net's ``train_step``: forward, loss, backward, gradient clipping, optimizer."""
    network, loss, optimizer = trained
    network.to(image.device).train()
    kind = image.device.type
    scaler = torch.amp.GradScaler(kind, enabled=kind == "cuda" and dtype == torch.float16)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(kind, dtype=dtype, enabled=dtype != torch.float32):
            value = loss(network(image), target)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        scaler.step(optimizer)
        scaler.update()

    return step


def parse_override(text: str) -> tuple[str, Any]:
    """
    >>> parse_override("head_levels=[3, 2]")
    ('head_levels', [3, 2])
    """
    key, separator, value = text.partition("=")
    try:
        if not separator:
            raise ValueError
        return key, json.loads(value)
    except ValueError:
        raise SystemExit(f"--set {text!r} is not of the form KEY=JSON; write fsad=null, for example.") from None


def variant(overrides: Sequence[str]) -> str:
    """The name of MaskMed with these words of ``--set``."""
    return ", ".join(["MaskMed", *overrides])


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
