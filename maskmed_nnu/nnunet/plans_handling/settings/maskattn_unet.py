"""Settings of MaskAttn-UNet."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from maskmed_nnu.nnunet.plans_handling.settings.instances import InstanceSettings
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import Norm, Stages
from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.nnunet.plans_handling.settings.schema import Count, Index, Positive, Settings, Weight, setting


class MaskAttnUNetSettings(Settings):
    """What the network needs beside nnU-Net's arguments; the last three are planned for objects only."""

    heads: Count = setting("attention heads of every module, a divisor of the widths", default=4)
    placement: Literal["both", "encoder", "decoder", "none"] = setting(
        'where modules are; `"none"` is a plain U-Net', default="both", chosen_by='`"decoder"` for objects'
    )
    mask: Literal["soft", "hard", "random", "none"] = setting(
        'how keys are masked: `"hard"` is a binary mask with a straight-through gradient; `"random"` is that of the '
        'released code; `"none"` is plain attention',
        default="soft",
    )
    key_strides: list[Count] = setting(
        "edge of the squares over which keys are averaged, for each stage",
        chosen_by="powers of 2, so that there are at most 256 keys, 64 for objects",
    )
    embedding_dim: Index = setting(
        "length of the embedding of a pixel; 0: no objects", default=0, chosen_by="32 for objects"
    )
    thing_channels: list[Count] = setting(
        "labels with objects; do not change",
        default=[],
        chosen_by="data set",
        used_by="prediction",
        in_plans=False,
    )
    affinity_threshold: Annotated[float, Ge(-1), Le(1)] = setting(
        "smallest cosine similarity of two similar pixels", default=0.6, used_by="prediction", in_plans=False
    )
    min_pixels: Count = setting(
        "smallest number of pixels of an object; smaller ones are dropped, and those with fewer than twice as many "
        "that touch another one are merged with it",
        default=16,
        chosen_by="half the area at the 5th percentile, at least 8",
        used_by="prediction",
        in_plans=False,
    )


class MaskAttnUNetKwargs(MaskAttnUNetSettings, Norm, Stages):
    """``arch_kwargs``."""

    features_per_stage: list[Count] = setting("widths")


class ObjectTraining(Settings):
    """``maskattn_unet`` where objects are learned."""

    used_by = "trainer"
    learning_rate: Positive = setting("at its highest", default=5e-4)


class LabelTraining(ObjectTraining):
    """``maskattn_unet`` where labels are learned."""

    deep_supervision: bool = setting("nnU-Net's loss at every scale of the decoder (labels only)", default=False)


class EmbeddingLossSettings(Settings):
    """``instance_loss``."""

    used_by = "loss"
    # published
    contrastive_weight: Weight = setting("weight of the contrastive loss, added to the cross-entropy", default=0.5)
    # the paper leaves this one and the next open
    temperature: Positive = setting("cosine similarities are divided by it", default=0.1)
    pixels: Count = setting("number of pixels compared per patch", default=1024)
    reach: Positive | None = setting(
        "pixels of different objects are compared up to this distance; `null`: any, as published",
        chosen_by="0.7 times the 95th percentile of the objects' edges, at least 8",
    )


def sections(configuration: dict[str, Any]) -> dict[str, type[Settings]]:
    """The sections of a configuration for MaskAttn-UNet: those of objects where there are some."""
    if "instances" not in configuration:
        return {"maskmed_nnu": Origin, "arch_kwargs": MaskAttnUNetKwargs, "maskattn_unet": LabelTraining}
    return {
        "maskmed_nnu": Origin,
        "arch_kwargs": MaskAttnUNetKwargs,
        "instances": InstanceSettings,
        "maskattn_unet": ObjectTraining,
        "instance_loss": EmbeddingLossSettings,
    }
