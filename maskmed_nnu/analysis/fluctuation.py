"""Detrended fluctuation analysis.

C.-K. Peng et al., *Mosaic organization of DNA nucleotides*, Physical Review E 49, 1685 (1994); short windows are
corrected as in J. W. Kantelhardt et al., *Detecting long-range correlations with detrended fluctuation analysis*,
Physica A 295, 441 (2001), with the closed form of the white-noise fluctuation in place of a simulated one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.analysis.power_law import Curve, window_lengths, windows


def detrended_fluctuation(sequences: NDArray[np.floating[Any]]) -> Curve:
    """F(n) of ``sequences [..., N]`` at window lengths n; its exponent is α.

    F²(n) is the mean square of the profile (the running sum) around the straight line fitted to it in each window.
    White noise of variance 1 has F²(n) = (n² - 4) / (15 n); the measured value is multiplied by the ratio of that
    formula's limit n / 15 to it, so that white noise has α = 0.5 for short windows too.
    """
    profile = np.cumsum(sequences - sequences.mean(-1, keepdims=True), axis=-1, dtype=np.float64)
    lengths = window_lengths(sequences.shape[-1])
    squares = [_mean_square_residual(windows(profile, n)) * n**2 / (n**2 - 4) for n in lengths]
    return Curve(lengths.astype(float), np.sqrt(np.array(squares)))


def _mean_square_residual(pieces: NDArray[np.float64]) -> float:
    """Mean square of ``pieces [..., n]`` around the line fitted to each."""
    n = pieces.shape[-1]
    line = np.arange(n) - (n - 1) / 2
    basis = np.stack([np.full(n, n**-0.5), line / np.linalg.norm(line)], axis=1)
    residual = pieces - pieces @ basis @ basis.T
    return float(np.mean(residual**2))
