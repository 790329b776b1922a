"""Settings of SimpleUNet and SimpleESKNet."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Gt, Le

from maskmed_nnu.nnunet.plans_handling.settings.nnunet import Norm, PerStage, Stages
from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.nnunet.plans_handling.settings.pixelwise import PixelwiseTraining
from maskmed_nnu.nnunet.plans_handling.settings.schema import Count, Positive, Settings, setting

SECTION = "simple_unet"
ESK_NETWORK = "maskmed_nnu.networks.simple_unet.SimpleESKNet"


class SkeletonSettings(Settings):
    """What both networks need beside nnU-Net's arguments."""

    width: Count = setting("channels at every scale of the encoder", default=32, chosen_by="16 and 48 in other presets")
    blocks_per_stage: Count = setting(
        "units per stage; the first stage has one", default=1, chosen_by="2 in SimpleESKNet"
    )
    selection_rate: Annotated[float, Gt(0), Le(1)] = setting(
        "share of the channels in skip connections and decoder, at least one channel",
        chosen_by="0.375; 0.5 at width 16 and in SimpleESKNet",
    )
    fusion: Literal["concatenate", "add", "gate"] = setting(
        'how a skip connection is merged; `"gate"` is an attention gate '
        "([arXiv 1804.03999](https://arxiv.org/abs/1804.03999))",
        default="concatenate",
    )
    adaptive_fusion: bool = setting("learned weights per channel before the fusion", default=True)
    head_norm: bool = setting("norm and ReLU after the last convolution, as in the released code", default=False)


def early_reduction(*, in_plans: bool) -> Any:
    """The same setting of both networks, which the planner writes for one of them."""
    return setting(
        "no stage at full resolution: the first unit has a stride, and logits are upsampled",
        default=False,
        in_plans=in_plans,
    )


class SimpleUNetSettings(SkeletonSettings):
    """What SimpleUNet needs beside nnU-Net's arguments."""

    dilation: Count = setting("dilation of every kernel (SimpleUNet only)", default=1)
    operators: Literal["dense", "depthwise", "grouped"] = setting(
        'kinds of convolutions: `"depthwise"` ones and 1×1, or `"grouped"` ones in four groups and a shuffle '
        "(SimpleUNet only)",
        default="dense",
    )
    early_reduction: bool = early_reduction(in_plans=True)


class SimpleUNetKwargs(SimpleUNetSettings, Norm, Stages):
    """``arch_kwargs`` of SimpleUNet."""

    kernel_sizes: PerStage = setting("kernel of each stage along each axis")


class SimpleESKNetKwargs(SkeletonSettings, Norm, Stages):
    """``arch_kwargs`` of SimpleESKNet, which has kernels of its own."""

    early_reduction: bool = early_reduction(in_plans=False)


class SimpleUNetTraining(PixelwiseTraining):
    """``simple_unet``."""

    learning_rate: Positive = setting("learning rate at the start of the cosine schedule", default=5e-3)


def sections(configuration: dict[str, Any]) -> dict[str, type[Settings]]:
    """The sections of a configuration for one of the two networks."""
    esk = configuration["architecture"]["network_class_name"] == ESK_NETWORK
    return {
        "maskmed_nnu": Origin,
        "arch_kwargs": SimpleESKNetKwargs if esk else SimpleUNetKwargs,
        SECTION: SimpleUNetTraining,
    }
