"""Autocorrelation, and the distance over which it lasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft


def autocorrelation(sequences: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """``[N // 2 + 1]``: the correlation of values 0, 1, … N // 2 positions apart in ``sequences [..., N]``.

    Deviations are from the mean over all the sequences, which are samples of one process; the sum at each lag is
    divided by the number of its pairs. NaN where there is no variance.
    """
    length = sequences.shape[-1]
    lags = np.arange(length // 2 + 1)
    deviation = (sequences - np.mean(sequences, dtype=np.float64)).reshape(-1, length)
    size = next_fast_len(length + len(lags), real=True)
    power = (np.abs(rfft(deviation, size)) ** 2).mean(0)
    covariance = irfft(power, size)[lags] / (length - lags)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: NDArray[np.float64] = covariance / covariance[0]
    return correlation


def correlation_length(correlation: NDArray[np.float64]) -> float:
    """The lag at which ``correlation [L]`` first falls below 1/e, between two lags by a straight line.

    Infinity where it never does, NaN where it is not known.
    """
    if np.isnan(correlation).any():
        return np.nan
    below = np.flatnonzero(correlation < np.exp(-1))
    if not len(below):
        return np.inf
    lag = below[0]
    before, after = correlation[lag - 1], correlation[lag]
    return float(lag - 1 + (before - np.exp(-1)) / (before - after))
