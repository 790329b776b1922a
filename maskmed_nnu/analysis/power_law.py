"""Power laws: curves over logarithmic axes, the scales at which they are taken, and the straight line through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_LENGTH = 16
"""Positions that a sequence needs for an exponent; a shorter one has too few scales."""
SMALLEST_WINDOW, WINDOWS_PER_OCTAVE = 4, 4


class Curve(NamedTuple):
    """``y [P]`` above 0 at ``x [P]``: window lengths or frequencies, rising; no points where N < `MIN_LENGTH`."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


class PowerLaw(NamedTuple):
    """``y = factor * x ** exponent``; ``r_squared`` is the share of log y's variance that it explains. NaN: no fit."""

    exponent: float
    factor: float
    r_squared: float


def window_lengths(length: int) -> NDArray[np.int64]:
    """Window lengths for sequences of ``length`` positions: from 4 to half of them, four to an octave."""
    if length < MIN_LENGTH:
        return np.zeros(0, np.int64)
    octaves = np.log2(length // 2 / SMALLEST_WINDOW)
    steps = np.arange(int(octaves * WINDOWS_PER_OCTAVE + 1e-9) + 1) / WINDOWS_PER_OCTAVE
    return np.unique(np.rint(SMALLEST_WINDOW * 2**steps).astype(np.int64))


def windows(sequences: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """``[..., 2 * (N // length), length]``: cut from the start and from the end, so that no position is left out."""
    count = sequences.shape[-1] // length
    used = count * length
    shape = (*sequences.shape[:-1], count, length)
    start = sequences[..., :used].reshape(shape)
    if used == sequences.shape[-1]:
        return start
    return np.concatenate([start, sequences[..., -used:].reshape(shape)], axis=-2)


def fit(curve: Curve) -> PowerLaw:
    """Least squares in log y over log x, each octave with the same weight; NaN below three points."""
    known = np.isfinite(curve.y) & (curve.y > 0)
    if known.sum() < 3:
        return PowerLaw(np.nan, np.nan, np.nan)
    x, y = np.log(curve.x[known]), np.log(curve.y[known])
    weight = np.gradient(x)
    weight /= weight.sum()
    dx, dy = x - weight @ x, y - weight @ y
    exponent = (weight * dx) @ dy / ((weight * dx) @ dx)
    residual, variance = weight @ (dy - exponent * dx) ** 2, weight @ dy**2
    r_squared = 1 - residual / variance if variance > 0 else np.nan
    return PowerLaw(float(exponent), float(np.exp(weight @ y - exponent * weight @ x)), float(r_squared))


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Geometric mean of curves over the same x; its exponent is the mean of their exponents."""
    return Curve(curves[0].x, np.exp(np.mean([np.log(curve.y) for curve in curves], axis=0)))
