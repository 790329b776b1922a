"""Settings of mirroring, which all semantic networks share."""

from __future__ import annotations

from typing import Annotated

from annotated_types import MaxLen, MinLen
from pydantic import model_validator

from maskmed_nnu.legal_values import Words
from maskmed_nnu.nnunet.plans_handling.settings.schema import Count, Index, Settings, misfit, setting

SECTION = "mirroring"
Pair = Annotated[list[Count], MinLen(2), MaxLen(2)]
Swap = Annotated[
    dict[str, list[Pair]],
    Words('an object of an axis and pairs of labels, such as {"2": [[3, 4]]}', "objects of axes and pairs of labels"),
]
Texts = Annotated[dict[str, str], Words("an object of an axis and a sentence", "objects of axes and sentences")]
Counts = Annotated[dict[str, Count], Words("an object of an orientation and a number", "objects of numbers")]


class MirroringSettings(Settings):
    """``mirroring``. Axes are those of the patch: 0 is the first entry of `patch_size`."""

    used_by = "augmentation, prediction"

    axes: list[Index] = setting(
        "axes along which patches are mirrored",
        chosen_by="all but those along which numbered classes would be confused",
    )
    swap: Swap = setting(
        "for an axis, the pairs of labels that mirroring swaps, for example left and right kidney",
        default={},
        chosen_by="classes that swap positions in the mirrored training labels",
    )
    reasons: Texts = setting("what was found along each axis", default={}, used_by="for information")
    orientations: Counts = setting(
        "training images of each orientation, as nibabel's codes", default={}, used_by="checks of images to predict"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> MirroringSettings:
        if len(set(self.axes)) < len(self.axes):
            raise misfit("axes", "a list that names each axis once")
        if set(self.swap) - {str(axis) for axis in self.axes}:
            raise misfit("swap", f"an object whose axes are among the mirrored ones, {self.axes}")
        for pairs in self.swap.values():
            labels = [label for pair in pairs for label in pair]
            if len(set(labels)) < len(labels):
                raise misfit(
                    "swap", "an object of pairs in which each label appears once, because mirroring twice "
                    "changes nothing"
                )  # fmt: skip
        return self
