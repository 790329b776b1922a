"""Signals with known exponents."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, toeplitz


def fgn_covariance(hurst: float, length: int) -> np.ndarray:
    """Autocovariance of fractional Gaussian noise of variance 1 at lags 0, 1, … (Mandelbrot and Van Ness, 1968)."""
    lag = np.arange(length, dtype=float)
    return 0.5 * ((lag + 1) ** (2 * hurst) - 2 * lag ** (2 * hurst) + np.abs(lag - 1) ** (2 * hurst))


def fractional_noise(hurst: float, count: int, length: int, seed: int = 0) -> np.ndarray:
    """``[count, length]`` fractional Gaussian noise, exact: Davies and Harte's circulant embedding (1987)."""
    covariance = fgn_covariance(hurst, length + 1)
    circle = np.concatenate([covariance, covariance[-2:0:-1]])
    eigenvalues = np.fft.fft(circle).real
    assert eigenvalues.min() > -1e-9
    noise = np.random.default_rng(seed).standard_normal((2, count, len(circle)))
    spectrum = np.sqrt(eigenvalues.clip(0) / len(circle)) * (noise[0] + 1j * noise[1])
    return np.fft.fft(spectrum, axis=-1).real[:, :length]


def fractional_maps(hurst: float, channels: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """``[channels, height, width]`` of which every row and every column is fractional Gaussian noise: the covariance
    is the product of one along each axis, so Cholesky factors from both sides make it exact."""
    left, right = (cholesky(toeplitz(fgn_covariance(hurst, n)), lower=True) for n in (height, width))
    return left @ np.random.default_rng(seed).standard_normal((channels, height, width)) @ right.T
