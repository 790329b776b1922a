"""The part of an image that a network sees, and where it is taken."""

from __future__ import annotations

import numpy as np
import pytest

from maskmed_nnu.analysis.patches import cut_patch, fullest_place, innermost_voxel

IMAGE = np.random.default_rng(0).standard_normal((2, 7, 20, 30)).astype(np.float32)


@pytest.mark.parametrize("patch_size", [(4, 8, 16), (10, 8, 64), (24, 16), (9, 40)])
@pytest.mark.parametrize("centre", [None, (0, 0, 0), (6, 19, 29), (3, 11, 13)])
def test_a_patch_lies_where_it_says(patch_size, centre):
    patch = cut_patch(IMAGE, patch_size, centre)
    assert patch.data.shape == (2, *patch_size)
    inside = patch.crop(patch.data.numpy())
    shape = (1, *inside.shape[1:])[-3:]
    window = tuple(slice(first, first + edge) for first, edge in zip(patch.corner, shape, strict=True))
    np.testing.assert_array_equal(inside.reshape(2, *shape), IMAGE[(slice(None), *window)])
    outside = patch.data.clone()
    outside[(slice(None), *patch.inside)] = 0
    assert not outside.any()
    if centre is not None:
        assert all(part.start <= at < part.stop for part, at in zip(window, centre, strict=True))


def test_the_fullest_place_weighs_classes_not_voxels():
    labels = np.zeros((5, 40, 60), np.int64)
    labels[1, 2:18, 2:18] = 1
    labels[3, 30:32, 50:52] = 2
    labels[3, 33, 53] = 3
    z, y, x = fullest_place(labels, (12, 12))
    assert z == 3
    patch = cut_patch(labels[None].astype(np.float32), (12, 12), (z, y, x))
    assert set(np.unique(patch.data)) == {0, 2, 3}
    assert fullest_place(np.zeros((5, 40, 60), np.int64), (12, 12)) == (2, 20, 30)


def test_the_innermost_voxel_of_a_class_at_the_border():
    labels = np.zeros((9, 11), np.int64)
    labels[:5, :5] = 3
    assert innermost_voxel(labels) == (2, 2)
    assert innermost_voxel(0 * labels) == (4, 5)
