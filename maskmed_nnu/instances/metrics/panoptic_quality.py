"""Panoptic quality with its two factors (Kirillov et al., "Panoptic Segmentation", arXiv 1801.00868).

This version also takes objects that overlap each other, for which an IoU above 0.5 may leave a choice; it is settled
one to one by the most matches, then the highest sum of IoUs. The background is a known class, not void.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.metrics.comparison import ClassComparison, Comparison, Objects, compare
from maskmed_nnu.instances.metrics.counted_metric import CountedMetric, ratio
from maskmed_nnu.instances.metrics.matching import count_matches, match

THRESHOLD = 0.5  # to be exceeded


class PanopticQuality(CountedMetric):
    """PQ = SQ · RQ over a set of images, matched at an IoU above 0.5.

    SQ is the mean IoU of the matches and RQ their F1. A class in `stuff_classes` is one segment per image. In any other
    class a region of stuff in the truth is a crowd: it need not be found, and a prediction is no error where more than
    half of it lies there.

    >>> metric = PanopticQuality()
    >>> metric.update(np.array([[1, 1, 1, 0, 2, 2, 2]]), np.array([[1, 1, 1, 1, 0, 0, 2]]))
    >>> scores = metric.compute()
    >>> scores["SQ"], scores["RQ"], scores["PQ"]  # one match at an IoU of 3/4, one object wrong, one missed
    (0.75, 0.5, 0.375)
    """

    def __init__(self, stuff_classes: Iterable[int] = ()) -> None:
        super().__init__()
        self.stuff_classes = frozenset(stuff_classes)

    def _of_class(self, comparison: Comparison, number: int) -> ClassComparison:
        return comparison.of_class(number, stuff=number in self.stuff_classes)

    def _count(self, objects: ClassComparison) -> NDArray[Any]:
        pairs = match(objects, objects.pairs_above(THRESHOLD, strict=True))
        return np.concatenate([[objects.iou[pairs].sum()], count_matches(objects, pairs)])

    def _scores(self, counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        iou, tp, fp, fn = np.moveaxis(counts, -1, 0)
        weight = tp + (fp + fn) / 2
        # Where nothing matches there is no mean IoU; 0 keeps PQ = SQ · RQ.
        segmentation = np.where((tp == 0) & (weight > 0), 0.0, ratio(iou, tp))
        return {"PQ": ratio(iou, weight), "SQ": segmentation, "RQ": ratio(tp, weight)}


def panoptic_quality(prediction: Objects, truth: Objects) -> dict[str, float]:
    """PQ, SQ and RQ of one image, all objects in one class; NaN where it has none and none was predicted.

    >>> panoptic_quality(np.array([[1, 1, 1, 0]]), np.array([[1, 1, 1, 1]]))
    {'PQ': 0.75, 'SQ': 0.75, 'RQ': 1.0}
    """
    metric = PanopticQuality()
    metric.add(compare(prediction, truth).class_agnostic())
    scores = metric.compute()
    return {name: scores[name] for name in ("PQ", "SQ", "RQ")}
