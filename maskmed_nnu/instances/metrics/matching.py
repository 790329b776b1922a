"""Objects matched one to one at an IoU threshold, as StarDist and the Data Science Bowl 2018 count them.

StarDist: Schmidt et al., arXiv 1806.03535; DSB 2018: Caicedo et al., Nature Methods 16, 1247 (2019). This version also
takes objects that overlap each other, and leaves crowd regions out of the count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.metrics.average_precision import AP50, AP75, IOU_THRESHOLDS
from maskmed_nnu.instances.metrics.comparison import ClassComparison, Objects, compare
from maskmed_nnu.instances.metrics.counted_metric import CountedMetric, ratio


@dataclass(frozen=True)
class Matching:
    """True positives, false positives and false negatives at an IoU of at least `threshold`."""

    threshold: float
    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN where nothing was predicted."""
        return float(ratio(self.tp, self.tp + self.fp))

    @property
    def recall(self) -> float:
        """TP / (TP + FN); NaN where there are no true objects."""
        return float(ratio(self.tp, self.tp + self.fn))

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where there was nothing at all."""
        return float(ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn))

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), the precision of the DSB 2018; NaN where there was nothing at all."""
        return float(ratio(self.tp, self.tp + self.fp + self.fn))


def matching(prediction: Objects, truth: Objects, threshold: float = 0.5) -> Matching:
    """Match the objects of one image, whatever their class.

    >>> result = matching(np.array([[1, 1, 1, 0, 2, 2, 2]]), np.array([[1, 1, 1, 1, 0, 0, 2]]))
    >>> result  # the first objects have an IoU of 3/4, the second ones of 1/3
    Matching(threshold=0.5, tp=1, fp=1, fn=1)
    >>> result.f1, round(result.average_precision, 3)
    (0.5, 0.333)
    """
    objects = compare(prediction, truth).class_agnostic().of_class(1)
    return Matching(threshold, *(int(n) for n in _count(objects, threshold)))


def f1(prediction: Objects, truth: Objects, threshold: float = 0.5) -> float:
    """F1 of one image, whatever the classes; NaN where it has no object and none was predicted.

    >>> f1(np.array([[1, 1, 0, 2]]), np.array([[5, 5, 0, 0]]))
    0.6666666666666666
    """
    return matching(prediction, truth, threshold).f1


class MatchingScores(CountedMetric):
    """F1, precision and recall at IoU 0.5 and 0.75, and the DSB average precision, over a set of images.

    ``DSB AP`` is the mean of TP / (TP + FP + FN) over IoU 0.50, 0.55, …, 0.95. Counts are summed over the images before
    they are divided, as StarDist's ``matching_dataset`` does; ``image_mean`` holds the means of the images' own scores,
    as the DSB 2018 ranked them.

    >>> metric = MatchingScores()
    >>> metric.update(np.array([[1, 1, 1, 0, 2, 2, 2]]), np.array([[1, 1, 1, 1, 0, 0, 2]]))
    >>> metric.update(np.array([[1, 1]]), np.array([[1, 1]]))
    >>> scores = metric.compute()
    >>> round(scores["F1@0.5"], 3), scores["image_mean"]["F1@0.5"]
    (0.667, 0.75)
    """

    def _count(self, objects: ClassComparison) -> Integers:
        return np.stack([_count(objects, threshold) for threshold in IOU_THRESHOLDS])

    def _scores(self, counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        tp, fp, fn = np.moveaxis(counts, -1, 0)
        f1 = ratio(2 * tp, 2 * tp + fp + fn)
        return {
            "F1@0.5": f1[..., AP50],
            "F1@0.75": f1[..., AP75],
            "precision@0.5": ratio(tp, tp + fp)[..., AP50],
            "recall@0.5": ratio(tp, tp + fn)[..., AP50],
            "DSB AP": ratio(tp, tp + fp + fn).mean(axis=-1),
        }


def match(objects: ClassComparison, allowed: Mask) -> Integers:
    """Indices of the pairs in a one-to-one matching with the most pairs and, among those, the highest sum of IoUs.

    `allowed`: bool [P], the pairs to choose from.
    """
    pairs = np.flatnonzero(allowed)
    sole: Mask = np.ones(len(pairs), dtype=bool)
    for side in (objects.prediction[pairs], objects.truth[pairs]):
        sole &= np.bincount(side, minlength=1)[side] == 1
    chosen: list[Integers] = [pairs[sole]]
    pairs = pairs[~sole]
    if not len(pairs):
        return chosen[0]
    rows, row = np.unique(objects.prediction[pairs], return_inverse=True)
    columns, column = np.unique(objects.truth[pairs], return_inverse=True)
    size = len(rows) + len(columns)
    edges = sparse.coo_array((np.ones(len(pairs)), (row, len(rows) + column)), shape=(size, size))
    group = sparse.csgraph.connected_components(edges, directed=False)[1][row]
    order = np.argsort(group, kind="stable")
    for members in np.split(pairs[order], np.flatnonzero(np.diff(group[order])) + 1):
        chosen.append(_assign(objects, members))
    return np.concatenate(chosen)


def _assign(objects: ClassComparison, pairs: Integers) -> Integers:
    row = np.unique(objects.prediction[pairs], return_inverse=True)[1]
    column = np.unique(objects.truth[pairs], return_inverse=True)[1]
    shape = (row.max() + 1, column.max() + 1)
    gain, pair_at = np.zeros(shape), np.full(shape, -1)
    gain[row, column] = 1 + objects.iou[pairs] / (2 * min(shape))  # no sum of IoUs outweighs a pair
    pair_at[row, column] = pairs
    matched: Integers = pair_at[linear_sum_assignment(gain, maximize=True)]
    return matched[matched >= 0]


def _count(objects: ClassComparison, threshold: float) -> Integers:
    """TP, FP and FN, int64 [3]."""
    pairs = match(objects, objects.pairs_above(threshold))
    return count_matches(objects, pairs)


def count_matches(objects: ClassComparison, pairs: Integers) -> Integers:
    """TP, FP and FN, int64 [3], where `pairs` are the matches; an unmatched prediction in a crowd is none of them."""
    wrong = ~objects.ignored_predictions
    wrong[objects.prediction[pairs]] = False
    return np.array([len(pairs), np.count_nonzero(wrong), objects.num_objects - len(pairs)])
