"""Memory in big volumes: what objects cost is what their own boxes hold."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from maskmed_nnu.instances.detections import Detections, concatenate, make_detections
from maskmed_nnu.instances.stitching.merging import mask_nms, merge_views
from maskmed_nnu.instances.stitching.stitch import stitch
from maskmed_nnu.instances.stitching.tiles import plan_tiles
from tests.instances.stitching.scenes import distance, grid_of

STACK = (355, 500, 1200)
"""The stack of github.com/stardist/stardist/issues/130, of which one uint8 takes 203 MiB."""
EDGE = 14
LIMIT = 150 * 2**20
"""Less than one map of the stack, of whatever type."""


@pytest.fixture
def objects() -> Detections:
    """400 balls that touch their neighbours here and there."""
    rng = np.random.default_rng(0)
    cells = np.array([4, 10, 10])
    pitch = np.array([EDGE, EDGE + 2, EDGE + 8])
    low = np.stack(np.unravel_index(np.arange(400), cells), 1) * pitch + rng.integers(0, 9, (400, 3))
    low[::2] = low[::2] + np.array(STACK) - cells * pitch - 12  # every other one in the opposite corner of the stack
    ball = (distance(grid_of((EDGE,) * 3), np.full(3, EDGE / 2 - 0.5)) <= EDGE / 2).astype(np.uint8) * 255
    return make_detections(STACK, np.concatenate([low, low + EDGE], 1), [ball] * 400, rng.random(400), [1] * 400)


def peak(function, *args) -> tuple[Detections, int]:
    """What a function returns, and the most bytes that it held at once."""
    tracemalloc.start()
    try:
        return function(*args), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_thousands_of_candidates_of_a_big_stack(objects):
    """Five candidates of each object, none of them a map of the stack."""
    found, bytes_held = peak(mask_nms, concatenate([objects] * 5))
    assert len(found) == len(objects) and bytes_held < LIMIT


def test_eight_views_of_a_big_stack(objects):
    found, bytes_held = peak(merge_views, [objects.select(np.arange(200))] * 8)
    assert len(found) == 200 and bytes_held < LIMIT


def test_the_tiles_of_a_big_stack(objects):
    tiles = plan_tiles(STACK, (100, 250, 300), 40)
    answers = [objects.shift(np.negative(tile.start), tile.size) for tile in tiles]
    found, bytes_held = peak(stitch, tiles, answers, STACK)
    assert len(found) == len(objects) and bytes_held < LIMIT
