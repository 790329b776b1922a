"""Errors for steps of nnU-Net that would take ids for classes and silently spoil them."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.label_manager import has_instances


def refuse_instances(plans: Mapping[str, Any], what: str) -> None:
    """Raise InputError where the plans are those of a data set of objects."""
    if has_instances(plans):
        raise InputError(
            f"The plans of {plans['dataset_name']} are for objects, whose ids nnU-Net's {what} would take for classes; "
            "leave that step out (folds are combined by nnUNetv2_predict -f 0 1 2 3 4)."
        )


def wrap_postprocessing(module: ModuleType) -> None:
    """Guard ``nnunetv2.postprocessing.remove_connected_components``, which keeps the largest component of a class."""
    for name in ("determine_postprocessing", "apply_postprocessing_to_folder"):
        _guard(module, name, "postprocessing")


def wrap_ensembling(module: ModuleType) -> None:
    """Guard ``nnunetv2.ensembling.ensemble``, which averages probabilities of classes."""
    for name in ("ensemble_folders", "ensemble_crossvalidations"):
        _guard(module, name, "ensembling")


def _guard(module: ModuleType, name: str, what: str) -> None:
    """The functions take plans as a dictionary or file, or else there is one in their (first) folder."""
    stock = getattr(module, name)
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        folders = next(iter(given.values()))
        folder = folders if isinstance(folders, str) else folders[0]
        plans = next((v for k, v in given.items() if k.startswith("plans") and v is not None), None)
        if not isinstance(plans, Mapping):
            file = Path(plans or Path(folder) / "plans.json")
            plans = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        refuse_instances(plans, what)
        return stock(*args, **kwargs)

    setattr(module, name, guarded)
