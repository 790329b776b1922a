"""The aggregated Jaccard index of nuclei (Kumar et al., IEEE Transactions on Medical Imaging 36, 1550 (2017)).

As in its Algorithm 1 a predicted object may be matched with several true ones. An object that overlaps no prediction
adds its own area to the union.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.metrics.comparison import ClassComparison, Objects, compare
from maskmed_nnu.instances.metrics.counted_metric import CountedMetric, ratio


class AggregatedJaccard(CountedMetric):
    """AJI over a set of images: intersections and unions summed over all of them; ``image_mean`` as Kumar reports it.

    >>> metric = AggregatedJaccard()
    >>> metric.update(np.array([[1, 1, 1, 0, 0, 2]]), np.array([[1, 1, 1, 1, 0, 0]]))
    >>> metric.compute()["AJI"]  # 3 pixels in common; the union of 4, and 1 of an object that matches nothing
    0.6
    """

    def _count(self, objects: ClassComparison) -> NDArray[Any]:
        pairs = np.flatnonzero(~objects.crowd[objects.truth])
        # The last of an object's pairs by rising IoU is its best; of equal ones, the first prediction.
        pairs = pairs[np.lexsort((-objects.prediction[pairs], objects.iou[pairs], objects.truth[pairs]))]
        best = pairs[np.diff(objects.truth[pairs], append=-1) != 0]
        shared = objects.intersection[best].sum()
        union = (
            objects.truth_area[~objects.crowd].sum() + objects.prediction_area[objects.prediction[best]].sum() - shared
        )
        unused = ~objects.ignored_predictions
        unused[objects.prediction[best]] = False
        return np.array([shared, union + objects.prediction_area[unused].sum()])

    def _scores(self, counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        return {"AJI": ratio(counts[..., 0], counts[..., 1])}


def aggregated_jaccard(prediction: Objects, truth: Objects) -> float:
    """AJI of one image, all objects in one class; NaN where it has none and none was predicted.

    >>> aggregated_jaccard(np.array([[1, 1, 1, 0, 0, 2]]), np.array([[1, 1, 1, 1, 0, 0]]))
    0.6
    """
    metric = AggregatedJaccard()
    metric.add(compare(prediction, truth).class_agnostic())
    score: float = metric.compute()["AJI"]
    return score
