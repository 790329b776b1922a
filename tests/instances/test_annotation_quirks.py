"""What real annotations contain is counted, against scipy one object at a time."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import ndimage

from maskmed_nnu.instances import annotation_quirks
from maskmed_nnu.instances.annotation_quirks import Quirks, find_quirks, quirk_warnings


@given(st_numpy.arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 9)), elements=st.integers(0, 2)))
@settings(deadline=None)
def test_holes_and_single_pixels_are_those_of_scipy(ids):
    found = find_quirks(ids[None])
    background, count = ndimage.label(ids == 0)
    border = set(np.concatenate([background[[0, -1]].ravel(), background[:, [0, -1]].ravel()]).tolist())
    owners = set()
    for hole in set(range(1, count + 1)) - border:
        around = ndimage.binary_dilation(background == hole) & (background != hole)
        if len(np.unique(ids[around])) == 1:
            owners.add(int(ids[around][0]))
    assert found.holes == len(owners)
    assert found.single_pixels == sum((ids == number).sum() == 1 for number in (1, 2))


def test_a_tunnel_through_a_volume_is_no_hole_and_a_cavity_is():
    ids = np.zeros((1, 5, 7, 7), np.int32)
    ids[0, :, 1:6, 1:6] = 1
    ids[0, 2, 3, 3] = 0
    assert find_quirks(ids) == Quirks(holes=1)
    ids[0, :, 3, 3] = 0
    assert find_quirks(ids) == Quirks()


def test_many_files_are_summed_up():
    (line,) = quirk_warnings({f"c{i}": Quirks(torn=i) for i in range(9)})
    assert line.startswith("36 objects are in several pieces") and ": c1 (1), c2 (2), c3 (3) and 5 more; each" in line


def test_the_example():
    assert doctest.testmod(annotation_quirks).failed == 0
