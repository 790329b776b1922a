"""Scores of validated cases, one by one, of classes or of objects, and what went wrong in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.evaluation.validated_cases import ValidatedCase, read_summary
from maskmed_nnu.progress import Progress, Report
from maskmed_nnu.semantic import surfaces
from maskmed_nnu.semantic.case_scores import FOUND, INVENTED, MISSED, NOT_APPLICABLE, CaseScores, ClassScores
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.semantic.evaluation import SemanticEvaluation, build
from maskmed_nnu.semantic.folders import default_workers, evaluate_pairs
from maskmed_nnu.semantic.label_files import Pair

TOLERANCE = 1.0
"""Millimetres of NSD."""
TRUTH_GONE = "Its true label map is not on this machine."
Samples = Mapping[str, Mapping[str, float]]
"""Class → case → value."""


@dataclass(frozen=True)
class Failure:
    """A class, or ``count`` objects of it, ``missed`` or ``invented`` in a case; ``order`` says how bad that is."""

    case: str
    fold: str
    name: str
    what: str
    size: str
    order: float
    count: int = 1


class Fault(NamedTuple):
    """A case that could not be evaluated, and why."""

    case: str
    fold: str
    reason: str


@dataclass(frozen=True)
class ValidationScores:
    """``metrics``: metric → class → case → value. ``ranking``: case → mean over its classes of ``ranked_by``.

    ``summary``: rows of a table of all cases, rounded.
    """

    metrics: Mapping[str, Samples]
    ranking: Mapping[str, float]
    ranked_by: str
    summary: Sequence[Mapping[str, str]]
    failures: Sequence[Failure]
    faults: Sequence[Fault]
    notes: Sequence[str] = ()

    @property
    def mean(self) -> float:
        """Of the ranking; NaN where no case has been scored."""
        known = [value for value in self.ranking.values() if math.isfinite(value)]
        return sum(known) / len(known) if known else math.nan

    @property
    def number_of_failures(self) -> int:
        """Classes that were missed or invented, summed over the cases; objects where those are found."""
        return sum(failure.count for failure in self.failures)

    def example_cases(self) -> list[tuple[str, str]]:
        """What to show: the worst, the median and the best case, as far as there are so many.

        >>> ValidationScores({}, {"a": 0.1, "b": 0.9, "c": 0.5}, "Dice", [], [], []).example_cases()
        [('Best', 'b'), ('Median', 'c'), ('Worst', 'a')]
        """
        ordered = sorted((case for case in self.ranking if math.isfinite(self.ranking[case])), key=self._rank)
        if not ordered:
            return []
        if len(ordered) == 1:
            return [("Only", ordered[0])]
        median = [("Median", ordered[(len(ordered) - 1) // 2])] if len(ordered) > 2 else []
        return [("Best", ordered[-1]), *median, ("Worst", ordered[0])]

    def _rank(self, case: str) -> tuple[float, str]:
        return self.ranking[case], case


def score_classes(
    cases: Sequence[ValidatedCase],
    model: Path,
    classes: Classes,
    *,
    partners: Sequence[tuple[int, int]] = (),
    progress: Report | None = None,
) -> ValidationScores:
    """Of class maps. A case without a truth has the Dice that nnU-Net stored; one that is at fault costs a sentence."""
    surfaces.load()
    folds = {case.fold for case in cases}
    stored = {fold: stored_scores(read_summary(model, fold), classes) for fold in folds}

    def score(case: ValidatedCase) -> tuple[CaseScores, list[str]] | Fault:
        if case.truth is None:
            known = stored[case.fold].get(case.name)
            return (replace(known, name=case.key), []) if known else Fault(case.key, case.fold, TRUTH_GONE)
        pair = Pair(case.key, case.truth, case.prediction)
        try:
            found, spaceless = evaluate_pairs(
                [pair], classes=classes, tolerance=TOLERANCE, partners=partners, workers=1
            )
        except InputError as error:
            return Fault(case.key, case.fold, sentence(error))
        return found[0], spaceless

    results: list[tuple[CaseScores, list[str]] | Fault] = []
    with ThreadPoolExecutor(default_workers(max(len(cases), 1))) as pool:
        for done, result in enumerate(pool.map(score, cases), 1):
            results.append(result)
            if progress is not None:
                progress(Progress("evaluating", done, len(cases)))
    faults = [result for result in results if isinstance(result, Fault)]
    scored = [result for result in results if not isinstance(result, Fault)]
    fold_of = {case.key: case.fold for case in cases}
    evaluation = build(
        [scores for scores, _ in scored],
        classes,
        tolerance=TOLERANCE,
        partners=partners,
        spaceless=[name for _, names in scored for name in names],
    )
    distances = "HD95" if any(names for _, names in scored) else "HD95 [mm]"
    metrics = {
        "Dice": _samples(evaluation.cases, evaluation.classes, "dice", worst=True),
        distances: _samples(evaluation.cases, evaluation.classes, "hd95", worst=False),
    }
    return ValidationScores(
        metrics=metrics if any(metrics[distances].values()) else {"Dice": metrics["Dice"]},
        ranking=_means(metrics["Dice"]),
        ranked_by="Dice",
        summary=evaluation.shown_rows() if scored else [],
        failures=sorted(_class_failures(evaluation.cases, fold_of), key=lambda one: -one.order),
        faults=faults,
        notes=[*evaluation.notes, *_wrong_sides(evaluation)] if scored else (),
    )


def _samples(
    cases: Iterable[CaseScores], names: Iterable[str], metric: str, *, worst: bool
) -> dict[str, dict[str, float]]:
    samples: dict[str, dict[str, float]] = {name: {} for name in names}
    for case in cases:
        for name in samples:
            value = case.scores[name].value(metric, worst=worst)
            if math.isfinite(value):
                samples[name][case.name] = value
    return samples


def _means(samples: Samples) -> dict[str, float]:
    """Case → mean over its classes."""
    of_cases: dict[str, list[float]] = {}
    for of_class in samples.values():
        for case, value in of_class.items():
            of_cases.setdefault(case, []).append(value)
    return {case: sum(values) / len(values) for case, values in of_cases.items()}


def _class_failures(cases: Iterable[CaseScores], folds: Mapping[str, str]) -> Iterator[Failure]:
    for case in cases:
        for name, scores in case.scores.items():
            if scores.state in (MISSED, INVENTED):
                volume = scores.volume_truth if scores.state == MISSED else scores.volume_prediction
                yield Failure(case.name, folds[case.name], name, scores.state, f"{volume:,.4g}", volume)


def _wrong_sides(evaluation: SemanticEvaluation) -> Iterator[str]:
    """Partners, as left and right kidney, that were taken for each other."""
    for pair, (first, second) in evaluation.partners.items():
        counts = [case.wrong_side[pair] for case in evaluation.cases if case.wrong_side]
        wrong, true = (sum(numbers) for numbers in zip(*counts, strict=True)) if counts else (0, 0)
        if wrong:
            yield f"{wrong:,} of {true:,} voxels of {first} and {second} have the label of the other class"


def stored_scores(summary: Mapping[str, Any], classes: Classes) -> dict[str, CaseScores]:
    """Case → Dice and volumes in voxels, from the content of nnU-Net's ``summary.json``."""
    scores: dict[str, CaseScores] = {}
    for case in summary.get("metric_per_case", []):
        file, of_labels = Path(str(case.get("prediction_file"))).name, case.get("metrics", {})
        of_classes = {name: _stored_class(of_labels, labels) for name, labels in classes.labels.items()}
        name = file.removesuffix(".gz").rpartition(".")[0]
        scores[name] = CaseScores(name, of_classes)
    return scores


def _stored_class(of_labels: Mapping[str, Any], labels: tuple[int, ...]) -> ClassScores:
    key = str(labels[0]) if len(labels) == 1 else str(tuple(labels))
    numbers = of_labels.get(key)
    if not isinstance(numbers, dict):
        return NOT_APPLICABLE
    true, predicted = float(numbers.get("n_ref", 0)), float(numbers.get("n_pred", 0))
    if not true and not predicted:
        return NOT_APPLICABLE
    state = FOUND if true and predicted else MISSED if true else INVENTED
    dice, iou = (float(numbers.get(name) or 0) for name in ("Dice", "IoU"))
    return ClassScores(state, dice=dice, iou=iou, volume_truth=true, volume_prediction=predicted)


def sentence(error: InputError) -> str:
    return str(error).removesuffix(".") + "."
