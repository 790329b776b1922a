"""Settings of IAUNet."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import model_validator

from maskmed_nnu.nnunet.plans_handling.settings.instances import InstanceSettings
from maskmed_nnu.nnunet.plans_handling.settings.matched_queries import MatchingWeights, SampledPoints
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import (
    PlainEncoder,
    ResidualEncoder,
    UnusedEncoder,
    network_arguments,
)
from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.nnunet.plans_handling.settings.schema import Count, Index, Settings, Share, Weight, misfit, setting


class IAUNetSettings(Settings):
    """What the network needs beside nnU-Net's arguments."""

    num_things: Count = setting("classes with objects; do not change", chosen_by="data set")
    queries: Literal["image", "learned"] = setting(
        'where queries come from: `"image"`, or `"learned"` with dot product masks',
        default="image",
        used_by="network, loss",
        in_plans=False,
    )
    width: Count = setting("width of pixel and query decoder", default=64)
    heads: Count = setting("attention heads, a divisor of the width", default=8, in_plans=False)
    ffn: Count = setting("feed-forward width of the query decoder", default=256)
    dropout: Share = setting("dropout in the query decoder", default=0.0, in_plans=False)
    levels: Count = setting(
        "scales that the queries read, from the deepest",
        chosen_by="the scales of the encoder that are not in `pyramid`",
    )
    blocks_per_level: Index = setting(
        "decoder blocks on each of them", chosen_by="0, or 3 where objects of a class overlap"
    )
    pyramid: Annotated[list[Count], MinLen(1)] = setting(
        "widths of the scales finer than those that the queries read; the last one carries the masks",
        chosen_by="48, 32, 16; fewer for large objects",
    )
    num_queries: Count = setting(
        "largest number of objects in a patch",
        chosen_by="objects in a patch × 1.5, next multiple of 50",
        used_by="network, prediction",
    )
    query_stride: Count = setting(
        "grid whose peaks become queries: the largest edge of a stride of the pyramid",
        chosen_by="4, or 2 for close neighbours",
    )
    window: Count | Annotated[list[Count], MinLen(1)] = setting(
        "edge of the window of a mask, in pixels; in volumes one for each axis",
        chosen_by="1.25 × the 99th percentile of the objects' edges, next multiple of 16, in volumes of 2",
        used_by="network, loss, prediction",
    )
    mask_channels: Count = setting("mask features", default=16)
    mask_hidden: Count = setting("width of the network that predicts a mask", default=8, in_plans=False)
    dense: bool = setting("use the dense head; stuff needs it", default=True, in_plans=False)
    masked_attention: bool = setting("queries attend only inside their current mask", default=False, in_plans=False)
    backbone: str | None = setting("a timm model instead of nnU-Net's encoder", default=None, in_plans=False)
    backbone_weights: str | None = setting(
        "file with its weights, from torch.save or safetensors", default=None, in_plans=False
    )
    score_threshold: Share = setting(
        "objects with a lower score are not predicted", default=0.05, used_by="prediction", in_plans=False
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> IAUNetSettings:
        if self.width % self.heads:
            raise misfit("heads", f"a divisor of width, which is {self.width}")
        return self

    @model_validator(mode="after")
    def _window_has_the_axes_of_the_strides(self) -> IAUNetSettings:
        strides = getattr(self, "strides", None)
        if strides and isinstance(self.window, list) and len(self.window) != len(strides[0]):
            raise misfit("window", f"one edge, or {len(strides[0])} edges, one for each axis of strides")
        return self


class PlainIAUNet(IAUNetSettings, PlainEncoder):
    """``arch_kwargs`` with nnU-Net's plain encoder."""


class ResidualIAUNet(IAUNetSettings, ResidualEncoder):
    """``arch_kwargs`` with a residual encoder."""


class TimmIAUNet(IAUNetSettings, UnusedEncoder):
    """``arch_kwargs`` with a backbone."""

    @model_validator(mode="after")
    def _for_images(self) -> TimmIAUNet:
        if (self.conv_op or "").endswith("3d"):
            raise misfit("backbone", "null in a configuration of volumes, because timm's networks are for images")
        return self


class DenseHead(Settings):
    """The loss of the dense head."""

    dense_weight: Weight = setting("weight of nnU-Net's loss of the dense head", default=1.0)


class QueryTerms(Settings):
    """The loss of queries that have a place."""

    class_weight: Weight = setting("weight of class and score", default=1.0)
    bce_weight: Weight = setting("weight of the masks' cross-entropy", default=2.0)
    dice_weight: Weight = setting("weight of the masks' Dice", default=2.0)
    heat_weight: Weight = setting("weight of the centre heatmap", default=1.0)
    vote_weight: Weight = setting("weight of the votes", default=1.0)
    duplicate_weight: Weight = setting(
        'weight of "no object" for a query inside an object matched with another query', default=1.0
    )
    num_points: Count = setting("mask positions per batch", default=2**17)


class ImageQueryLoss(DenseHead, QueryTerms):
    """``instance_loss`` of image queries."""

    used_by = "loss"


class SemanticTerm(Settings):
    """The loss of what all queries together say of a pixel."""

    semantic_weight: Weight = setting(
        "weight of a loss on the class of each pixel from all queries together", default=0.0, in_plans=False
    )


class LearnedQueryLoss(DenseHead, SemanticTerm, SampledPoints, MatchingWeights):
    """``instance_loss`` of learned queries, which users write themselves."""

    used_by = "loss"
    of = " of learned queries"
    num_points: Count | None = setting("pixels at which the masks are compared; `null` for all", default=12544)


def sections(configuration: dict[str, Any]) -> dict[str, type[Settings]]:
    """The sections of a configuration for IAUNet."""
    kwargs = network_arguments(configuration)
    if kwargs.get("backbone") is not None:
        network: type[Settings] = TimmIAUNet
    else:
        network = ResidualIAUNet if "n_blocks_per_stage" in kwargs else PlainIAUNet
    return {
        "maskmed_nnu": Origin,
        "arch_kwargs": network,
        "instances": InstanceSettings,
        "instance_loss": LearnedQueryLoss if kwargs.get("queries") == "learned" else ImageQueryLoss,
    }
