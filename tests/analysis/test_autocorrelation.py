"""Autocorrelation against a plain sum and against the formula of fractional Gaussian noise."""

from __future__ import annotations

import numpy as np
import pytest

from maskmed_nnu.analysis.autocorrelation import autocorrelation, correlation_length
from tests.analysis.signals import fgn_covariance, fractional_noise


@pytest.mark.parametrize("length", [16, 33])
def test_it_is_the_sum_over_pairs(length):
    values = np.random.default_rng(0).standard_normal((3, length)) + 5
    deviation = values - values.mean()
    pairs = [np.mean(deviation[:, : length - lag] * deviation[:, lag:]) for lag in range(length // 2 + 1)]
    np.testing.assert_allclose(autocorrelation(values), np.array(pairs) / pairs[0])


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.8])
def test_of_fractional_noise_it_is_the_formula(hurst):
    found = autocorrelation(fractional_noise(hurst, 5000, 64))
    np.testing.assert_allclose(found, fgn_covariance(hurst, 33), atol=0.03)


def test_a_wave_comes_back_after_its_period():
    found = autocorrelation(np.cos(2 * np.pi * np.arange(200) / 20))
    assert found[20] == pytest.approx(1, abs=0.01)
    assert found[10] == pytest.approx(-1, abs=0.01)


def test_the_correlation_length_of_an_exponential_is_its_scale():
    assert correlation_length(np.exp(-np.arange(40) / 7.0)) == pytest.approx(7)
    assert correlation_length(np.array([1, 0.5, 0.2])) == pytest.approx(1 + (0.5 - np.exp(-1)) / 0.3)
    assert correlation_length(np.ones(5)) == np.inf
    assert np.isnan(correlation_length(autocorrelation(np.ones((4, 20)))))
