"""The generated nuclei touch, are whole, and are as many for any distance between slices."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy.ndimage import label
from skimage.measure import regionprops

from maskmed_nnu.demo import cells3d
from maskmed_nnu.demo.cells3d import draw_stack, write_stacks
from maskmed_nnu.instances.formats import read_tiff_spacing

SHAPE = (50, 96, 96)


@pytest.mark.parametrize("anisotropy", [1, 2, 5])
def test_nuclei_touch_and_are_brighter_than_what_is_around_them(anisotropy):
    stack = draw_stack(np.random.default_rng(0), anisotropy=anisotropy, shape=SHAPE)
    assert stack.image.shape == stack.ids.shape == (50 // anisotropy, 96, 96)
    numbers = np.unique(stack.ids)
    assert len(numbers) > 24 and numbers.tolist() == list(range(len(numbers)))
    assert label(stack.ids > 0)[1] < 0.7 * (len(numbers) - 1)  # components of the foreground, which peers count
    assert stack.image.max() < 5000  # as photons are, not at the end of the range
    assert stack.image[stack.ids > 0].mean() > 2 * stack.image[stack.ids == 0].mean()


def test_every_nucleus_is_one_piece_and_most_are_not_convex():
    regions = regionprops(draw_stack(np.random.default_rng(1), anisotropy=1, shape=SHAPE).ids)
    assert all(label(region.image)[1] == 1 and region.area >= cells3d.SMALLEST for region in regions)
    assert 0.6 < np.median([region.solidity for region in regions]) < 0.85  # of an ellipsoid it is above 0.9


def test_stacks_of_imagej_with_spacing_the_same_for_the_same_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(cells3d, "draw_stack", lambda rng: draw_stack(rng, shape=(20, 32, 32)))
    said = []
    for name in ("a", "b"):
        write_stacks(tmp_path / name, training=1, test=1, seed=3, report=said.append)
    assert len(said) == 4 and "nuclei in 10 slices" in said[0]
    for part in (cells3d.IMAGES, cells3d.MASKS):
        files = [sorted((tmp_path / name / part).iterdir()) for name in ("a", "b")]
        assert [path.name for path in files[0]] == ["cells_00.tif", "cells_01.tif"]
        for first, second in zip(*files, strict=True):
            np.testing.assert_array_equal(tifffile.imread(first), tifffile.imread(second))
            assert read_tiff_spacing(first) == (1.0, 0.5, 0.5)
