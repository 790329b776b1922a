"""Distances between the surfaces of two masks, by MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Mask

MOST = 2**24
"""Values that torch's quantile takes."""


def surface_scores(truth: Mask, prediction: Mask, *, spacing: Sequence[float], tolerance: float) -> tuple[float, float]:
    """HD95 (mm) and NSD of two masks ``[*spatial]``, neither of which is empty, as MONAI defines them.

    A mask's surface are its voxels with a neighbour outside, across a face; what lies beyond the image is outside. HD95
    is the larger one of the 95th percentiles of the two directions, in single precision. NSD is the share of the
    voxels of both surfaces that lie within ``tolerance`` (mm) of the other one. Both depend on the masks alone, so
    that a box around both gives the values of the whole image.

    >>> truth, prediction = np.zeros((2, 1, 5), bool)
    >>> truth[0, 1] = prediction[0, 3] = True
    >>> surface_scores(truth, prediction, spacing=(1, 0.5), tolerance=1)
    (1.0, 1.0)
    """
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    edges: Any = get_mask_edges(prediction, truth, crop=False)
    predicted, true = edges
    distances: Any = [get_surface_distance(a, b, spacing=spacing) for a, b in ((predicted, true), (true, predicted))]
    within = sum(int(np.count_nonzero(d <= float(tolerance))) for d in distances)
    return max(_percentile_95(d) for d in distances), within / sum(map(len, distances))


def load() -> None:
    """Import MONAI, before threads ask for it."""
    import monai.metrics.utils  # noqa: F401


def _percentile_95(distances: NDArray[np.float32]) -> float:
    """MONAI's, which is torch's: its rank is rounded to single precision, at which numpy's would differ visibly."""
    if len(distances) > MOST:
        return float(np.quantile(distances, 0.95))
    from monai.utils.type_conversion import convert_to_tensor

    tensor: Any = convert_to_tensor(distances)
    return float(tensor.quantile(0.95))
