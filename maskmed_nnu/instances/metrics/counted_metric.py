"""Base class of metrics that count per image and class, sum the counts, and divide at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskmed_nnu.instances.array_types import Mask
from maskmed_nnu.instances.metrics.comparison import ClassComparison, Comparison, Objects, compare


class CountedMetric(ABC):
    """Scores from counts that are summed over the images of a set, and beside them the mean of the images' scores.

    An image without true or predicted objects of a class is left out of that class's mean.
    """

    def __init__(self) -> None:
        self._counts: dict[int, list[NDArray[Any]]] = defaultdict(list)

    def update(self, prediction: Objects, truth: Objects, *, crowd: Mask | None = None) -> None:
        """Add an image; see `maskmed_nnu.instances.metrics.comparison.compare` for what objects and crowd are."""
        self.add(compare(prediction, truth, crowd=crowd))

    def add(self, comparison: Comparison) -> None:
        """Add an image that was compared already."""
        for number in comparison.classes:
            self._counts[number].append(self._count(self._of_class(comparison, number)))

    def merge(self, other: CountedMetric) -> None:
        """Add all images of `other`, which another process may have counted."""
        for number, counts in other._counts.items():
            self._counts[number].extend(counts)

    def compute(self) -> dict[str, Any]:
        """The scores as means over classes; ``per_class`` those of each class, ``image_mean`` the means over images.

        ``image_mean`` has a ``per_class`` too. NaN where there was nothing to be scored.
        """
        counts = {number: np.stack(images) for number, images in sorted(self._counts.items()) if self._occurs(images)}
        names = self._scores(self._count(_NOTHING))
        sums = {number: self._scores(images.sum(axis=0)) for number, images in counts.items()}
        singles = {number: self._scores(images) for number, images in counts.items()}
        set_scores = {number: {name: float(scores[name]) for name in names} for number, scores in sums.items()}
        image_scores = {number: {name: nan_mean(scores[name]) for name in names} for number, scores in singles.items()}

        def over_classes(scores: dict[int, dict[str, float]]) -> dict[str, Any]:
            means = {name: nan_mean([of_class[name] for of_class in scores.values()]) for name in names}
            return {**means, "per_class": scores}

        return {**over_classes(set_scores), "image_mean": over_classes(image_scores)}

    @staticmethod
    def _occurs(images: list[NDArray[Any]]) -> bool:
        return any(np.any(counts) for counts in images)

    def _of_class(self, comparison: Comparison, number: int) -> ClassComparison:
        return comparison.of_class(number)

    @abstractmethod
    def _count(self, objects: ClassComparison) -> NDArray[Any]:
        """Counts of one image and class, all zero where there is nothing."""

    @abstractmethod
    def _scores(self, counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Scores [...] from counts [..., *the shape of one image's counts]."""


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """`part` / `whole`, NaN where the whole is zero."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    quotient = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def nan_mean(values: ArrayLike) -> float:
    """Mean of what is finite, NaN where nothing is."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if finite.size else float("nan")


_NO_INDEX = np.zeros(0, dtype=np.int64)
_NOTHING = ClassComparison(
    _NO_INDEX, _NO_INDEX, _NO_INDEX, np.zeros(0), _NO_INDEX, _NO_INDEX, np.zeros(0), np.zeros(0, dtype=bool), (0, 0)
)
