"""The folds of a training together, in ``crossval_results_folds_…``: for objects with the objects' scores."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.evaluation.trained_models import TrainedModel, check_folds, is_of_objects, is_ours
from maskmed_nnu.nnunet.training.object_summary import SUMMARY, mean_scores, read_scores, summarize, write_summary


def wrap_accumulation(module: Any) -> None:
    """Wrap ``accumulate_cv_results`` in ``nnunetv2.evaluation.accumulate_cv_results``.

    nnU-Net's copies the predictions of all folds into one folder and compares their classes with the truth; the
    objects' scores are the mean over folds, by their number of cases.
    """
    stock = module.accumulate_cv_results

    @functools.wraps(stock)
    def accumulate_cv_results(
        trained_model_folder: str,
        merged_output_folder: str,
        folds: Sequence[int],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        model = model_of(Path(trained_model_folder))
        if model is None or not is_ours(model):
            stock(trained_model_folder, merged_output_folder, folds, *args, **kwargs)
            return
        check_folds(model, folds, cross_validation=True)
        stock(trained_model_folder, merged_output_folder, folds, *args, **kwargs)
        if is_of_objects(model):
            add_scores(Path(merged_output_folder), [model.folder / f"fold_{fold}" for fold in folds])

    module.accumulate_cv_results = accumulate_cv_results


def model_of(folder: Path) -> TrainedModel | None:
    """The model in a folder below ``nnUNet_results``; None for another folder."""
    from nnunetv2.paths import nnUNet_results

    parts = folder.name.split("__")
    if len(parts) != 3 or not nnUNet_results.is_set():
        return None
    model = TrainedModel(folder.parent.name, *parts)
    return model if model.folder.resolve() == folder.resolve() else None


def add_scores(merged: Path, folds: Sequence[Path]) -> None:
    """Add the mean scores of `folds` to the summary that nnU-Net wrote into the folder `merged`.

    Raises:
        InputError: where a fold's scores are missing or damaged.
    """
    from nnunetv2.evaluation.evaluate_predictions import load_summary_json

    dataset = read_json(merged / "dataset.json", expected="a dataset.json")
    ending = dataset["file_ending"]
    parts = [(read_scores(fold), len(list((fold / "validation").glob(f"*{ending}")))) for fold in folds]
    classes = load_summary_json(str(merged / SUMMARY))
    write_summary(merged, summarize(mean_scores(parts), dataset["labels"], classes))
