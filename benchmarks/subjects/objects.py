"""Networks for objects with what trains them: IAUNet as planned and as published, nnU-Net on the foreground."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, nn

from benchmarks.published_iaunet import PUBLISHED
from benchmarks.subjects import unets
from benchmarks.subjects.torchvision_import import make_torchvision_importable
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.nnunet.experiment_planning import patch_rules
from maskmed_nnu.nnunet.experiment_planning.instance_rules import PYRAMID
from maskmed_nnu.nnunet.experiment_planning.planners.iaunet import BASE_FEATURES, MAX_FEATURES
from maskmed_nnu.nnunet.plans_handling.settings.iaunet import IAUNetSettings, ImageQueryLoss
from maskmed_nnu.nnunet.training.loss.instance_loss import InstanceLoss
from maskmed_nnu.nnunet.training.loss.maskmed_loss import deep_supervision_weights

INSTANCES = {"layer_classes": [1], "thing_classes": [1], "min_fragment": [8]}
"""What the plans say of a data set with one class of objects."""


def planned_encoder(patch: Sequence[int], voxel: Sequence[float], base: int, most: int) -> dict[str, Any]:
    """nnU-Net's plain encoder with the scales that our planner gives this patch."""
    scales = patch_rules.topology(patch, voxel)
    features = [min(base * 2**stage, most) for stage in range(len(scales.strides))]
    return unets.encoder(features, len(patch), strides=scales.strides, kernels=scales.kernels)


def iaunet(
    patch: Sequence[int], voxel: Sequence[float], *, channels: int, num_queries: int, window: int | Sequence[int]
) -> IAUNet:
    """As planned for one class of objects."""
    plan = planned_encoder(patch, voxel, BASE_FEATURES, MAX_FEATURES)
    settings = IAUNetSettings.plan(
        num_things=1,
        levels=plan["n_stages"] - len(PYRAMID),
        blocks_per_level=0,
        pyramid=list(PYRAMID),
        num_queries=num_queries,
        query_stride=4,
        window=window,
    )
    return IAUNet(input_channels=channels, num_classes=2, **plan, **settings)


def iaunet_loss(network: IAUNet) -> InstanceLoss:
    """As planned."""
    weights = ImageQueryLoss.plan()
    dense_weight = weights.pop("dense_weight")
    criterion = LocationCriterion(num_classes=1, mask_head=network.mask_head, window=network.window, **weights)
    return instance_loss(criterion, dense_weight)


def instance_loss(criterion: nn.Module, dense_weight: float) -> InstanceLoss:
    return InstanceLoss(
        criterion=criterion,
        dense_weight=dense_weight,
        instances=INSTANCES,
        num_classes=2,
        batch_dice=False,
        is_ddp=False,
    )


def published_iaunet(*, channels: int, smoke: bool = False) -> tuple[IAUNet, str]:
    """IAUNet as published and the name of its encoder: ResNet-50 where timm can be imported, else nnU-Net's."""
    settings = {key: value for key, value in PUBLISHED.items() if key != "loss" and "." not in key}
    settings["norm_op"] = nn.BatchNorm2d
    given: dict[str, Any] = {"input_channels": channels, "num_classes": 2, "num_things": 1}
    if smoke:
        settings |= {"width": 16, "ffn": 16, "pyramid": [8], "mask_channels": 4, "num_queries": 5}
    elif _has_timm():
        return IAUNet(backbone="resnet50", **given, **settings), "ResNet-50"
    plan = unets.encoder((4, 4, 8, 8, 8, 8) if smoke else unets.FEATURES_2D[:6], 2)
    plan = {key: value for key, value in plan.items() if not key.startswith("norm")}
    return IAUNet(**given, **plan, **settings), "nnU-Net's encoder"


def published_loss(network: IAUNet) -> InstanceLoss:
    """Matching and loss of learned queries with the published weights."""
    weights = dict(PUBLISHED["loss"])
    dense_weight = weights.pop("dense_weight")
    return instance_loss(SetCriterion(num_classes=1, mask_head=network.mask_head, **weights), dense_weight)


def nnunet_loss(scales: int) -> nn.Module:
    """nnU-Net's loss of the foreground, from the target of `InstanceLoss`."""
    return ForegroundLoss(DeepSupervisionWrapper(unets.dense_loss(), deep_supervision_weights(scales)))


class ForegroundLoss(nn.Module):
    """``loss`` of the semantic map, the first of a target's channels, at every scale."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        semantic = target[:, :1].float()
        result: Tensor = self.loss(outputs, [nn.functional.interpolate(semantic, o.shape[2:]) for o in outputs])
        return result


def device_image(target: Tensor, options: argparse.Namespace) -> Tensor:
    """Noise on the foreground of ``target``."""
    image: Tensor = target[:, :1] + 0.5 * torch.randn(target[:, :1].shape)
    return image.to(options.device)


def _has_timm() -> bool:
    make_torchvision_importable()
    try:
        import timm  # noqa: F401
    except ImportError:
        return False
    return True
