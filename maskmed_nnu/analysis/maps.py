"""Sequences taken from feature maps, and the curves measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.analysis.aggregation import aggregated_deviation
from maskmed_nnu.analysis.autocorrelation import autocorrelation
from maskmed_nnu.analysis.fluctuation import detrended_fluctuation
from maskmed_nnu.analysis.power_law import Curve, fit, mean_curve
from maskmed_nnu.analysis.spectrum import power_spectrum

EXPONENTS = ("hurst", "dfa", "psd_slope")
MAX_LINES = 4096  # neighbouring lines are nearly the same: more would only cost time


class MapCurves(NamedTuple):
    """The curves of one map or the means over several; ``autocorrelation [L]`` is at lags 0, 1, …"""

    hurst: Curve
    dfa: Curve
    psd_slope: Curve
    autocorrelation: NDArray[np.float64]

    def exponents(self) -> list[float]:
        """In the order of `EXPONENTS`; NaN where the map is too small."""
        return [fit(curve).exponent for curve in self[:3]]


def extract_sequences(feature_map: NDArray[np.floating[Any]]) -> NDArray[np.float64] | None:
    """``[S, N]``: rows and columns of every channel of ``feature_map [C, *spatial]``, N being the shortest axis.

    Each channel is normalised to mean 0 and variance 1 over the map, so that all have the same weight; its lines keep
    their own means, which are its low frequencies. Lines along a longer axis are cut into pieces of N positions. Of
    more than `MAX_LINES` lines along an axis, as many are drawn, always the same ones. Constant channels are left out;
    None where all are.
    """
    channels = feature_map.astype(np.float64).reshape(len(feature_map), -1)
    deviation = channels.std(1)
    varies = deviation > 1e-6 * np.abs(channels).max(1, initial=0)  # rounding leaves that much of a constant
    if not varies.any():
        return None
    channels = (channels[varies] - channels[varies].mean(1, keepdims=True)) / deviation[varies, None]
    standard = channels.reshape(-1, *feature_map.shape[1:])
    shortest = min(feature_map.shape[1:])
    lines = []
    for axis in range(1, feature_map.ndim):
        along = np.moveaxis(standard, axis, -1)
        used = along.shape[-1] // shortest * shortest
        pieces: NDArray[np.float64] = along[..., :used].reshape(-1, shortest)
        if len(pieces) > MAX_LINES:  # every n-th would be the same piece of each line
            pieces = pieces[np.random.default_rng(0).permutation(len(pieces))[:MAX_LINES]]
        lines.append(pieces)
    return np.concatenate(lines)


def map_curves(feature_map: NDArray[np.floating[Any]]) -> MapCurves | None:
    """The curves of ``feature_map [C, *spatial]``; None where no channel varies."""
    lines = extract_sequences(feature_map)
    if lines is None:
        return None
    return MapCurves(
        aggregated_deviation(lines), detrended_fluctuation(lines), power_spectrum(lines), autocorrelation(lines)
    )


def mean_curves(curves: Sequence[MapCurves]) -> MapCurves:
    """Mean curves of maps of one size: geometric means, whose exponents are the means of the maps' exponents."""
    hurst, dfa, psd_slope = (mean_curve([getattr(one, name) for one in curves]) for name in EXPONENTS)
    return MapCurves(hurst, dfa, psd_slope, np.mean([one.autocorrelation for one in curves], axis=0))
