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
        'how keys are masked: `"hard"` opens or closes them, trained straight through; `"random"` is the released '
        'code\'s; `"none"` is plain attention',
        default="soft",
    )
    key_strides: list[Count] = setting(
        "edge of the squares that keys are averaged over, for each stage",
        chosen_by="powers of 2, so that there are at most 256 keys, 64 for objects",
    )
    embedding_dim: Index = setting(
        "numbers in the embedding of a pixel; 0: no objects", default=0, chosen_by="32 for objects"
    )
    thing_channels: list[Count] = setting(
        "labels that come as objects; leave it",
        default=[],
        chosen_by="data set",
        used_by="prediction",
        in_plans=False,
    )
    affinity_threshold: Annotated[float, Ge(-1), Le(1)] = setting(
        "cosine similarity from which two pixels are alike", default=0.5, used_by="prediction", in_plans=False
    )
    min_pixels: Count = setting(
        "pixels of an object; fewer are a part of a neighbour, or nothing",
        default=8,
        chosen_by="a quarter of the area at the 5th percentile, at least 4",
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
    contrastive_weight: Weight = setting("weight of the contrast beside the cross-entropy", default=0.5)
    # the paper leaves this one and the next open
    temperature: Positive = setting("cosine similarities are divided by it", default=0.1)
    pixels: Count = setting("pixels that are compared, per patch", default=1024)
    reach: Positive | None = setting(
        "pixels of different objects are compared up to this distance; `null`: any, as published",
        chosen_by="twice the 95th percentile of the objects' edges",
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
