"""Settings of objects, which IAUNet and MaskAttn-UNet share."""

from __future__ import annotations

from pydantic import model_validator

from maskmed_nnu.nnunet.plans_handling.settings.schema import (
    ClassNumbers,
    Count,
    Positive,
    Settings,
    Share,
    misfit,
    setting,
)


class InstanceSettings(Settings):
    """``instances``."""

    thing_classes: ClassNumbers = setting(
        "classes with objects; do not change", chosen_by="data set", used_by="preprocessing, loss, prediction"
    )
    stuff_classes: list[Count] = setting(
        "stuff classes; do not change", chosen_by="data set", used_by="validation, prediction"
    )
    layer_classes: ClassNumbers = setting(
        "class of each id layer in the preprocessed data; do not change",
        chosen_by="overlaps of each class",
        used_by="preprocessing, loss, prediction",
    )
    # on dsb2018's training images F1 hardly changes between 0.15 and 0.4
    score_threshold: Share = setting(
        "objects with a lower score are not predicted; scores of IAUNet are expected IoUs",
        default=0.25,
        used_by="prediction",
    )
    min_fragment: ClassNumbers = setting(
        "smallest number of visible pixels of an object at the border of a patch that makes it a target, for "
        "each of `thing_classes`",
        chosen_by="a quarter of the area at the 5th percentile, at least 4",
        used_by="loss of IAUNet",
    )
    label_divisor: Count | None = setting(
        "that of `dataset.json`; do not change", chosen_by="`dataset.json`", used_by="prediction"
    )
    overlap_layers: bool = setting(
        "that of `dataset.json`; do not change", chosen_by="`dataset.json`", used_by="prediction"
    )
    scale: Positive = setting(
        "scale factor of the images, for information; `spacing` is used",
        chosen_by="objects' size",
        used_by="for information",
    )

    @model_validator(mode="after")
    def _classes_fit_together(self) -> InstanceSettings:
        if len(self.min_fragment) != len(self.thing_classes):
            raise misfit("min_fragment", f"a list with an entry for each of the thing_classes {self.thing_classes}")
        if set(self.layer_classes) - set(self.thing_classes):
            raise misfit("layer_classes", f"a list of thing_classes, which are {self.thing_classes}")
        return self
