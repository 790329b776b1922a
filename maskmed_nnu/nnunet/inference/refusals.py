"""Errors for steps of nnU-Net that would take ids for classes and silently spoil them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.label_manager import has_instances


def refuse_instances(plans: Mapping[str, Any], what: str) -> None:
    """Raise InputError where the plans are those of a data set of objects."""
    if has_instances(plans):
        raise InputError(
            f"The plans of {plans['dataset_name']} are for objects, whose ids nnU-Net's {what} would read as "
            "classes; skip that step (folds are combined by nnUNetv2_predict -f 0 1 2 3 4)."
        )
