"""How good a training is, by what nnU-Net's final validation has left."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.api.evaluation import evaluate
from maskmed_nnu.api.object_evaluation import ObjectEvaluation
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.training.object_summary import SCORES, read_scores
from maskmed_nnu.nnunet.training.object_summary import mean_scores as mean_of_folds
from maskmed_nnu.nnunet.trial.raw_data_set import DataSet
from maskmed_nnu.semantic.evaluation import SemanticEvaluation

MAX_DETECTIONS = 1000
"""Objects of an image that count for the AP in the final validation."""


def mean_scores(model: Path, folds: Sequence[str]) -> dict[str, dict[str, float]]:
    """The means over the foreground in the summaries that nnU-Net has left."""
    places = {fold: model / f"fold_{fold}" / "validation" for fold in folds}
    if len(folds) > 1:
        places["crossval"] = _unseen(model, folds)
    scores = {}
    for name, folder in places.items():
        if (folder / "summary.json").is_file():
            summary = read_json(folder / "summary.json", expected="nnU-Net's summary")
            means = summary["foreground_mean"].items()
            scores[name] = {key: value for key, value in means if isinstance(value, (int, float))}
    return scores


def _unseen(model: Path, folds: Sequence[str]) -> Path:
    """Where the predictions of cases lie that were not trained on; of several folds nnU-Net puts them together."""
    numbered = [fold for fold in folds if fold != "all"]
    if len(numbered) > 1:
        return model / f"crossval_results_folds_{'_'.join(numbered)}"
    return model / f"fold_{numbered[0] if numbered else 'all'}" / "validation"


def evaluate_validation(
    model: Path, folds: Sequence[str], data: DataSet
) -> tuple[SemanticEvaluation | ObjectEvaluation | None, tuple[str, ...]]:
    """The validation against its truth, of which nnU-Net keeps a copy of all cases, those of other folds included."""
    if data.objects:
        return _object_evaluation(model, folds, data)
    predictions, ending = _unseen(model, folds), str(data.description.get("file_ending"))
    cases = [case for case in data.cases if (predictions / f"{case}{ending}").is_file()]
    if not cases:
        return None, ()
    truth = Path(os.environ["nnUNet_preprocessed"]) / data.name / "gt_segmentations"
    with tempfile.TemporaryDirectory(prefix="maskmed_truth_") as folder:
        for case in cases:
            for name in (f"{case}{ending}", f"{case}.json"):  # the spacing of a TIFF
                if (truth / name).is_file():
                    shutil.copyfile(truth / name, Path(folder) / name)
        try:
            return evaluate(folder, predictions, dataset=data.description), ()
        except InputError as error:
            return None, (str(error),)


def _object_evaluation(
    model: Path, folds: Sequence[str], data: DataSet
) -> tuple[ObjectEvaluation | None, tuple[str, ...]]:
    """What the final validations have written, by the scores of the objects, which label maps do not hold."""
    ending, parts = str(data.description.get("file_ending")), []
    for fold in [fold for fold in folds if fold != "all"] or ["all"]:
        validation = model / f"fold_{fold}" / "validation"
        cases = sum((validation / f"{case}{ending}").is_file() for case in data.cases)
        if not (validation / SCORES).is_file():
            return None, ()
        try:
            parts.append((read_scores(validation.parent), cases))
        except InputError as error:
            return None, (str(error),)
    scores = _known(mean_of_folds(parts))
    names = {number: name for name, number in LabelFormat.from_dataset_json(data.description).classes.items()}
    of_classes = {number: scores["per_class"][name] for number, name in names.items() if name in scores["per_class"]}
    images = sum(cases for _, cases in parts)
    return ObjectEvaluation({**scores, "per_class": of_classes}, images, MAX_DETECTIONS, names, scored=True), ()


def _known(scores: dict[str, Any]) -> dict[str, Any]:
    """Not a number in the place of null."""
    return {
        name: math.nan if value is None else _known(value) if isinstance(value, dict) else value
        for name, value in scores.items()
    }
