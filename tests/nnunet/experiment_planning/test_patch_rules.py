"""Patches and scales of networks for objects."""

from __future__ import annotations

import doctest
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from maskmed_nnu.nnunet.experiment_planning import patch_rules

EDGES = st.floats(4, 6000)
SQUARE = st.tuples(st.just((1.0, 1.0)), st.tuples(EDGES, EDGES))
# the planner's first axis is that of the largest spacing
VOXELS = st.tuples(st.sampled_from([1.9, 2, 2.7, 5, 30]), st.just(1.0), st.sampled_from([1.0, 1.9])) | st.just(
    (1.0,) * 3
)
VOLUMES = st.tuples(VOXELS, st.tuples(st.floats(2, 900), EDGES, EDGES))


def test_examples():
    assert doctest.testmod(patch_rules).failed == 0


@settings(deadline=None)
@given(SQUARE | VOLUMES, st.floats(1, 1e8))
def test_patches_are_legal_whatever_the_images(case: tuple[tuple[float, ...], tuple[float, ...]], pixels: float):
    voxel, image = case
    patch = patch_rules.largest_patch(image, voxel, lambda patch: math.prod(patch) <= pixels)
    encoder = patch_rules.topology(patch, voxel)
    deepest = encoder.total_strides()[-1]
    assert 4 <= len(encoder.strides) == len(encoder.kernels) <= 6 and max(deepest) <= 32
    assert all(edge % stride == 0 for edge, stride in zip(patch, deepest, strict=True)) and min(patch[-2:]) >= 32
    assert math.prod(patch) <= pixels or patch in ((32, 32), (1, 32, 32))
    assert all(edge < limit + 64 for edge, limit in zip(patch, image, strict=True))
