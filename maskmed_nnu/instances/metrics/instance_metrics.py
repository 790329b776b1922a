"""One accumulator of all metrics, which compares each image once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.metrics.aggregated_jaccard import AggregatedJaccard
from maskmed_nnu.instances.metrics.average_precision import AveragePrecision
from maskmed_nnu.instances.metrics.comparison import Comparison, Objects, compare
from maskmed_nnu.instances.metrics.detection_sensitivity import DetectionSensitivity
from maskmed_nnu.instances.metrics.lesion_dice import LesionDice
from maskmed_nnu.instances.metrics.matching import MatchingScores
from maskmed_nnu.instances.metrics.panoptic_quality import PanopticQuality
from maskmed_nnu.instances.metrics.ranked_metric import RankedMetric


class InstanceMetrics:
    """AP, FROC, F1, DSB average precision, AJI, panoptic quality and lesion-wise Dice of a set of images.

    >>> metrics = InstanceMetrics()
    >>> ids = np.array([[1, 1, 0, 2, 2, 2]])
    >>> metrics.update(prediction=ids, truth=ids)
    >>> scores = metrics.compute()
    >>> round(scores["AP"], 6), scores["F1@0.5"], scores["DSB AP"], scores["AJI"], scores["PQ"]
    (1.0, 1.0, 1.0, 1.0, 1.0)
    """

    def __init__(self, *, max_detections: int = 1000, stuff_classes: Iterable[int] = (), scored: bool = True) -> None:
        """Without scores (`scored`) there is no FROC, and every object has the score 1 in AP."""
        self.ranked: tuple[RankedMetric, ...] = (AveragePrecision(max_detections),)
        if scored:
            self.ranked += (DetectionSensitivity(),)
        self.counted = (MatchingScores(), AggregatedJaccard(), PanopticQuality(stuff_classes), LesionDice())

    def update(self, prediction: Objects, truth: Objects, *, crowd: NDArray[np.bool_] | None = None) -> None:
        """Add an image.

        ``prediction`` and ``truth`` are detections, object maps or ids (``[y, x]``, else ``[layers, *spatial]``);
        ``crowd [M]`` marks those of the ``M`` true objects that are crowd regions (see
        `maskmed_nnu.instances.metrics.comparison.compare`).
        """
        self.add(compare(prediction, truth, crowd=crowd))

    def add(self, comparison: Comparison) -> None:
        """Add an image that was compared already."""
        for ranked in self.ranked:
            ranked.add(comparison)
        for metric in self.counted:
            metric.add(comparison)

    def merge(self, other: InstanceMetrics) -> None:
        """Add all images of `other`, which another process may have counted."""
        for ranked, more_ranked in zip(self.ranked, other.ranked, strict=True):
            ranked.merge(more_ranked)
        for metric, more in zip(self.counted, other.counted, strict=True):
            metric.merge(more)

    def compute(self) -> dict[str, Any]:
        """Every metric's scores side by side; ``per_class`` and ``image_mean`` hold the same names."""
        return join([*(metric.compute() for metric in self.ranked), *(metric.compute() for metric in self.counted)])


def with_names(scores: dict[Any, Any], names: dict[int, str]) -> dict[str, Any]:
    """`scores` with class names for numbers, and None, which json has, for NaN, which it has not.

    >>> with_names({"AP": math.nan, "per_class": {1: {"AP": 0.5}}}, {1: "cell"})
    {'AP': None, 'per_class': {'cell': {'AP': 0.5}}}
    """
    named: dict[str, Any] = {}
    for key, value in scores.items():
        if isinstance(value, dict):
            value = with_names(value, names)
        elif math.isnan(value):
            value = None
        named[names.get(key, str(key)) if isinstance(key, int) else key] = value
    return named


def join(parts: list[dict[Any, Any]]) -> dict[Any, Any]:
    """Scores of several metrics as one dict, nested ones joined level by level."""
    joined: dict[Any, Any] = {}
    for part in parts:
        for name, value in part.items():
            joined[name] = join([joined.get(name, {}), value]) if isinstance(value, dict) else value
    return joined
