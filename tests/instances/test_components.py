"""Objects in several pieces, against scipy's components of one object at a time."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import ndimage

from maskmed_nnu.instances import components
from maskmed_nnu.instances.components import (
    MAX_STRAY_FRACTION,
    count_pieces,
    objects_in_pieces,
    split_disconnected,
)
from maskmed_nnu.instances.instance_map import InstanceMap

edges = st.integers(1, 9)
shapes = st.one_of(
    st.tuples(st.integers(1, 2), edges, edges), st.tuples(st.integers(1, 2), st.integers(1, 4), edges, edges)
)
layers = st_numpy.arrays(np.int32, shapes, elements=st.integers(0, 3))


def sizes(mask: np.ndarray) -> list[int]:
    parts, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return sorted(np.bincount(parts.ravel())[1:].tolist(), reverse=True)


@given(layers)
@settings(deadline=None)
def test_pieces_are_those_of_scipy(ids):
    expected = {i: sizes(ids[0] == i) for i in np.unique(ids[0]) if i and len(sizes(ids[0] == i)) > 1}
    found = objects_in_pieces(components.components(ids[0]), ids[0])
    assert {number: sizes.tolist() for number, _, sizes in found} == expected


@given(layers)
@settings(deadline=None)
def test_after_splitting_nothing_is_torn_and_no_pixel_changes_its_class(ids):
    ids[1:] += 3 * (ids[1:] > 0)  # an object lives in one layer
    objects = InstanceMap(ids, np.array([1, 2, 1, 2, 1, 1]), np.zeros(ids.shape[1:], np.int32))
    split = split_disconnected(objects)
    for layer in split.ids:
        assert all(count_pieces(s) == 1 for _, _, s in objects_in_pieces(components.components(layer), layer))
    class_of, class_now = np.append(0, objects.classes), np.append(0, split.classes)
    np.testing.assert_array_equal(class_of[ids], class_now[split.ids])
    for number in range(1, 7):
        found = sizes(split.ids[(ids == number).reshape(len(ids), -1).any(axis=1).argmax()] == number)
        assert max(found[1:], default=0) <= MAX_STRAY_FRACTION * max(found, default=0)


def test_voxels_that_touch_at_a_corner_are_connected():
    ids = np.zeros((1, 3, 3, 3), np.int32)
    ids[0, 0, 0, 0] = ids[0, 1, 1, 1] = ids[0, 2, 2, 2] = 1
    assert len(split_disconnected(InstanceMap(ids, np.array([1]), ids[0] * 0)).classes) == 1
    ids[0, 1, 1, 1] = 0
    assert len(split_disconnected(InstanceMap(ids, np.array([1]), ids[0] * 0)).classes) == 2


def test_many_objects_of_one_id_are_told_apart_however_small_each_is_beside_all():
    ids = np.zeros((1, 40, 40), np.int32)
    ids[0, 1::8, 1::8] = ids[0, 2::8, 1::8] = 255
    split = split_disconnected(InstanceMap(ids, np.ones(255, np.int64), ids[0] * 0))
    assert len(np.unique(split.ids)) == 26


def test_the_example():
    assert doctest.testmod(components).failed == 0
