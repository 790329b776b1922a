"""A model package as a folder among nnU-Net's results, where nnU-Net's own commands find it."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, shown
from maskmed_nnu.nnunet.inference.build_predictor import load_checkpoint
from maskmed_nnu.nnunet.inference.model_package import PackageModel
from maskmed_nnu.nnunet.inference.model_record import json_digest
from maskmed_nnu.nnunet.inference.model_source import FINAL_CHECKPOINT, open_model
from maskmed_nnu.nnunet.inference.package_file import CARD, DATASET, PLANS
from maskmed_nnu.nnunet.inference.trained_model import is_whole
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration

DATA_SET = re.compile(r"Dataset\d{3}_[\w.-]+")
NAME = re.compile(r"[\w.-]+")


def install_package(source: str | Path, *, dataset: str | None) -> Path:
    """See `maskmed_nnu.import_model`."""
    model = open_model(source)
    if not isinstance(model, PackageModel):
        raise InputError(
            f"{model.path} is the folder of a training, but only packages can be imported; name a file of "
            "`maskmed export`, or copy the folder into nnUNet_results."
        )
    results = _results_folder()
    name = _data_set(model, dataset)
    target = results / name / _folder_name(model)
    states = model.weights(model.folds)
    plans = {**_checked_part(model.plans, model.manifest.configuration), "dataset_name": name}
    if target.exists():
        if not _is_installed(target, plans, model.dataset_json, states):
            raise InputError(
                f"{target} contains another model of this name; rename or remove it, or install the package "
                f"under another data set, such as {_free_name(name)}."
            )
        return target
    _check_number(name)
    try:
        results.mkdir(parents=True, exist_ok=True)
        # the folder gets its name, in one step, when it is complete
        with tempfile.TemporaryDirectory(prefix=".installing-", dir=results) as temporary:
            complete = Path(temporary) / target.name
            complete.mkdir()
            (complete / PLANS).write_text(json.dumps(plans, indent=4))
            (complete / DATASET).write_text(json.dumps(model.dataset_json, indent=4))
            (complete / CARD).write_bytes(model.card)
            for fold, state in states.items():
                (complete / f"fold_{fold}").mkdir()
                content = io.BytesIO()  # written to a file by torch, a full disk is a RuntimeError without a number
                torch.save(_checkpoint(model, state), content)
                (complete / f"fold_{fold}" / FINAL_CHECKPOINT).write_bytes(content.getbuffer())
            _move(complete, target)
    except OSError as error:
        raise InputError(
            f"{model.name} cannot be installed into {error.filename or results} ({error.strerror}); nothing was "
            "installed."
        ) from error
    return target


def _checked_part(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """Plans without the configurations that the model does not use: nobody has checked the names in those."""
    chosen = {
        key: value for key, value in resolve_configuration(plans, configuration).items() if key != "inherits_from"
    }
    return {**plans, "configurations": {configuration: chosen}}


def predict_command(folder: Path, folds: list[str]) -> str:
    """How nnU-Net predicts with a model below its results."""
    trainer, plans, configuration = folder.name.split("__")
    words = ["-d", folder.parent.name, "-tr", trainer, "-p", plans, "-c", configuration, "-f", *folds]
    return f"nnUNetv2_predict {shlex.join(words)} -i INPUT_FOLDER -o OUTPUT_FOLDER"


def _results_folder() -> Path:
    folder = os.environ.get("nnUNet_results")
    if not folder:
        raise InputError("nnUNet_results is not set; set it to the folder to install models into.")
    path = Path(folder).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise InputError(
            f"nnUNet_results names {path}, which is not a folder; set it to the folder of nnU-Net's results."
        )
    return path


def _data_set(model: PackageModel, requested: str | None) -> str:
    if requested is not None:
        if not DATA_SET.fullmatch(requested):
            raise InputError(
                f"{requested!r} is not a name of a data set for nnU-Net; legal is Dataset, three digits, _ and "
                "letters or digits, as Dataset123_Cells."
            )
        return requested
    name = model.plans.get("dataset_name")
    if not (isinstance(name, str) and DATA_SET.fullmatch(name)):
        raise InputError(
            f"{model.name} is of the data set {shown(name)}, which is not a name for nnU-Net; name the data set "
            "to install it under, such as Dataset123_Cells."
        )
    return name


def _folder_name(model: PackageModel) -> str:
    """nnU-Net's, of three parts that are names and lead nowhere else."""
    parts = [model.manifest.trainer, model.plans.get("plans_name"), model.manifest.configuration]
    folder = "__".join(map(str, parts))
    if not all(isinstance(part, str) and NAME.fullmatch(part) for part in parts) or folder.split("__") != parts:
        raise InputError(
            f"{model.name} would be installed as {shown(folder)}, which is not a folder name of nnU-Net; do not use it."
        )
    return folder


def _check_number(name: str) -> None:
    """Refuse a number that another data set has: nnU-Net's commands could not tell the two apart.

    Raises:
        InputError: with a free one.
    """
    others = [other for other in _data_sets() if other.name != name and other.name.startswith(name[:10])]
    if others:
        raise InputError(
            f"The number of {name} is that of {others[0]}, and nnU-Net identifies data sets by their numbers; "
            f"install the package under another data set, such as {_free_name(name)}."
        )


def _free_name(name: str) -> str:
    taken = {other.name[:10] for other in _data_sets()}
    numbers = (number for number in range(1, 1000) if f"Dataset{number:03}" not in taken)
    return f"Dataset{next(numbers, 0):03}{name[10:]}"


def _data_sets() -> list[Path]:
    """The folders in which nnU-Net looks for a number."""
    folders = [os.environ.get(f"nnUNet_{kind}") for kind in ("raw", "preprocessed", "results")]
    return [path for folder in folders if folder for path in sorted(Path(folder).glob("Dataset[0-9][0-9][0-9]*"))]


def _is_installed(
    folder: Path, plans: Mapping[str, Any], dataset_json: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Whether the folder holds this very model, possibly with more folds.

    Its checkpoints are unpickled, as any prediction with them does; they are not of the package.
    """
    files = {fold: folder / f"fold_{fold}" / FINAL_CHECKPOINT for fold in states}
    (configuration,) = plans["configurations"]
    if not all(map(Path.is_file, [*files.values(), folder / PLANS, folder / DATASET])):
        return False
    if not all(map(is_whole, files.values())):
        return False
    kept = {name: read_json(folder / name, expected="what nnU-Net wrote") for name in (PLANS, DATASET)}
    try:
        kept[PLANS] = _checked_part(kept[PLANS], configuration)
    except (InputError, TypeError, AttributeError, ValueError):  # they were edited, or are of another program
        return False
    if json_digest(kept) != json_digest({PLANS: plans, DATASET: dataset_json}):
        return False
    return all(_equal(load_checkpoint(file)["network_weights"], states[fold]) for fold, file in files.items())


def _equal(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _checkpoint(model: PackageModel, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What nnU-Net reads of a checkpoint in order to predict."""
    axes = model.manifest.mirroring_axes
    return {
        "network_weights": dict(state),
        "trainer_name": model.manifest.trainer,
        "init_args": {"configuration": model.manifest.configuration},
        "inference_allowed_mirroring_axes": None if axes is None else tuple(axes),
    }


def _move(complete: Path, target: Path) -> None:
    made = not target.parent.exists()
    target.parent.mkdir(exist_ok=True)
    try:
        complete.rename(target)
    except OSError:
        if made:
            target.parent.rmdir()
        raise
