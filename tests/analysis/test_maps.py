"""Exponents of maps, by their rows and columns."""

from __future__ import annotations

import numpy as np
import pytest

from maskmed_nnu.analysis.maps import extract_sequences, map_curves, mean_curves
from tests.analysis.signals import fractional_maps


@pytest.mark.parametrize("hurst", [0.5, 0.7])
@pytest.mark.parametrize("shape, tolerance", [((128, 128), 0.06), ((64, 96), 0.1)])
def test_maps_of_fractional_noise_have_its_exponents(hurst, shape, tolerance):
    found = map_curves(fractional_maps(hurst, 24, *shape).astype(np.float32)).exponents()
    assert found == pytest.approx([hurst, hurst, 1 - 2 * hurst], abs=tolerance)


def test_a_brownian_sheet_is_a_random_walk_along_every_line():
    sheet = np.random.default_rng(0).standard_normal((32, 128, 128)).cumsum(1).cumsum(2)
    hurst, dfa, slope = map_curves(sheet).exponents()
    assert dfa == pytest.approx(1.5, abs=0.1)  # the correction for white noise is too much for short windows of a walk
    assert slope == pytest.approx(-2, abs=0.06)
    assert 0.9 < hurst <= 1


def test_scale_and_offset_of_a_channel_do_not_matter_nor_do_constant_channels():
    maps = fractional_maps(0.7, 4, 32, 32)
    changed = maps * np.array([1, 100, 0.01, -5])[:, None, None] + np.array([0, 7, -9, 1])[:, None, None]
    changed = np.concatenate([changed, np.full((1, 32, 32), 0.1)])
    one, other = map_curves(maps), map_curves(changed)
    np.testing.assert_allclose(one.exponents(), other.exponents())
    np.testing.assert_allclose(one.autocorrelation, other.autocorrelation)
    assert map_curves(np.full((2, 32, 32), 0.1, np.float32)) is None


def test_lines_are_rows_columns_and_pieces_of_the_longer_axis():
    maps = np.random.default_rng(0).standard_normal((2, 3, 7))
    lines = extract_sequences(maps)
    standard = (maps - maps.mean((1, 2), keepdims=True)) / maps.std((1, 2), keepdims=True)
    expected = [*standard.transpose(0, 2, 1).reshape(-1, 3), *standard[..., :3].reshape(-1, 3)]
    expected += [*standard[..., 3:6].reshape(-1, 3)]
    assert sorted(map(tuple, lines)) == sorted(map(tuple, expected))


def test_of_many_lines_every_part_of_the_map_has_some():
    """The right half is another noise, so that its lines can be told; what is drawn is always the same."""
    maps = np.random.default_rng(0).standard_normal((64, 64, 128))
    maps[:, :, 64:] *= 10
    lines = extract_sequences(maps)
    assert len(lines) == 2 * 4096
    loud = lines[4096:].std(1) > lines[4096:].std(1).mean()
    assert 0.45 < loud.mean() < 0.55
    np.testing.assert_array_equal(lines, extract_sequences(maps))


def test_small_maps_have_an_autocorrelation_only():
    curves = map_curves(fractional_maps(0.7, 50, 8, 8))
    assert np.isnan(curves.exponents()).all()
    assert curves.autocorrelation.shape == (5,)
    assert curves.autocorrelation[1] > 0.1


def test_the_mean_over_maps_has_the_mean_exponents():
    curves = [map_curves(fractional_maps(hurst, 4, 32, 32)) for hurst in (0.3, 0.6, 0.8)]
    np.testing.assert_allclose(mean_curves(curves).exponents(), np.mean([one.exponents() for one in curves], axis=0))
    small = [map_curves(fractional_maps(hurst, 4, 8, 8)) for hurst in (0.3, 0.6)]
    assert np.isnan(mean_curves(small).exponents()).all()
