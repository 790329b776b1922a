"""Scores of objects in validated cases, one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.files import read_ids_and_geometry
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, decode
from maskmed_nnu.instances.metrics.comparison import compare
from maskmed_nnu.instances.metrics.instance_metrics import InstanceMetrics, join
from maskmed_nnu.instances.metrics.matching import count_matches, match
from maskmed_nnu.instances.text import count, format_shape
from maskmed_nnu.nnunet.evaluation.validated_cases import ValidatedCase, read_object_scores
from maskmed_nnu.nnunet.evaluation.validation_scores import (
    TRUTH_GONE,
    Failure,
    Fault,
    ValidationScores,
    sentence,
)
from maskmed_nnu.nnunet.training.object_summary import mean_scores
from maskmed_nnu.progress import Report, counted
from maskmed_nnu.semantic.case_scores import INVENTED, MISSED

IOU = 0.5
"""From which an object counts as found."""
SHOWN = ("F1@0.5", "F1@0.75", "PQ", "SQ", "RQ", "AJI")
STORED = ("AP", "AP50")
"""They need scores of the objects, which label maps do not hold."""


def read_both(truth: Path, prediction: Path, label_format: LabelFormat) -> tuple[InstanceMap, InstanceMap]:
    """The objects in a true and a predicted label map.

    Raises:
        InputError: where a file is none, or they differ in size. The sentence names the file.
    """
    true, predicted = _read_objects(truth, label_format), _read_objects(prediction, label_format)
    if true.stuff.shape != predicted.stuff.shape:
        sizes = [format_shape(one.stuff.shape) for one in (predicted, true)]
        raise InputError(f"{prediction} has {sizes[0]} pixels, but its truth {truth} has {sizes[1]}.")
    return true, predicted


def _read_objects(path: Path, label_format: LabelFormat) -> InstanceMap:
    raw, _ = read_ids_and_geometry(path, overlap_layers=label_format.overlap_layers)
    try:
        return decode(raw, label_format)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def score_objects(
    cases: Sequence[ValidatedCase],
    model: Path,
    label_format: LabelFormat,
    *,
    stuff_classes: Sequence[int],
    in_space: bool = False,
    progress: Report | None = None,
) -> ValidationScores:
    """Of id maps; a case that is at fault costs a sentence. Where objects are not predicted ``in_space``, the slices of
    a volume are images."""
    names = {number: name for name, number in label_format.classes.items()}
    total = InstanceMetrics(stuff_classes=stuff_classes)
    samples: dict[str, dict[str, dict[str, float]]] = {"F1@0.5": {}, "PQ": {}}
    failures: list[Failure] = []
    faults: list[Fault] = []
    ranking: dict[str, float] = {}
    some_truth = any(case.truth is not None for case in cases)  # else a note has said so
    for case in counted(cases, "evaluating", progress):
        if case.truth is None:
            faults += [Fault(case.key, case.fold, TRUTH_GONE)] if some_truth else []
            continue
        try:
            metrics, missed, invented, true = _score(case, label_format, stuff_classes, in_space)
        except InputError as error:
            faults.append(Fault(case.key, case.fold, sentence(error)))
            continue
        for metric, other in zip(total.counted, metrics.counted, strict=True):
            metric.merge(other)
        scores = join([metric.compute() for metric in metrics.counted])
        for score, of_score in samples.items():
            for number, of_class in scores["per_class"].items():
                value = of_class.get(score, math.nan)
                if math.isfinite(value):
                    of_score.setdefault(names.get(number, str(number)), {})[case.key] = value
        ranking[case.key] = float(scores.get("PQ", math.nan))
        for what, numbers in ((MISSED, missed), (INVENTED, invented)):
            for number, objects in numbers.items():
                size = f"{objects:,} of {count(true[number], 'object')}" if what == MISSED else count(objects, "object")
                failures.append(
                    Failure(case.key, case.fold, names.get(number, str(number)), what, size, objects, objects)
                )
    scores = join([metric.compute() for metric in total.counted])
    return ValidationScores(
        metrics={metric: _ordered(of_classes, names) for metric, of_classes in samples.items() if of_classes},
        ranking=ranking,
        ranked_by="PQ",
        summary=_summary(scores if ranking else {}, _stored(model, cases), names),
        failures=sorted(failures, key=lambda one: -one.order),
        faults=faults,
    )


def object_status(
    prediction: InstanceMap, truth: InstanceMap, classes: Sequence[int]
) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which predicted objects have a partner, and which true ones; bool ``[N]``, ``[M]``. Of one image."""
    comparison = compare(prediction, truth)
    status = np.zeros(len(prediction.classes), bool), np.zeros(len(truth.classes), bool)
    for number in classes:
        objects = comparison.of_class(number)
        pairs = match(objects, objects.pairs_above(IOU))
        sides = (
            (status[0], prediction.classes, comparison.overlaps.prediction_area, objects.prediction[pairs]),
            (status[1], truth.classes, comparison.overlaps.truth_area, objects.truth[pairs]),
        )
        for found, of_class, area, matched in sides:
            own = np.flatnonzero((of_class == number) & (area[: len(of_class)] > 0))
            found[own[matched]] = True
    return status


def images_of(objects: InstanceMap, in_space: bool) -> list[InstanceMap]:
    """Itself, or the slices of a volume whose objects are not predicted ``in_space``, with the objects of all."""
    if objects.stuff.ndim == 2 or in_space:
        return [objects]
    return [InstanceMap(objects.ids[:, z], objects.classes, stuff) for z, stuff in enumerate(objects.stuff)]


def _score(
    case: ValidatedCase, label_format: LabelFormat, stuff_classes: Sequence[int], in_space: bool
) -> tuple[InstanceMetrics, dict[int, int], dict[int, int], dict[int, int]]:
    """Metrics, and the numbers of missed, invented and true objects of each class that has any."""
    assert case.truth is not None
    truth, prediction = read_both(case.truth, case.prediction, label_format)
    metrics = InstanceMetrics(stuff_classes=stuff_classes)
    missed: dict[int, int] = {}
    invented: dict[int, int] = {}
    true: dict[int, int] = {}
    for predicted, image in zip(images_of(prediction, in_space), images_of(truth, in_space), strict=True):
        comparison = compare(predicted, image)
        for metric in metrics.counted:
            metric.add(comparison)
        for number in label_format.classes.values():
            if number in stuff_classes:
                continue
            objects = comparison.of_class(number)
            tp, fp, fn = (int(n) for n in count_matches(objects, match(objects, objects.pairs_above(IOU))))
            for numbers, more in ((missed, fn), (invented, fp), (true, tp + fn)):
                if more:
                    numbers[number] = numbers.get(number, 0) + more
    return metrics, missed, invented, true


def _ordered(of_classes: Mapping[str, Mapping[str, float]], names: Mapping[int, str]) -> dict[str, Mapping[str, float]]:
    order = list(names.values())
    known = sorted(of_classes, key=lambda name: order.index(name) if name in order else len(order))
    return {name: of_classes[name] for name in known}


def _stored(model: Path, cases: Sequence[ValidatedCase]) -> dict[str, Any]:
    """Mean over the folds of what their final validations measured, by their numbers of cases."""
    folds = list(dict.fromkeys(case.fold for case in cases))
    parts = [(read_object_scores(model, fold), sum(case.fold == fold for case in cases)) for fold in folds]
    return mean_scores([(scores, number) for scores, number in parts if scores])


def _summary(scores: Mapping[str, Any], stored: Mapping[str, Any], names: Mapping[int, str]) -> list[dict[str, str]]:
    rows = []
    for number, name in [*names.items(), (0, "mean")]:
        own = scores.get("per_class", {}).get(number, {}) if number else scores
        kept = stored.get("per_class", {}).get(name, {}) if number else stored
        values = {column: own.get(column, kept.get(column)) for column in SHOWN}
        values |= {column: kept.get(column) for column in STORED}
        if any(value is not None for value in values.values()):
            rows.append({"class": name} | {column: _shown(value) for column, value in values.items()})
    return rows


def _shown(value: Any) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"
