"""Where a class lies in one case, how large and bright it is, and its coarse shape."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import gamma, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_SIZE = 160  # voxels per axis that are looked at; larger arrays are strided
SHAPE_BINS = 7  # per axis; odd, so that a mirrored shape is the array read backwards
SHAPE_RADII = 2.0  # equivalent radii on each side of the centre; what lies beyond counts in the outermost bins
MIN_NOISE = 0.05  # of the standard deviation of all labelled voxels: the least unit of brightness in noiseless images


@dataclass(frozen=True)
class ClassPlace:
    """One class in one case.

    ``centre`` [D] is in mm along the world axes x, y[, z], which point to the left, the back and the head. ``volume``
    is in mm³ (2D: mm²). ``intensity`` [C] is the mean of each channel, from the mean of all labelled voxels, in units
    of the typical standard deviation within a class. ``shape`` [D axes] is how the class is spread about its centre, as
    shares of its volume in bins that grow with its size.
    """

    centre: NDArray[np.float64]
    volume: float
    intensity: NDArray[np.float64] | None
    shape: NDArray[np.float32]


def class_places(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    image: NDArray[Any] | None = None,
    classes: Collection[int] | None = None,
) -> dict[int, ClassPlace]:
    """Measure each class of `labels` [X, Y[, Z]], whose array axes run along the world's, with `spacing` in mm.

    `image` is [C, X, Y[, Z]]. Background (0 and below) is left out, and all but `classes` where they are given.
    """
    strides = [-(-size // MAX_SIZE) for size in labels.shape]
    steps = tuple(slice(None, None, stride) for stride in strides)
    voxel = np.multiply(spacing, strides).astype(np.float64)
    labels = np.rint(labels[steps]).astype(np.int64)

    inside = (labels > 0) & (True if classes is None else np.isin(labels, list(classes)))
    values, index = np.unique(labels[inside], return_inverse=True)
    if not len(values):
        return {}
    index = index.reshape(-1)
    points = np.argwhere(inside) * voxel
    counts = np.bincount(index)
    centres = np.stack([np.bincount(index, points[:, axis]) / counts for axis in range(labels.ndim)], axis=-1)
    volumes = counts * voxel.prod()
    shapes = class_shapes(points - centres[index], index, volumes)
    intensities = None if image is None else _intensities(image[(slice(None), *steps)][:, inside], index)
    return {
        int(value): ClassPlace(
            centre=centres[i],
            volume=float(volumes[i]),
            intensity=None if intensities is None else intensities[i],
            shape=shapes[i],
        )
        for i, value in enumerate(values)
    }


def ball_radii(volumes: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
    """Radii in mm of balls (2D: discs) of ``volumes [...]`` in mm³ (2D: mm²), in the same shape."""
    unit_ball: float = pi ** (dimension / 2) / gamma(dimension / 2 + 1)
    return (volumes / unit_ball) ** (1 / dimension)


def class_shapes(
    offsets: NDArray[np.float64], index: NDArray[np.int64], volumes: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Share of each class in bins about its centre [classes, bins, bins[, bins]], from its voxels' `offsets` in mm."""
    dimension = offsets.shape[1]
    width = 2 * SHAPE_RADII * ball_radii(volumes, dimension) / SHAPE_BINS
    bins = np.floor(offsets / width[index, None] + SHAPE_BINS / 2).astype(np.int64).clip(0, SHAPE_BINS - 1)
    size = (len(volumes), *[SHAPE_BINS] * dimension)
    flat = np.ravel_multi_index((index, *bins.T), size)
    found = np.bincount(flat, minlength=int(np.prod(size))).reshape(size)
    shares: NDArray[np.float32] = found.astype(np.float32)
    shares /= shares.sum(axis=tuple(range(1, dimension + 1)), keepdims=True)
    return shares


def _intensities(values: NDArray[Any], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standardised mean of each class [classes, C] from the labelled voxels' `values` [C, voxels]."""
    counts = np.bincount(index)
    columns = []
    for channel in np.asarray(values, np.float64):
        centred = channel - channel.mean()
        means = np.bincount(index, centred) / counts
        within = np.sqrt(np.bincount(index, np.square(centred - means[index])) / counts)
        unit = max(float(np.median(within)), MIN_NOISE * float(centred.std()))
        columns.append(means / unit if unit > 0 else np.zeros_like(means))
    return np.stack(columns, axis=-1)
