"""Sensitivity at false positives per image (FROC), as detection of lesions is scored.

The rates and their mean are those of LUNA16 (Setio et al., Medical Image Analysis 42, 1 (2017)), the curve between its
points a straight line as there and in MONAI's ``compute_froc_score``. (MONAI's ``compute_froc_curve_data`` leaves out
the detections of the lowest score of all; here they count.) A detection hits at an IoU of 0.1, as in nnDetection
(Baumgartner et al., MICCAI 2021, arXiv 2106.00817) and Retina U-Net (Jaeger et al., arXiv 1811.08661); this version
takes the masks' IoU, not the boxes'. Each lesion is hit once, by the detection of the highest score; what hits it again
is a false positive.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.metrics.average_precision import FALSE_POSITIVE, TRUE_POSITIVE, match_by_score
from maskmed_nnu.instances.metrics.comparison import ClassComparison
from maskmed_nnu.instances.metrics.ranked_metric import RankedMetric

HIT_IOU = 0.1
RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
"""False positives per image."""


class _ImageRecord(NamedTuple):
    scores: NDArray[np.float64]  # float64 [D], falling
    outcomes: NDArray[np.uint8]  # uint8 [D]
    positives: int


class DetectionSensitivity(RankedMetric):
    """``sensitivity@n``: share of true objects found at n false positives per image; ``FROC``: the mean over `RATES`.

    An image without true objects counts as one, for its false positives.

    >>> metric = DetectionSensitivity()
    >>> metric.update(prediction=np.array([[1, 1, 0, 2]]), truth=np.array([[1, 1, 0, 0]]))
    >>> scores = metric.compute()  # both have the score 1: at no rate below 1 is the object found for certain
    >>> scores["sensitivity@1"], scores["sensitivity@0.5"], round(scores["FROC"], 3)
    (1.0, 0.5, 0.696)
    """

    def _record(self, objects: ClassComparison) -> _ImageRecord:
        order: Integers = np.argsort(-objects.scores, kind="stable")
        outcomes = match_by_score(objects, order, objects.crowd[None], np.array([HIT_IOU]))[0, 0]
        return _ImageRecord(objects.scores[order], outcomes, objects.num_objects)

    def _scores(self, records: list[_ImageRecord]) -> dict[str, float]:
        names = [f"sensitivity@{rate:g}" for rate in RATES]
        positives = sum(record.positives for record in records)
        if not positives:
            return dict.fromkeys(["FROC", *names], float("nan"))
        scores = np.concatenate([record.scores for record in records])
        order = np.argsort(-scores, kind="stable")
        outcomes = np.concatenate([record.outcomes for record in records])[order]
        last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores are one point
        hits, wrong = (np.append(0, np.cumsum(outcomes == kind)[last]) for kind in (TRUE_POSITIVE, FALSE_POSITIVE))
        found = np.interp(RATES, wrong / self.images, hits / positives)
        return {"FROC": float(found.mean()), **dict(zip(names, found.tolist(), strict=True))}
