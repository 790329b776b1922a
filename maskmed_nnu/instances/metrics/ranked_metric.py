"""Base class of metrics that rank the detections of a class over all images by their scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from typing import Any

import numpy as np

from maskmed_nnu.instances.array_types import Mask
from maskmed_nnu.instances.metrics.comparison import ClassComparison, Comparison, Objects, compare
from maskmed_nnu.instances.metrics.counted_metric import nan_mean


class RankedMetric(ABC):
    """Scores of a set of images from a record for each image and class."""

    def __init__(self) -> None:
        self.images = 0
        self._records: dict[int, list[Any]] = defaultdict(list)

    def update(self, prediction: Objects, truth: Objects, *, crowd: Mask | None = None) -> None:
        """Add an image; see `maskmed_nnu.instances.metrics.comparison.compare` for what objects and crowd are."""
        self.add(compare(prediction, truth, crowd=crowd))

    def add(self, comparison: Comparison) -> None:
        """Add an image that was compared already."""
        self.images += 1
        for number in comparison.classes:
            self._records[number].append(self._record(comparison.of_class(number)))

    def merge(self, other: RankedMetric) -> None:
        """Add all images of `other`, which another process may have counted."""
        self.images += other.images
        for number, records in other._records.items():
            self._records[number].extend(records)

    def compute(self) -> dict[str, Any]:
        """The scores, and under ``per_class`` those of each class number that has true objects.

        The mean over classes counts those with true objects; NaN where there is nothing at all.
        """
        per_class = {number: self._scores(records) for number, records in sorted(self._records.items())}
        per_class = {n: scores for n, scores in per_class.items() if np.isfinite(next(iter(scores.values())))}
        values = {name: [scores[name] for scores in per_class.values()] for name in self._scores([])}
        means = {name: nan_mean(of_classes) for name, of_classes in values.items()}
        return {**means, "per_class": per_class}

    @abstractmethod
    def _record(self, objects: ClassComparison) -> Any:
        """What one image adds to a class; no masks."""

    @abstractmethod
    def _scores(self, records: list[Any]) -> dict[str, float]:
        """Of one class, NaN without true objects."""
