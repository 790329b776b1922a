"""COCO's average precision and recall of instances (Lin et al., "Microsoft COCO", arXiv 1405.0312).

The numbers are those of pycocotools' ``COCOeval``, which defines them. This version looks only at pairs of objects that
overlap, keeps no masks, and has a detection cap of 1000 an image, because dense cells exceed COCO's 100.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.metrics.comparison import ClassComparison
from maskmed_nnu.instances.metrics.counted_metric import nan_mean
from maskmed_nnu.instances.metrics.ranked_metric import RankedMetric

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
EDGE_RANGES = {"all": (0, 1e5), "small": (0, 32), "medium": (32, 96), "large": (96, 1e5)}
"""Edges of a square, in a volume of a cube, of as many pixels as an object has, both ends included."""
RECALL_CAPS = (1, 10, 100)
AP50, AP75 = 0, 5  # indices into IOU_THRESHOLDS
FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2


class _ImageRecord(NamedTuple):
    """What one image adds to a class: ``D`` detections by falling score, for each area range and threshold."""

    scores: NDArray[np.float64]  # float64 [D]
    outcomes: NDArray[np.uint8]  # uint8 [areas, thresholds, D]
    positives: Integers  # int64 [areas], true objects that are not ignored


class AveragePrecision(RankedMetric):
    """Average precision over a set of images, with at most `max_detections` per class and image, or slice of a volume.

    >>> metric = AveragePrecision()
    >>> metric.update(prediction=np.array([[1, 1, 1, 0, 2, 2, 2]]), truth=np.array([[1, 1, 1, 1, 0, 0, 2]]))
    >>> scores = metric.compute()  # one object at an IoU of 0.75, the other missed at 0.33
    >>> round(scores["AP50"], 3), round(scores["AP75"], 3), round(scores["AP"], 3), scores["AR@100"]
    (0.505, 0.505, 0.303, 0.3)

    AP is the mean over IoU 0.50, 0.55, …, 0.95 and ``AR@n`` the same mean of the recall with at most n detections
    an image; ``_small``, ``_medium`` and ``_large`` are objects below 32², up to 96² and above 96² pixels, in volumes
    32³ and 96³.
    """

    def __init__(self, max_detections: int = 1000) -> None:
        super().__init__()
        self.max_detections = max_detections

    def _record(self, objects: ClassComparison) -> _ImageRecord:
        return _evaluate(objects, self.max_detections * math.prod(objects.shape[:-2]))

    def _scores(self, records: list[_ImageRecord]) -> dict[str, float]:
        cap = self.max_detections
        precision = {area: _precision(records, index) for index, area in enumerate(EDGE_RANGES)}
        scores = {"AP": nan_mean(precision["all"])}
        scores["AP50"], scores["AP75"] = (nan_mean(precision["all"][index]) for index in (AP50, AP75))
        scores |= {f"AP_{area}": nan_mean(precision[area]) for area in list(EDGE_RANGES)[1:]}
        caps = [*(n for n in RECALL_CAPS if n < cap), cap]
        scores |= {f"AR@{n}": nan_mean(_recall(records, 0, n)) for n in caps}
        return scores | {f"AR_{area}": nan_mean(_recall(records, i, None)) for i, area in enumerate(EDGE_RANGES) if i}


def _evaluate(objects: ClassComparison, max_detections: int) -> _ImageRecord:
    order = np.argsort(-objects.scores, kind="stable")[:max_detections]
    low, high = (np.array(ends)[:, None] for ends in zip(*EDGE_RANGES.values(), strict=True))
    dim = len(objects.shape)
    low, high = low**dim, high**dim
    ignored = objects.crowd | (objects.truth_area < low) | (objects.truth_area > high)
    outcomes = match_by_score(objects, order, ignored, IOU_THRESHOLDS)
    area = objects.prediction_area[order]
    outside = (area < low) | (area > high)
    outcomes[(outcomes == FALSE_POSITIVE) & outside[:, None]] = IGNORED
    return _ImageRecord(objects.scores[order], outcomes, np.count_nonzero(~ignored, axis=1))


def match_by_score(
    objects: ClassComparison, order: Integers, ignored: Mask, thresholds: NDArray[np.floating[Any]]
) -> NDArray[np.uint8]:
    """COCO's greedy matching: by falling score each detection takes the free truth of the highest IoU.

    `order` [D]: the detections that take part; `thresholds`: rising IoUs that are enough; `ignored` [areas, M]: ignored
    true objects, taken only where nothing else is left; a crowd region serves any number of detections. Returns
    outcomes uint8 [areas, thresholds, D].
    """
    areas, thresholds = len(ignored), np.minimum(thresholds, 1 - 1e-10)[:, None]
    outcomes = np.full((areas, len(thresholds), len(order)), FALSE_POSITIVE, dtype=np.uint8)
    rank = np.full(len(objects.scores), -1)
    rank[order] = np.arange(len(order))
    near = (rank[objects.prediction] >= 0) & (objects.iou >= thresholds[0])
    if not near.any():
        return outcomes
    detection, truth, iou = rank[objects.prediction[near]], objects.truth[near], objects.iou[near]
    by_score = np.lexsort((truth, detection))
    detection, truth, iou = detection[by_score], truth[by_score], iou[by_score]
    level = np.unique(iou, return_inverse=True)[1]
    taken = np.zeros((*outcomes.shape[:2], len(objects.crowd)), dtype=bool)
    turn = _matching_rounds(detection, truth, objects.crowd, len(order))[detection]
    for now in range(turn.max() + 1):
        pick = np.flatnonzero(turn == now)
        chooser, candidate = detection[pick], truth[pick]
        start = np.flatnonzero(np.diff(chooser, prepend=-1))
        preference = level[pick] + len(iou) * ~ignored[:, None, candidate]
        possible = (iou[pick] >= thresholds) & ~(taken[:, :, candidate] & ~objects.crowd[candidate])
        preference = np.where(possible, preference, -1)
        best = np.repeat(np.maximum.reduceat(preference, start, axis=2), np.diff(start, append=len(pick)), axis=2)
        # Of two equally good ones COCO takes the later.
        position = np.where((preference == best) & possible, np.arange(len(pick)), -1)
        chosen = np.maximum.reduceat(position, start, axis=2)
        area, threshold, column = np.nonzero(chosen >= 0)
        matched = candidate[chosen[area, threshold, column]]
        taken[area, threshold, matched] = True
        outcomes[area, threshold, chooser[start[column]]] = np.where(ignored[area, matched], IGNORED, TRUE_POSITIVE)
    return outcomes


def _matching_rounds(detection: Integers, truth: Integers, crowd: Mask, count: int) -> NDArray[np.int64]:
    """The round in which each detection is matched [count]; detections without a common truth share a round.

    A detection's round is its rank by score among those it is linked with through shared truths.
    """
    rival = ~crowd[truth]
    size = count + len(crowd)
    edges = (np.ones(np.count_nonzero(rival)), (detection[rival], count + truth[rival]))
    group = sparse.csgraph.connected_components(sparse.coo_array(edges, shape=(size, size)), directed=False)[1][:count]
    order = np.argsort(group, kind="stable")
    turn = np.empty(count, dtype=np.int64)
    turn[order] = np.arange(count) - np.searchsorted(group[order], group[order])
    return turn


def _precision(records: list[_ImageRecord], area: int) -> NDArray[np.float64]:
    """Precision [thresholds, recall points], the highest at that recall or beyond; NaN without true objects."""
    positives = sum(record.positives[area] for record in records)
    if not positives:
        return np.full((len(IOU_THRESHOLDS), len(RECALL_POINTS)), np.nan)
    order = np.argsort(-np.concatenate([record.scores for record in records]), kind="stable")
    outcomes = np.concatenate([record.outcomes[area] for record in records], axis=1)[:, order]
    hits = np.cumsum(outcomes == TRUE_POSITIVE, axis=1)
    precision = hits / (hits + np.cumsum(outcomes == FALSE_POSITIVE, axis=1) + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.pad(precision, ((0, 0), (0, 1)))  # beyond the last detection
    indices = np.stack([np.searchsorted(recall, RECALL_POINTS, side="left") for recall in hits / positives])
    return np.take_along_axis(precision, indices, axis=1)


def _recall(records: list[_ImageRecord], area: int, cap: int | None) -> NDArray[np.float64]:
    """Recall [thresholds] with at most `cap` detections an image, by default all; NaN without true objects."""
    positives = sum(record.positives[area] for record in records)
    if not positives:
        return np.full(len(IOU_THRESHOLDS), np.nan)
    hits = [np.count_nonzero(record.outcomes[area, :, :cap] == TRUE_POSITIVE, axis=1) for record in records]
    recall: NDArray[np.float64] = np.sum(hits, axis=0) / positives
    return recall
