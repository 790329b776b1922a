"""Settings of MaskMed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import model_validator

from maskmed_nnu.nnunet.plans_handling.settings.matched_queries import MatchingWeights, SampledPoints
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import PlainEncoder, ResidualEncoder, network_arguments
from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.nnunet.plans_handling.settings.schema import Count, Index, Settings, Share, Weight, misfit, setting

HEADS_WITH_QUERIES = ("queries", "unmatched_queries")


class FSADSettings(Settings):
    """The FSAD-Transformer."""

    query_levels: Annotated[list[Index], MinLen(1)] = setting(
        "encoder levels whose features are queries, and are refined", chosen_by="positions per level"
    )
    dim: Count = setting("width", default=128)
    heads: Count = setting("attention heads, a divisor of the width", default=4)
    points: Count = setting("sampling points per level and head", default=4)
    layers: Count = setting("layers", chosen_by="1 to 3, by the share of the patch's positions that are queries")
    ffn: Count = setting("feed-forward width", default=512)
    dropout: Share = setting("dropout", default=0.0)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> FSADSettings:
        if self.dim % self.heads:
            raise misfit("heads", f"a divisor of dim, which is {self.dim}")
        return self


class MaskMedSettings(Settings):
    """What the network needs beside nnU-Net's arguments."""

    regions: bool = setting(
        "the output is `logit S` instead of `log S`; do not change", chosen_by="`dataset.json`, which it follows"
    )
    head: Literal["pointwise", "class_embedding", "unmatched_queries", "queries"] = setting(
        "stage of Figure 1, see above", default="queries", used_by="network, loss"
    )
    num_queries: Count = setting(
        "number of queries; at least the number of classes for `unmatched_queries`",
        chosen_by="classes × 1.5, next multiple of 8",
    )
    head_dim: Count = setting("width of the head", default=192)
    head_heads: Count = setting("attention heads of the head, a divisor of its width", default=8)
    head_ffn: Count = setting("feed-forward width of the head", default=768)
    head_levels: list[Index] = setting(
        "decoder levels that the head attends to, one layer each, in this order; a level may be repeated",
        chosen_by="positions per level",
    )
    fsad: FSADSettings | None = setting(
        "the FSAD-Transformer; `null` removes it", chosen_by="always there, with the settings below"
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> MaskMedSettings:
        if self.head_dim % self.head_heads:
            raise misfit("head_heads", f"a divisor of head_dim, which is {self.head_dim}")
        return self


def check_levels(settings: MaskMedSettings, stages: int) -> None:
    """The levels named are those of an encoder with so many ``stages``."""
    legal = f"a list of one or more of the levels 0 to {stages - 1}"
    if settings.head in HEADS_WITH_QUERIES and not settings.head_levels:
        raise misfit("head_levels", legal)
    if any(level >= stages for level in settings.head_levels):
        raise misfit("head_levels", legal)
    if settings.fsad is not None and any(level >= stages for level in settings.fsad.query_levels):
        raise misfit("fsad.query_levels", legal)


class PlainMaskMed(MaskMedSettings, PlainEncoder):
    """``arch_kwargs`` with nnU-Net's plain encoder."""

    @model_validator(mode="after")
    def _levels_exist(self) -> PlainMaskMed:
        check_levels(self, self.n_stages)
        return self


class ResidualMaskMed(MaskMedSettings, ResidualEncoder):
    """``arch_kwargs`` with a residual encoder."""

    @model_validator(mode="after")
    def _levels_exist(self) -> ResidualMaskMed:
        check_levels(self, self.n_stages)
        return self


class MaskMedTerms(Settings):
    """Losses beside that of the matched queries."""

    semantic_weight: Weight = setting("weight of a loss on the summed output S itself", default=1.0)
    aux_weight: Weight = setting("weight of the auxiliary pixel-wise loss", default=1.0)


class SetLossSettings(SampledPoints, MaskMedTerms, MatchingWeights):
    """``set_loss``."""

    used_by = "loss"


class MaskMedOrigin(Origin):
    """``maskmed_nnu``, at the top level of the plans."""

    num_classes: Count = setting(
        "number of segmentation heads that the plans are made for: labels with background, or regions; more "
        "require new plans",
        chosen_by="`dataset.json`",
        used_by="checks before training",
    )


def sections(configuration: dict[str, Any]) -> dict[str, type[Settings]]:
    """The sections of a configuration for MaskMed."""
    residual = "n_blocks_per_stage" in network_arguments(configuration)
    return {
        "maskmed_nnu": MaskMedOrigin,
        "arch_kwargs": ResidualMaskMed if residual else PlainMaskMed,
        "set_loss": SetLossSettings,
    }
