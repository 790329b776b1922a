"""Power spectral density.

Prewhitened by first differences against leakage, as in R. B. Blackman and J. W. Tukey, *The Measurement of Power
Spectra* (1958). The slope is fitted over 2 sin(π f), as in J. Geweke and S. Porter-Hudak, *The estimation and
application of long memory time series models*, Journal of Time Series Analysis 4, 221 (1983): for a random walk of
discrete steps the law is then exact, and at low frequencies nothing changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import periodogram

from maskmed_nnu.analysis.power_law import MIN_LENGTH, Curve

FIRST_BIN = 2  # the Hann window spreads the differences' mean over bins 0 and 1


def power_spectrum(sequences: NDArray[np.floating[Any]]) -> Curve:
    """Mean power density of ``sequences [..., N]``; x is sin(π f) / π, f in cycles per position; the exponent is -β.

    The Hann periodogram of the first differences, divided by their filter's gain (2 sin π f)²; one-sided: white noise
    of variance 1 has a density of 2. Frequencies up to half of Nyquist's, above which aliasing bends the law.
    """
    length = sequences.shape[-1]
    if length < MIN_LENGTH:
        return Curve(np.zeros(0), np.zeros(0))
    frequency, power = periodogram(np.diff(sequences).astype(np.float64), window="hann")
    band = slice(FIRST_BIN, length // 4 + 1)
    mean = power.reshape(-1, len(frequency)).mean(0)[band]
    sine = np.sin(np.pi * frequency[band])
    return Curve(sine / np.pi, mean / (2 * sine) ** 2)
