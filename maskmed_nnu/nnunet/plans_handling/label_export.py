"""Which of nnU-Net's resampling functions brings the logits to the image's grid: a choice of the planners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MANY_CLASSES = 10
"""Output channels from which on nnU-Net's default, which resamples one after the other, takes minutes for a CT."""
DEFAULT, FUNCTION = "resample_data_or_seg_to_shape", "resample_torch_fornnunet"
ARGUMENTS = {"is_seg": False, "force_separate_z": None, "memefficient_seg_resampling": False}
NAME = "resampling_fn_probabilities"


def plan_label_export(plans: dict[str, Any], heads: int) -> None:
    """With many output channels, ``heads``, configurations of nnU-Net's default get its resampling by torch, and it is
    said.

    Both interpolate linearly, and along an axis of thick slices take the nearest.
    """
    changed = [one for one in plans["configurations"].values() if one.get(NAME) == DEFAULT]
    if heads < MANY_CLASSES or not changed:
        return
    for configuration in changed:
        configuration |= {NAME: FUNCTION, f"{NAME}_kwargs": dict(ARGUMENTS)}
    print(
        f"With {heads} classes or regions, predictions are resampled by nnU-Net's {FUNCTION}, plane by plane, because "
        f"from {MANY_CLASSES} on nnU-Net's default can take longer than the network.\n"
    )


def labels_by_plane(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> bool:
    """Whether these are plans of ours with that function, which `inference.label_planes` computes plane by plane."""
    planned = configuration.get(NAME), configuration.get(f"{NAME}_kwargs")
    return "maskmed_nnu" in plans and planned == (FUNCTION, ARGUMENTS)
