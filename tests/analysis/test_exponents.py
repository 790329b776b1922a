"""Exponents of signals that have known ones: H, α = H, slope 1 - 2 H of a noise, H + 1 and -1 - 2 H of its sum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import periodogram

from maskmed_nnu.analysis.aggregation import aggregated_deviation
from maskmed_nnu.analysis.fluctuation import detrended_fluctuation
from maskmed_nnu.analysis.power_law import Curve, fit, mean_curve, window_lengths
from maskmed_nnu.analysis.spectrum import power_spectrum
from tests.analysis.signals import fgn_covariance, fractional_noise

HURST = (0.3, 0.5, 0.7, 0.9)


def test_the_generator_has_the_covariance_it_claims():
    noise = fractional_noise(0.8, 4000, 64)
    measured = noise.T @ noise / len(noise)
    assert np.abs(measured[0] - fgn_covariance(0.8, 64)).max() < 5 / np.sqrt(len(noise))
    assert np.abs(measured[31, 31:] - fgn_covariance(0.8, 33)).max() < 5 / np.sqrt(len(noise))


@pytest.mark.parametrize("length, tolerance", [(1024, 0.02), (128, 0.03), (64, 0.04), (16, 0.06)])
@pytest.mark.parametrize("hurst", HURST)
def test_noise_has_its_hurst_and_dfa_exponent_however_short_it_is(hurst, length, tolerance):
    noise = fractional_noise(hurst, 2**19 // length, length)
    assert fit(aggregated_deviation(noise)).exponent == pytest.approx(hurst, abs=tolerance)
    assert fit(detrended_fluctuation(noise)).exponent == pytest.approx(hurst, abs=tolerance)


@pytest.mark.parametrize("hurst", HURST)
def test_the_sum_of_a_noise_has_a_dfa_exponent_higher_by_one(hurst):
    for length, tolerance in ((1024, 0.05), (128, 0.1)):
        walk = np.cumsum(fractional_noise(hurst, 2**18 // length, length), axis=-1)
        law = fit(detrended_fluctuation(walk))
        assert law.exponent == pytest.approx(hurst + 1, abs=tolerance)
        assert law.r_squared > 0.998


@pytest.mark.parametrize("length, tolerance", [(1024, 0.04), (128, 0.09), (64, 0.13), (16, 0.43)])
@pytest.mark.parametrize("hurst", HURST)
def test_slope_of_the_spectrum_of_a_noise_and_of_its_sum(hurst, length, tolerance):
    noise = fractional_noise(hurst, 2**18 // length, length)
    assert fit(power_spectrum(noise)).exponent == pytest.approx(1 - 2 * hurst, abs=tolerance)
    walk = np.cumsum(noise, axis=-1)
    assert fit(power_spectrum(walk)).exponent == pytest.approx(-1 - 2 * hurst, abs=tolerance)


def test_a_random_walk_is_as_smooth_as_a_hurst_exponent_can_say():
    walk = np.cumsum(fractional_noise(0.5, 256, 1024), axis=-1)
    assert 0.95 < fit(aggregated_deviation(walk)).exponent <= 1
    assert fit(power_spectrum(walk)).exponent == pytest.approx(-2, abs=0.03)


def test_one_long_sequence_is_enough():
    noise = fractional_noise(0.7, 1, 2**16, seed=4)[0]
    assert fit(aggregated_deviation(noise)).exponent == pytest.approx(0.7, abs=0.05)
    assert fit(detrended_fluctuation(noise)).exponent == pytest.approx(0.7, abs=0.05)


def test_fluctuations_of_white_noise_are_exact_at_every_window():
    noise = fractional_noise(0.5, 20000, 16)
    curve = detrended_fluctuation(noise)
    assert curve.x.tolist() == [4, 5, 6, 7, 8]
    np.testing.assert_allclose(curve.y**2, curve.x / 15, rtol=0.02)
    np.testing.assert_allclose(aggregated_deviation(noise).y ** 2, curve.x, rtol=0.03)


def test_fluctuation_is_that_of_a_line_fitted_in_each_window():
    values = np.random.default_rng(1).standard_normal(35)
    curve = detrended_fluctuation(values)
    for n, found in zip(curve.x.astype(int), curve.y, strict=True):
        profile = np.cumsum(values - values.mean())
        starts = [*range(0, 35 - n + 1, n)]
        squares = []
        for start in starts if 35 % n == 0 else starts + [35 - n - start for start in starts]:
            piece = profile[start : start + n]
            line = np.polyval(np.polyfit(np.arange(n), piece, 1), np.arange(n))
            squares.append(np.mean((piece - line) ** 2))
        assert found == pytest.approx(np.sqrt(np.mean(squares) * n**2 / (n**2 - 4)))


def test_trends_do_not_reach_the_fluctuations_nor_offsets_the_spectrum():
    noise = fractional_noise(0.5, 10, 64)
    np.testing.assert_allclose(detrended_fluctuation(noise + 7).y, detrended_fluctuation(noise).y)
    np.testing.assert_allclose(power_spectrum(noise + 7).y, power_spectrum(noise).y)
    trend = 0.3 * np.arange(64)
    np.testing.assert_allclose(power_spectrum(noise + trend).y, power_spectrum(noise).y)


def test_power_is_scipys_where_the_spectrum_is_flat():
    noise = fractional_noise(0.5, 4000, 256)
    curve = power_spectrum(noise)
    frequency, power = periodogram(noise)
    np.testing.assert_allclose(curve.y, 2, rtol=0.1)
    near = np.interp(np.arcsin(np.pi * curve.x) / np.pi, frequency, power.mean(0))
    np.testing.assert_allclose(curve.y, near, rtol=0.12)


def test_a_power_law_is_fitted_whatever_the_spacing_of_its_points():
    x = np.array([1.0, 2, 3, 4, 50, 51, 1000])
    assert fit(Curve(x, 3 * x**-1.7)) == pytest.approx((-1.7, 3, 1))
    assert np.isnan(fit(Curve(x[:2], x[:2]))).all()


def test_the_mean_curve_has_the_mean_exponent():
    curves = [detrended_fluctuation(fractional_noise(hurst, 20, 128)) for hurst in HURST]
    exponents = [fit(curve).exponent for curve in curves]
    assert fit(mean_curve(curves)).exponent == pytest.approx(np.mean(exponents))


def test_windows_reach_from_four_to_half_of_the_sequence_and_short_sequences_have_none():
    assert window_lengths(64).tolist() == [4, 5, 6, 7, 8, 10, 11, 13, 16, 19, 23, 27, 32]
    assert window_lengths(15).size == 0
    for curve in (aggregated_deviation, detrended_fluctuation, power_spectrum):
        assert np.isnan(fit(curve(np.random.default_rng(0).standard_normal((5, 15)))).exponent)
