"""Every network with its training loss and a made-up batch, small or as planned.

What checks of a GPU run, and what the tests run that show without one how the code behaves there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, nn

from benchmarks.subjects import unets
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks import IAUNet, MaskAttnUNet, MaskMed, SimpleUNet
from maskmed_nnu.nnunet.experiment_planning import maskattn_rules, maskmed_rules
from maskmed_nnu.nnunet.plans_handling.settings.iaunet import IAUNetSettings, ImageQueryLoss
from maskmed_nnu.nnunet.plans_handling.settings.maskattn_unet import EmbeddingLossSettings, MaskAttnUNetSettings
from maskmed_nnu.nnunet.plans_handling.settings.simple_unet import SimpleUNetSettings
from maskmed_nnu.nnunet.training.loss.embedding_loss import EmbeddingLoss
from maskmed_nnu.nnunet.training.loss.instance_loss import InstanceLoss
from maskmed_nnu.nnunet.training.loss.maskmed_loss import MaskMedLoss, deep_supervision_weights

Loss = Callable[[Any, Any], Tensor]
STOCK = "nnU-Net"
NARROW = {"head_dim": 16, "head_heads": 2, "head_ffn": 32}
NARROW_FSAD = {"dim": 16, "heads": 2, "points": 2, "ffn": 32}


@dataclass(frozen=True)
class Plan:
    """The scales of an encoder, patch and batch; edges are halved from stage to stage."""

    patch: tuple[int, ...]
    features: tuple[int, ...]
    batch: int = 2
    classes: int = 3

    @property
    def dim(self) -> int:
        return len(self.patch)

    @property
    def object_edge(self) -> int:
        """Of the made-up objects, in pixels."""
        return max(4, self.patch[-1] // 32)

    @property
    def encoder(self) -> dict[str, Any]:
        """nnU-Net's arguments of its plain network."""
        return unets.encoder(self.features, self.dim)


@dataclass(frozen=True)
class Case:
    """``loss`` of a network is called as ``loss(output, target)``; ``batch`` gives the same image and target, on the
    CPU, every time."""

    name: str
    plan: Plan
    network: Callable[[], nn.Module]
    loss: Callable[[nn.Module], Loss]
    batch: Callable[[], tuple[Tensor, Any]]
    learning_rate: float = 1e-3

    @property
    def is_stock(self) -> bool:
        return self.name.startswith(STOCK)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """nnU-Net's for its network, our trainers' for ours."""
        if self.is_stock:
            return torch.optim.SGD(network.parameters(), 1e-2, weight_decay=3e-5, momentum=0.99, nesterov=True)
        return torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=3e-5, fused=True)

    def finds_objects(self, network: nn.Module) -> bool:
        return getattr(network, "predicts_instances", isinstance(network, IAUNet))

    def predict(self, network: nn.Module, image: Tensor) -> list[Tensor]:
        """What prediction starts from: dense logits, or scores, masks and maps of objects."""
        if self.finds_objects(network):
            return list(network.tile_tensors(image).values())
        return [network(image)]


TINY_2D, TINY_3D = Plan((32, 32), (4, 8, 12)), Plan((16, 16, 16), (4, 8, 12))
SMALL_2D, SMALL_3D = Plan((128, 128), (16, 32, 64, 64)), Plan((32, 32, 32), (16, 32, 64, 64))
HIPPOCAMPUS = Plan((40, 56, 40), (32, 64, 128, 256), batch=9)
"""What nnU-Net plans for MSD's Hippocampus."""
FULL = Plan((128, 128, 128), (32, 64, 128, 256, 320, 320), classes=16)
"""A plan for abdominal organs in CT, on a card with 8 GB."""
IMAGES = Plan((512, 512), (32, 64, 128, 256, 512, 512, 512, 512), batch=12)
"""nnU-Net's for large images with the same memory."""


def every_network(*, tiny: bool = False, points: int | None = None) -> list[Case]:
    """All networks, MaskAttnUNet with its two losses.

    Losses are computed at all positions, so that a device draws no others than the CPU, or at ``points``.
    """
    image, volume = (TINY_2D, TINY_3D) if tiny else (SMALL_2D, SMALL_3D)
    pairs = image if tiny else replace(image, patch=(64, 64))  # the loss compares all pixels with all others
    return [
        maskmed(image, narrow=tiny, num_points=points),
        maskmed(volume, narrow=tiny, num_points=points),
        iaunet(image, narrow=tiny, num_points=points or 2**40),
        iaunet(volume, narrow=tiny, num_points=points or 2**40),
        maskattn_unet(image, narrow=tiny),
        maskattn_unet(pairs, narrow=tiny, objects=True, pixels=points or math.prod(pairs.patch)),
        simple_unet(image),
        simple_unet(volume),
    ]


def stock(plan: Plan) -> Case:
    """nnU-Net's own network and loss."""
    return Case(
        f"{STOCK} {plan.dim}D",
        plan,
        lambda: PlainConvUNet(1, num_classes=plan.classes, deep_supervision=True, **plan.encoder),
        lambda network: DeepSupervisionWrapper(unets.dense_loss(), _scale_weights(plan)),
        lambda: _labelled(plan),
    )


def maskmed(plan: Plan, *, narrow: bool = False, **weights: Any) -> Case:
    """``weights``, as in the other functions, take the place of planned settings of the loss."""
    settings = maskmed_rules.network_settings(
        plan.patch, plan.encoder["strides"], num_classes=plan.classes, regions=False
    )
    if narrow:
        settings |= NARROW
        settings["fsad"] = settings["fsad"] | NARROW_FSAD
    weights = maskmed_rules.loss_settings(plan.patch) | weights
    aux_weight = weights.pop("aux_weight")

    def loss(network: nn.Module) -> Loss:
        criterion = SetCriterion(num_classes=plan.classes, mask_head=network.mask_head, **weights)
        shared: dict[str, Any] = {"num_classes": plan.classes, "regions": False, "ignore_label": None}
        return MaskMedLoss(criterion=criterion, dense=unets.dense_loss(), aux_weight=aux_weight, **shared)

    return Case(
        f"MaskMed {plan.dim}D",
        plan,
        lambda: MaskMed(input_channels=1, num_classes=plan.classes, **plan.encoder, **settings),
        loss,
        lambda: _labelled(plan),
    )


def iaunet(plan: Plan, *, narrow: bool = False, **weights: Any) -> Case:
    """Objects of one class and stuff of another."""
    pyramid = [8, 6] if narrow else [48, 32, 16][: len(plan.features) - 1]
    settings = IAUNetSettings.plan(
        num_things=1,
        levels=len(plan.features) - len(pyramid),
        blocks_per_level=1 if narrow else 0,  # blocks are planned for overlapping objects
        pyramid=pyramid,
        num_queries=math.ceil(1.5 * math.prod(edge // (2 * plan.object_edge) for edge in plan.patch)),
        query_stride=2 if narrow else 4,
        window=[2 * plan.object_edge] * plan.dim,
        **({"width": 16, "ffn": 32} if narrow else {}),
    )
    weights = ImageQueryLoss.plan() | weights
    dense_weight = weights.pop("dense_weight")

    def loss(network: nn.Module) -> Loss:
        criterion = LocationCriterion(num_classes=1, mask_head=network.mask_head, window=network.window, **weights)
        return InstanceLoss(
            criterion=criterion,
            instances={"layer_classes": [1], "thing_classes": [1], "min_fragment": [4]},
            num_classes=plan.classes,
            dense_weight=dense_weight,
            batch_dice=False,
            is_ddp=False,
        )

    return Case(
        f"IAUNet {plan.dim}D",
        plan,
        lambda: IAUNet(input_channels=1, num_classes=plan.classes, **plan.encoder, **settings),
        loss,
        lambda: _with_objects(plan),
        learning_rate=5e-3,
    )


def maskattn_unet(plan: Plan, *, narrow: bool = False, objects: bool = False, **weights: Any) -> Case:
    """Labels with nnU-Net's loss, or an embedding of objects among stuff."""
    planned = maskattn_rules.OBJECT_FEATURES if objects else maskattn_rules.FEATURES
    strides = plan.encoder["strides"][: len(planned)]
    # half precision cannot normalise a handful of channels
    widths = [max(width, 16) for width in plan.features] if narrow else planned
    of_objects = {
        "placement": maskattn_rules.OBJECT_PLACEMENT,
        "embedding_dim": 8 if narrow else maskattn_rules.EMBEDDING_DIM,
    }
    max_keys = maskattn_rules.OBJECT_KEYS if objects else maskattn_rules.MAX_KEYS
    key_strides = maskattn_rules.key_strides(plan.patch, strides, max_keys)
    settings = MaskAttnUNetSettings.plan(key_strides=key_strides, **(of_objects if objects else {}))
    shared = {name: plan.encoder[name] for name in ("conv_op", "norm_op", "norm_op_kwargs")}
    weights = EmbeddingLossSettings.plan(reach=4 * plan.object_edge) | weights

    def network() -> nn.Module:
        return MaskAttnUNet(
            input_channels=1,
            num_classes=plan.classes,
            n_stages=len(strides),
            features_per_stage=widths[: len(strides)],
            strides=strides,
            thing_channels=[1] if objects else [],
            **shared,
            **settings,
        )

    return Case(
        "MaskAttnUNet, objects" if objects else "MaskAttnUNet",
        plan,
        network,
        lambda network: EmbeddingLoss(layer_classes=[1], **weights) if objects else _finest(unets.dense_loss()),
        lambda: _with_objects(plan) if objects else _labelled(plan),
    )


def simple_unet(plan: Plan, **preset: Any) -> Case:
    settings = SimpleUNetSettings.plan(**({"selection_rate": 0.375} | preset))
    names = ("n_stages", "strides", "conv_op", "kernel_sizes", "norm_op", "norm_op_kwargs")
    return Case(
        f"SimpleUNet {plan.dim}D",
        plan,
        lambda: SimpleUNet(
            input_channels=1, num_classes=plan.classes, **{name: plan.encoder[name] for name in names}, **settings
        ),
        lambda network: _finest(unets.dense_loss()),
        lambda: _labelled(plan),
    )


def to_device(target: Any, device: torch.device | str) -> Any:
    """A target, or several, on a device."""
    return target.to(device) if isinstance(target, Tensor) else [to_device(one, device) for one in target]


def _finest(loss: Loss) -> Loss:
    """Without deep supervision nnU-Net gives the finest target alone."""
    return lambda output, target: loss(output, target[0])


def _scale_weights(plan: Plan) -> list[float]:
    return deep_supervision_weights(len(plan.features) - 1, drop_last=0.0)


def _labelled(plan: Plan) -> tuple[Tensor, list[Tensor]]:
    """A box of each class on nnU-Net's supervised scales, and an image that shows it."""
    label = torch.zeros(plan.batch, 1, *plan.patch)
    for number in range(1, plan.classes):
        starts = [number * factor % (edge * 2 // 3) for factor, edge in zip((37, 13, 7), plan.patch, strict=False)]
        box = tuple(slice(at, at + edge // 3) for at, edge in zip(starts, plan.patch, strict=True))
        label[(slice(None), slice(None), *box)] = number
    scales = [label[(..., *[slice(None, None, 2**scale)] * plan.dim)] for scale in range(len(plan.features) - 1)]
    return label / plan.classes + _noise(label.shape), [scale.contiguous() for scale in scales]


def _with_objects(plan: Plan) -> tuple[Tensor, Tensor]:
    """Boxes on a grid, twice as far apart as they are wide, and stuff below them in the last quarter of the rows."""
    pitch = 2 * plan.object_edge
    axes = [torch.arange(edge) for edge in plan.patch]
    places = torch.meshgrid(*axes, indexing="ij")
    whole = [place // pitch < edge // pitch for place, edge in zip(places, plan.patch, strict=True)]
    inside = torch.stack([place % pitch < plan.object_edge for place in places] + whole).all(0)
    number = torch.zeros(plan.patch, dtype=torch.int64)
    for place, edge in zip(places, plan.patch, strict=True):
        number = number * (edge // pitch) + place // pitch
    ids = torch.where(inside, number + 1, 0)
    stuff = torch.where(places[0] >= plan.patch[0] * 3 // 4, 2, 0)
    target = torch.stack([torch.where(inside, 1, stuff), ids]).short().expand(plan.batch, -1, *plan.patch)
    return target[:, :1] + _noise((plan.batch, 1, *plan.patch)), target.contiguous()


def _noise(shape: Sequence[int]) -> Tensor:
    return 0.1 * torch.randn(tuple(shape), generator=torch.Generator().manual_seed(0))
