"""What the trainings of a study scored in their cross-validation, case by case, and whether the best one is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.semantic.comparison import PairedTest, paired_test
from maskmed_nnu.semantic.summary import Mean, mean
from maskmed_nnu.workflow.study import Study

OBJECTS = "InstanceIO"


@dataclass(frozen=True)
class Contestant:
    """A model or an ensemble. ``scores``: class → case → ``metric``, the worst for what was missed or invented."""

    key: str
    title: str
    metric: str
    scores: Mapping[str, Mapping[str, float]]
    chosen: bool

    @property
    def cases(self) -> list[str]:
        return sorted({case for of_class in self.scores.values() for case in of_class})

    def table(self, cases: Sequence[str], classes: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """``[cases, classes]``, NaN where there is no score."""
        rows = [[self.scores.get(name, {}).get(case, math.nan) for name in classes] for case in cases]
        return np.array(rows, dtype=np.float64).reshape(len(cases), len(classes))

    def case_means(self) -> dict[str, float]:
        """Case → mean over its classes."""
        found: dict[str, list[float]] = {}
        for of_class in self.scores.values():
            for case, value in of_class.items():
                found.setdefault(case, []).append(value)
        return {case: sum(values) / len(values) for case, values in sorted(found.items())}

    def mean(self) -> Mean:
        return mean(self.table(self.cases, list(self.scores)))


def read_contestants(study: Study) -> list[Contestant]:
    """All that nnU-Net compared, the best first.

    Of classes the Dice that nnU-Net's evaluation of the cross-validation stored; of objects the PQ of each case, which
    is measured here.

    Raises:
        InputError: where a file of scores is missing or damaged.
    """
    description = read_json(study.preprocessed / "dataset.json", expected="a dataset.json")
    objects = description.get("overwrite_image_reader_writer") == OBJECTS
    chosen = {model.name for model in study.chosen()}
    folds = "_".join(map(str, study.config.folds))
    found = []
    for model in study.models:
        folder = study.results / model.name
        title = f"{model.network} {model.configuration}"
        if objects:
            metric, scores = _object_scores(folder)
        else:
            metric, scores = _class_scores(folder / f"crossval_results_folds_{folds}" / "summary.json", description)
        found.append(Contestant(model.name, title, metric, scores, chosen == {model.name}))
    for folder in sorted((study.results / "ensembles").glob("ensemble___*")):
        members = folder.name.split("___")[1:3]
        titles = {model.name: f"{model.network} {model.configuration}" for model in study.models}
        if not objects and set(members) <= set(titles) and folder.name.split("___")[3:] == [folds]:
            metric, scores = _class_scores(folder / "summary.json", description)
            title = f"mean of {titles[members[0]]} and {titles[members[1]]}"
            found.append(Contestant(folder.name, title, metric, scores, chosen == set(members)))
    return sorted(found, key=lambda one: (not one.chosen, -one.mean().mean))


def against_the_best(contestants: Sequence[Contestant]) -> list[tuple[Contestant, PairedTest]]:
    """The first one, compared with each other on the cases and classes that both have: Wilcoxon's signed-rank test."""
    tests = []
    for other in contestants[1:]:
        best = contestants[0]
        cases = sorted(set(best.cases) & set(other.cases))
        classes = [name for name in best.scores if name in other.scores]
        first, second = other.table(cases, classes), best.table(cases, classes)
        both = np.isfinite(first) & np.isfinite(second)
        first, second = (np.where(both, side, np.nan) for side in (first, second))
        tests.append((other, paired_test(other.title, best.metric, first, second)))
    return tests


def _class_scores(summary: Path, description: Mapping[str, Any]) -> tuple[str, dict[str, dict[str, float]]]:
    from maskmed_nnu.nnunet.evaluation.validation_scores import stored_scores

    classes = Classes.from_dataset_json(description, str(summary))
    content = read_json(summary, expected="the scores of a cross-validation")
    scores: dict[str, dict[str, float]] = {name: {} for name in classes.labels}
    for case, of_case in stored_scores(content, classes).items():
        for name in scores:
            value = of_case.scores[name].value("dice", worst=True)
            if math.isfinite(value):
                scores[name][case] = value
    return "Dice", scores


def _object_scores(folder: Path) -> tuple[str, dict[str, dict[str, float]]]:
    from maskmed_nnu.nnunet.evaluation.training_record import read_record

    found = read_record(folder).score([])
    if "PQ" not in found.metrics:
        raise InputError(
            f"No case in {folder} has been scored: no fold has predictions of a validation and their truth."
        )
    return "PQ", {name: dict(of_class) for name, of_class in found.metrics["PQ"].items()}
