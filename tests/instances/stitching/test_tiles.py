"""Tiles cover the image, overlap as promised, and hold small objects whole."""

from __future__ import annotations

import doctest
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.stitching import tiles as tiles_module
from maskmed_nnu.instances.stitching.tiles import larger_tile, plan_tiles


@st.composite
def layouts(draw):
    dim = draw(st.integers(2, 3))
    shape = draw(st.tuples(*(st.integers(1, 150 if dim == 2 else 60) for _ in range(dim))))
    tile = draw(st.tuples(*(st.integers(8, 90 if dim == 2 else 40) for _ in range(dim))))
    return shape, tile, tuple(draw(st.integers(1, size - 4)) for size in tile)


def is_inside(tile, low, high, margin):
    """Whether ``low..high`` (half open, per axis) lies in the tile, ``margin`` pixels from its inner borders."""
    before, after = np.array(tile.inner_borders).reshape(2, -1) * margin
    return (low >= tile.start + before).all() and (high <= tile.stop - after).all()


@given(layouts())
@settings(max_examples=80, deadline=None)
def test_cover_the_image_once_row_by_row(layout):
    shape, size, overlap = layout
    tiles = plan_tiles(shape, size, overlap)
    seen = np.zeros(shape, int)
    for tile in tiles:
        assert all(0 <= a < b <= n for a, b, n in zip(tile.start, tile.stop, shape, strict=True))
        seen[tile.slices] += 1
        assert tile.read(np.zeros(shape)).shape == tile.size == size
    assert seen.min() >= 1
    assert tiles == sorted(tiles, key=lambda tile: tile.start) and len(set(tiles)) == len(tiles)
    assert tiles == plan_tiles(shape, size, overlap)


@given(layouts())
@settings(max_examples=50, deadline=None)
def test_neighbours_share_the_overlap_and_no_tile_is_superfluous(layout):
    shape, size, overlap = layout
    tiles = plan_tiles(shape, size, overlap)
    for axis in range(len(shape)):
        spans = sorted({(tile.start[axis], tile.stop[axis]) for tile in tiles})
        shared = [a[1] - b[0] for a, b in pairwise(spans)]
        assert all(value >= overlap[axis] for value in shared)
        assert max(shared, default=0) - min(shared, default=0) <= 1
        fewer = len(spans) - 1
        assert fewer == 0 or fewer * size[axis] - (fewer - 1) * overlap[axis] < shape[axis]


@given(layouts(), st.data())
@settings(max_examples=50, deadline=None)
def test_an_object_no_larger_than_the_overlap_is_whole_somewhere(layout, data):
    shape, size, overlap = layout
    margin = data.draw(st.integers(0, min(overlap) // 2))
    extent = [
        data.draw(st.integers(1, max(min(o - 2 * margin + 1, n), 1))) for o, n in zip(overlap, shape, strict=True)
    ]
    low = np.array([data.draw(st.integers(0, n - e)) for n, e in zip(shape, extent, strict=True)])
    assert any(is_inside(tile, low, low + extent, margin) for tile in plan_tiles(shape, size, overlap))


def test_read_pads_below_and_to_the_right():
    image = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    (tile,) = plan_tiles((3, 4), (5, 6), 2)
    assert tile.inner_borders == (False,) * 4
    assert np.array_equal(tile.read(image), np.pad(image, ((0, 0), (0, 2), (0, 2))))
    first, second = plan_tiles((3, 4), (3, 3), 2)
    assert np.array_equal(second.read(image), image[..., 1:])
    volume = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    tiles = plan_tiles((3, 4, 5), (2, 5, 5), 1)
    assert [tile.slices for tile in tiles] == [np.s_[0:2, 0:4, 0:5], np.s_[1:3, 0:4, 0:5]]
    assert np.array_equal(tiles[1].read(volume), np.pad(volume[:, 1:], ((0, 0), (0, 0), (0, 1), (0, 0))))
    assert tiles[1].inner_borders == (True, False, False, False, False, False)
    assert first.inner_borders == (False, False, False, True) and second.inner_borders == (False, True, False, False)


@pytest.mark.parametrize("overlap", [0, 8, (3, 9)])
def test_an_overlap_that_cannot_be_is_refused(overlap):
    with pytest.raises(InputError, match="overlap by . pixels; take an overlap from 1 to 7"):
        plan_tiles((20, 20), (8, 8), overlap)


def test_examples():
    assert doctest.testmod(tiles_module).failed == 0


@given(layouts(), st.integers(1, 40), st.data())
@settings(max_examples=100, deadline=None)
def test_a_larger_tile_keeps_to_its_limits(layout, times, data):
    shape, tile, _ = layout
    divisor = data.draw(st.tuples(*(st.sampled_from((1, 2, 8)) for _ in shape)))
    tile = tuple(-(-edge // step) * step for edge, step in zip(tile, divisor, strict=True))
    grown = larger_tile(shape, tile, divisor=divisor, pixels=times * prod(tile))
    for edge, least, step, length in zip(grown, tile, divisor, shape, strict=True):
        assert edge % step == 0 and least <= edge <= max(least, length + step - 1)
    assert prod(grown) <= times * prod(tile)
    if all(edge < length for edge, length in zip(grown, shape, strict=True)):  # what is left is less than a step
        assert prod(edge + step for edge, step in zip(grown, divisor, strict=True)) > times * prod(tile)
