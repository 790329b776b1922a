"""Models of ours in nnU-Net's zip files: nothing half written, nothing half installed, faults in one sentence."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.evaluation.trained_models import (
    TrainedModel,
    check_folds,
    check_trained,
    is_our_trainer,
    is_ours,
)
from maskmed_nnu.nnunet.model_sharing.installation import predict_command
from maskmed_nnu.nnunet.training.object_summary import SCORES, SUMMARY, read_scores, summarize, write_summary

MODEL_IN_ZIP = re.compile(rb"(\w+)__\w+__\w+/")
NAMES_BYTES = 1 << 16
"""The name of the first file is at the beginning of a zip, in plain bytes."""


def wrap_export(module: Any) -> None:
    """Wrap ``export_pretrained_model`` in ``nnunetv2.model_sharing.model_export``."""
    stock = module.export_pretrained_model
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def export_pretrained_model(*args: Any, **kwargs: Any) -> None:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        settings = given.arguments
        dataset = str(module.maybe_convert_to_dataset_name(settings["dataset_name_or_id"]))
        trainer, plans = settings["trainer"], settings["plans_identifier"]
        models = [TrainedModel(dataset, trainer, plans, name) for name in settings["configurations"]]
        if not any(is_ours(model) for model in models):
            return stock(*args, **kwargs)
        if not settings["strict"]:
            models = [model for model in models if model.folder.is_dir()]
        output = Path(settings["output_file"])
        if not output.absolute().parent.is_dir():
            raise InputError(f"{output.absolute().parent} is not a folder; make it, or name another file after -o.")
        if output.is_dir():
            raise InputError(f"{output} is a folder; name the zip file to be written after -o.")
        for model in models:
            check_trained(model)
            if model.folder.resolve() in output.resolve().parents:
                raise InputError(f"{output} is in the folder of the model; name a file elsewhere after -o.")
        for model in models:
            check_folds(model, settings["folds"], checkpoints=settings["save_checkpoints"])
            add_summaries(model, settings["folds"])

        def write(partial: Path) -> None:
            settings["output_file"] = str(partial)
            stock(*given.args, **given.kwargs)

        write_atomically(output, write)

    module.export_pretrained_model = export_pretrained_model


def add_summaries(model: TrainedModel, folds: Sequence[str | int]) -> None:
    """Write the summaries that trainings of objects did not have in version 0.1, from their scores."""
    for fold in folds:
        folder = model.folder / f"fold_{fold}"
        if not (folder / "validation" / SUMMARY).is_file():
            dataset = read_json(model.folder / "dataset.json", expected="a dataset.json")
            write_summary(folder / "validation", summarize(read_scores(folder), dataset["labels"]))
            print(f"{folder / 'validation' / SUMMARY} was written from {SCORES}")


def wrap_installation(module: Any) -> None:
    """Wrap ``install_model_from_zip_file`` in ``nnunetv2.model_sharing.model_import``."""
    stock = module.install_model_from_zip_file

    @functools.wraps(stock)
    def install_model_from_zip_file(zip_file: str) -> None:
        path = Path(zip_file)
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is a folder; name the zip file of nnUNetv2_export_model_to_zip.")
        if not path.is_file():
            raise InputError(f"{path} does not exist; name the zip file of nnUNetv2_export_model_to_zip.")
        if not holds_ours(path):
            stock(zip_file)
            return
        if not module.nnUNet_results.is_set():
            raise InputError("nnUNet_results is not set; set it to the folder to install models into.")
        try:
            install(path, Path(module.nnUNet_results))
        except OSError as error:
            raise InputError(
                f"{path} cannot be installed into {module.nnUNet_results} ({error.filename}: {error.strerror})."
            ) from error

    module.install_model_from_zip_file = install_model_from_zip_file


def holds_ours(path: Path) -> bool:
    """Whether a zip file, whole or damaged, begins with a model of one of our trainers."""
    with path.open("rb") as file:
        found = MODEL_IN_ZIP.search(file.read(NAMES_BYTES))
    return found is not None and is_our_trainer(found[1].decode("ascii", "replace"))


def install(path: Path, results: Path) -> None:
    """Unpack a model below `results`; its files get their places when all of them are complete.

    Raises:
        InputError: where the zip file is damaged.
    """
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".installing-", dir=results) as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(temporary)
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"{path} is damaged or truncated ({error}), nothing was installed; copy or download it again."
            ) from None
        contents = sorted(Path(temporary).rglob("*"))
        folds = sorted({file.parent.relative_to(temporary) for file in contents if file.suffix == ".pth"})
        for source in contents:
            target = results / source.relative_to(temporary)
            if source.is_dir():
                target.mkdir(exist_ok=True)
            else:
                os.replace(source, target)
    for folder, group in itertools.groupby(folds, key=lambda fold: fold.parent):
        names = [fold.name.removeprefix("fold_") for fold in group]
        print(f"Installed {results / folder}. Predict with: {predict_command(results / folder, names)}")
