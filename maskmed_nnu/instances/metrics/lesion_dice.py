"""Dice of each object, with 0 for what is missed and what is invented: the lesion-wise Dice of BraTS 2023.

Saluja et al., github.com/rachitsaluja/BraTS-2023-Metrics. This version takes the objects as they are numbered: lesions
are not dilated and joined first, and none is left out for being small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.metrics.comparison import ClassComparison
from maskmed_nnu.instances.metrics.counted_metric import CountedMetric, ratio


class LesionDice(CountedMetric):
    """The mean over true objects and false positives; ``image_mean`` is the mean of images, as in BraTS.

    A true object is compared with all predictions that share a pixel with it, together. A prediction that shares none
    with any is a false positive. Predictions that overlap each other count with the sum of their areas.

    >>> metric = LesionDice()
    >>> metric.update(np.array([[1, 1, 0, 2, 0, 3]]), np.array([[1, 1, 1, 1, 0, 0]]))
    >>> metric.compute()["lesion Dice"]  # 2 · 3 / (4 + 3) for the object, 0 for the third prediction
    0.42857142857142855
    """

    def _count(self, objects: ClassComparison) -> NDArray[Any]:
        true = ~objects.crowd
        pairs = np.flatnonzero(true[objects.truth])
        prediction, truth = objects.prediction[pairs], objects.truth[pairs]
        shared = np.bincount(truth, objects.intersection[pairs], len(true))
        predicted = np.bincount(truth, objects.prediction_area[prediction], len(true))
        dice = 2 * shared[true] / (objects.truth_area + predicted)[true]
        invented = ~objects.ignored_predictions
        invented[prediction] = False
        return np.array([dice.sum(), objects.num_objects + np.count_nonzero(invented)])

    def _scores(self, counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        return {"lesion Dice": ratio(counts[..., 0], counts[..., 1])}
