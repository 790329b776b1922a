"""Steps after prediction that only classes have, postprocessing and ensembles: refused for objects, before any work."""

from __future__ import annotations

import argparse
import functools
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.evaluation.plain_errors import speak_plainly
from maskmed_nnu.nnunet.evaluation.trained_models import plans_are_ours
from maskmed_nnu.nnunet.inference.refusals import refuse_instances


def wrap_postprocessing(module: Any) -> None:
    """Guard ``nnunetv2.postprocessing.remove_connected_components``, which keeps the largest component of a class."""
    for name in ("determine_postprocessing", "apply_postprocessing_to_folder"):
        _guard(module, name, "postprocessing")
    stock = module.entry_point_apply_postprocessing

    @functools.wraps(stock)
    def entry_point_apply_postprocessing() -> None:
        """It opens the file of postprocessing first, which objects never have."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("-i", default="")
        parser.add_argument("-plans_json")
        given = parser.parse_known_args()[0]
        refuse_instances(_plans(given.plans_json, given.i), "postprocessing")
        stock()

    module.entry_point_apply_postprocessing = entry_point_apply_postprocessing
    speak_plainly(module, "entry_point_apply_postprocessing", "entry_point_determine_postprocessing_folder")


def wrap_ensembling(module: Any) -> None:
    """Guard ``nnunetv2.ensembling.ensemble``, which averages probabilities of classes."""
    stock = module.ensemble_folders

    @functools.wraps(stock)
    def ensemble_folders(list_of_input_folders: Sequence[str], *args: Any, **kwargs: Any) -> None:
        """Without probabilities it would write nothing and end well."""
        for folder in list_of_input_folders:
            if plans_are_ours(_plans(None, folder)) and not any(Path(folder).glob("*.npz")):
                raise InputError(
                    f"{folder} contains no probabilities (.npz) to average; predict into it again with "
                    "--save_probabilities."
                )
        stock(list_of_input_folders, *args, **kwargs)

    module.ensemble_folders = ensemble_folders
    for name in ("ensemble_folders", "ensemble_crossvalidations"):
        _guard(module, name, "ensembling")
    speak_plainly(module, "entry_point_ensemble_folders")


def _guard(module: Any, name: str, what: str) -> None:
    """The functions take plans as a dictionary or file, or else there is one in each of their folders."""
    stock = getattr(module, name)
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        folders = next(iter(given.values()))
        plans = next((v for k, v in given.items() if k.startswith("plans") and v is not None), None)
        for folder in [folders] if isinstance(folders, str) else folders:
            refuse_instances(_plans(plans, folder), what)
        return stock(*args, **kwargs)

    setattr(module, name, guarded)


def _plans(plans: Mapping[str, Any] | str | None, folder: str) -> Mapping[str, Any]:
    """The plans that were given, or those in the folder; nothing where there are none."""
    if isinstance(plans, Mapping):
        return plans
    file = Path(plans or Path(folder) / "plans.json")
    content = read_json(file, expected="nnU-Net's plans") if file.is_file() else {}
    return content if isinstance(content, dict) else {}
