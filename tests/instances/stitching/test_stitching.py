"""Stitching is exact with tiles that know the truth, and reports each object once with tiles that err."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from maskmed_nnu.instances.detections import Detections, concatenate, make_detections
from maskmed_nnu.instances.metrics import InstanceMetrics
from maskmed_nnu.instances.stitching.stitch import MARGIN, stitch
from maskmed_nnu.instances.stitching.tiles import Tile, plan_tiles
from tests.instances.stitching.scenes import (
    crop,
    distance,
    draw_arc,
    from_masks,
    full,
    grid_of,
    iou_matrix,
    noisy,
    objects_of,
    pieces,
    random_scene,
    random_tiles,
)

SHAPE = (90, 110)
VOLUME = (20, 40, 50)
SHAPES = pytest.mark.parametrize("shape", [SHAPE, VOLUME])
seeds = st.integers(0, 2**32 - 1)


def stitched(truth: Detections, tiles: list[Tile]) -> Detections:
    return stitch(tiles, [crop(truth, tile) for tile in tiles], truth.shape)


def coincide(truth: Detections, tiles: list[Tile]) -> bool:
    """Whether two objects of one class look the same where two tiles look: what no mask can tell apart."""
    masks = full(truth)
    for i in range(len(truth)):
        for j in range(i):
            if truth.classes[i] != truth.classes[j] or not (masks[i] & masks[j]).any():
                continue
            for n, a in enumerate(tiles):
                for b in tiles[:n]:
                    common = tuple(map(slice, np.maximum(a.start, b.start), np.minimum(a.stop, b.stop)))
                    if masks[i][common].any() and np.array_equal(masks[i][common], masks[j][common]):
                        return True
    return False


@SHAPES
@given(seeds, st.booleans())
@settings(max_examples=80, deadline=None)
def test_exact_from_the_truth_for_any_layout(shape, seed, overlap):
    rng = np.random.default_rng(seed)
    truth = random_scene(rng, shape, count=int(rng.integers(0, 14)), overlap=overlap)
    tiles = random_tiles(rng, shape)
    assume(not overlap or not coincide(truth, tiles))
    result = stitched(truth, tiles)
    assert objects_of(result) == objects_of(truth)
    assert (result.scores == 1).all()


@SHAPES
@given(seeds, st.data())
@settings(max_examples=40, deadline=None)
def test_exact_from_the_truth_for_planned_tiles(shape, seed, data):
    """Tiles of any proportions, thinner ones than `MARGIN` included."""
    rng = np.random.default_rng(seed)
    truth = random_scene(rng, shape, count=6, overlap=False)
    thinnest = [12, 12] if len(shape) == 2 else [2, 16, 16]
    size = [data.draw(st.integers(n, 60)) for n in thinnest]
    tiles = plan_tiles(shape, size, [data.draw(st.integers(1, edge // 2)) for edge in size])
    assert objects_of(stitched(truth, tiles)) == objects_of(truth)


@SHAPES
@given(seeds)
@settings(max_examples=40, deadline=None)
def test_the_order_of_tiles_and_of_their_answers_does_not_matter(shape, seed):
    rng = np.random.default_rng(seed)
    truth = random_scene(rng, shape, count=8, overlap=False)
    tiles = random_tiles(rng, shape)
    order = rng.permutation(len(tiles))
    answers = [crop(truth, tile) for tile in tiles]
    mixed = [answers[i].select(rng.permutation(len(answers[i]))) for i in order]
    result = stitch([tiles[i] for i in order], mixed, shape)
    assert objects_of(result) == objects_of(truth)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(("shape", "size"), [(SHAPE, (40, 40)), ((24, 60, 70), (8, 28, 32))])
def test_ap_and_pq_are_one(shape, size, overlap):
    truth = random_scene(np.random.default_rng(0), shape, count=25, overlap=overlap)
    metrics = InstanceMetrics()
    metrics.update(stitched(truth, plan_tiles(shape, size, [edge * 3 // 10 for edge in size])), truth)
    scores = metrics.compute()
    assert len(truth) > 15
    assert scores["AP"] == scores["PQ"] == scores["AJI"] == scores["F1@0.5"] == 1


@pytest.mark.parametrize(
    ("shape", "size", "overlap"), [(SHAPE, (44, 48), (20, 20)), ((32, 56, 56), (24, 34, 34), (18, 20, 20))]
)
@given(seeds)
@settings(max_examples=80, deadline=None)
def test_once_each_from_tiles_that_err(shape, size, overlap, seed):
    """Masks a pixel larger or smaller per tile, jittered scores, and fragments missing where another tile sees all."""
    rng = np.random.default_rng(seed)
    truth = random_scene(rng, shape, count=10, overlap=False)
    truth = truth.select([i for i, mask in enumerate(truth.masks) if is_thick(mask)])
    tiles = plan_tiles(shape, size, overlap)
    answers = []
    for tile in tiles:
        answer = crop(truth, tile)
        areas = np.array([(mask > 0).sum() for mask in answer.masks])
        # A network sees no fragment of a few pixels, and now and then misses a larger one.
        edges = areas ** (1 / len(shape))
        lost = (edges < 4) | ((edges**2 < 40) & (rng.random(len(answer)) < 0.5))
        answers.append(noisy(rng, answer.select(~lost)))
    result = stitch(tiles, answers, shape)
    result = result.select(result.scores >= 0.5)
    assert len(result) == len(truth)
    if len(truth):
        iou = iou_matrix(result, truth)
        assert sorted(iou.argmax(1)) == list(range(len(truth)))
        assert iou.max(1).min() > 0.5 and (result.classes == truth.classes[iou.argmax(1)]).all()


@pytest.mark.parametrize(("depth", "thickness"), [((), ()), ((20,), (8,))])
@given(seeds)
@example(21284546)  # a thin tile that sees a few pixels of the other leg, too
@settings(max_examples=50, deadline=None)
def test_legs_seen_apart_are_joined(depth, thickness, seed):
    """Tiles that call every connected piece an object, as networks do, where an arch is larger than the tile.

    Pieces of 1 to 3 pixels no network reports; what a tile calls two objects stays two, however small one of them is.
    """
    rng = np.random.default_rng(seed)
    shape = (*depth, *SHAPE)
    centre = np.array([*(n / 2 for n in depth), *rng.uniform((40, 40), (50, 70))])
    truth = from_masks([draw_arc(grid_of(shape), centre, 30, rng.uniform(0, 6.28), 5, 5)], [1], shape)
    tiles = plan_tiles(shape, (*thickness, 50, 50), (*(4 for _ in depth), 16, 16))
    answers = [pieces(crop(truth, tile)) for tile in tiles]
    result = stitch(tiles, [seen.select([np.count_nonzero(m) > 3 for m in seen.masks]) for seen in answers], shape)
    assert objects_of(result) == objects_of(truth)


@SHAPES
@given(seeds)
@settings(max_examples=60, deadline=None)
def test_anything_goes_in_and_detections_come_out(shape, seed):
    """Tiles that answer at random, in nothing alike: no object has no pixel, nothing is invented."""
    rng = np.random.default_rng(seed)
    tiles = random_tiles(rng, shape)
    answers = []
    for tile in tiles:
        corner = rng.integers(0, tile.size, (int(rng.integers(0, 5)), len(shape)))
        end = np.minimum(corner + rng.integers(1, 40, corner.shape), tile.size)
        sizes = end - corner
        masks = [rng.choice([0, 100, 200, 255], tuple(size)).astype(np.uint8) for size in sizes]
        boxes = np.concatenate([corner, end], 1)
        answers.append(make_detections(tile.size, boxes, masks, rng.random(len(boxes)), rng.integers(1, 4, len(boxes))))
    result = stitch(tiles, answers, shape)
    seen = [full(answer.shift(tile.start, shape)) for tile, answer in zip(tiles, answers, strict=True)]
    assert len(result) <= sum(map(len, answers))
    assert not (full(result).any(0) & ~np.concatenate(seen).any(0)).any()
    assert all(mask.any() for mask in full(result)) and ((result.scores >= 0) & (result.scores <= 1)).all()


@pytest.mark.parametrize("thickness", [8, 12])
def test_legs_across_few_slices_are_joined(thickness):
    """The margin of a thin tile is less than `MARGIN`, or no slice would be clear of it."""
    shape = (24, 40, 40)
    z, y, x = grid_of(shape)
    arch = (np.abs(y - 20) <= 4) & (
        ((np.abs(x - 20) >= 8) & (np.abs(x - 20) <= 14)) | (z >= 20) & (np.abs(x - 20) <= 14)
    )
    truth = from_masks([arch], [1], shape)
    tiles = plan_tiles(shape, (thickness, 40, 40), (thickness // 2, 1, 1))
    assert objects_of(stitch(tiles, [pieces(crop(truth, tile)) for tile in tiles], shape)) == objects_of(truth)


def is_thick(mask: np.ndarray) -> bool:
    """Whether the mask a pixel smaller and the mask a pixel larger still agree."""
    inside = np.pad(mask > 0, 1)
    return ndimage.binary_erosion(inside).sum() > 0.55 * ndimage.binary_dilation(inside).sum()


def rectangle(y0: int, x0: int, y1: int, x1: int, shape: tuple[int, int] = (40, 100)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


LEFT, RIGHT = Tile((0, 0), (40, 60), (40, 60), (40, 100)), Tile((0, 40), (40, 100), (40, 60), (40, 100))


def answer(tile: Tile, *objects: tuple[np.ndarray, float, int]) -> Detections:
    """Objects of the image (mask, score, class) as the tile sees them."""
    masks, scores, classes = zip(*objects, strict=True) if objects else ([], [], [])
    seen = from_masks(list(masks), list(classes), tile.shape)
    return crop(make_detections(seen.shape, seen.boxes, seen.masks, scores, classes), tile)


def test_a_whole_object_is_not_taken_for_one_that_goes_on():
    """Between the tiles ``short`` looks more like the right tile's thin ``long`` than the left tile's ``long`` does."""
    short, long, thin = rectangle(10, 30, 20, 57), rectangle(10, 5, 20, 80), rectangle(11, 5, 18, 80)
    short = short & rectangle(11, 0, 18, 100)
    answers = [answer(LEFT, (short, 1, 1), (long, 1, 1)), answer(RIGHT, (thin, 1, 1))]
    result = stitch([LEFT, RIGHT], answers, (40, 100))
    assert np.array_equal(full(result)[0], short) and full(result)[1][11:18, 5:80].all() and len(result) == 2


def test_the_tile_that_sees_the_object_most_centrally_answers():
    mine, other = rectangle(10, 42, 20, 52), rectangle(10, 42, 21, 53)
    result = stitch([LEFT, RIGHT], [answer(LEFT, (mine, 0.6, 1)), answer(RIGHT, (other, 0.9, 1))], (40, 100))
    assert np.array_equal(full(result), [mine])  # 8 pixels from the left tile's border, 2 from the right one's
    assert 0.6 < result.scores[0] < 0.9


def test_a_fragment_beside_a_whole_object_changes_nothing():
    whole = rectangle(10, 46, 20, 70)
    result = stitch([LEFT, RIGHT], [answer(LEFT, (whole, 1, 1)), answer(RIGHT, (whole, 1, 1))], (40, 100))
    assert np.array_equal(full(result), [whole])
    # A bad fragment, less than half of what the other tile sees there, is absorbed as well.
    bad = rectangle(10, 54, 14, 60)
    result = stitch([LEFT, RIGHT], [answer(LEFT, (bad, 1, 1)), answer(RIGHT, (whole, 1, 1))], (40, 100))
    assert np.array_equal(full(result), [whole])


def test_objects_larger_than_the_overlap_are_joined():
    worm = rectangle(18, 5, 22, 95)
    result = stitch([LEFT, RIGHT], [answer(LEFT, (worm, 0.9, 1)), answer(RIGHT, (worm, 0.7, 1))], (40, 100))
    assert np.array_equal(full(result), [worm]) and result.scores[0] == pytest.approx(0.8)


def test_what_only_one_of_two_tiles_reports_sinks_by_how_well_the_other_sees_it():
    place = rectangle(10, 52, 20, 58)
    (left,) = stitch([LEFT, RIGHT], [answer(LEFT, (place, 0.9, 1)), answer(RIGHT)], (40, 100)).scores
    (right,) = stitch([LEFT, RIGHT], [answer(LEFT), answer(RIGHT, (place, 0.9, 1))], (40, 100)).scores
    assert 0.1 < left < 0.35 and 0.55 < right < 0.8 and left + right == pytest.approx(0.9)
    out_of_sight = rectangle(10, 5, 20, 35)
    (alone,) = stitch([LEFT, RIGHT], [answer(LEFT, (out_of_sight, 0.9, 1)), answer(RIGHT)], (40, 100)).scores
    assert alone == np.float32(0.9)


def test_a_sliver_that_the_other_tile_does_not_confirm_is_left_out():
    sliver = rectangle(10, 59, 30, 60)
    assert len(stitch([LEFT, RIGHT], [answer(LEFT, (sliver, 1, 1)), answer(RIGHT)], (40, 100))) == 0


def test_tiles_that_disagree_on_the_class_report_one_object():
    cell = rectangle(10, 44, 20, 56)
    answers = [answer(LEFT, (cell, 0.6, 1)), answer(RIGHT, (cell, 0.8, 2))]
    result = stitch([LEFT, RIGHT], answers, (40, 100))
    assert len(result) == 1 and result.classes.tolist() == [2]
    assert result.scores[0] == pytest.approx(0.4)  # half of the tiles say so
    # A nucleus that fills its cell is another matter: each tile tells the two apart.
    both = [(cell, 0.6, 1), (cell, 0.8, 2)]
    result = stitch([LEFT, RIGHT], [answer(LEFT, *both), answer(RIGHT, *both)], (40, 100))
    assert sorted(result.classes) == [1, 2] and result.scores == pytest.approx([0.6, 0.8])


def test_two_touching_objects_stay_two_even_where_one_tile_sees_one():
    upper, lower = rectangle(10, 44, 20, 58), rectangle(20, 44, 26, 58)
    answers = [answer(LEFT, (upper | lower, 0.9, 1)), answer(RIGHT, (upper, 0.9, 1), (lower, 0.9, 1))]
    assert len(stitch([LEFT, RIGHT], answers, (40, 100))) == 2


def test_borders_do_not_move_outwards():
    """Of fragments, the mean of the tiles counts: a worm that one of them draws a pixel too wide stays in between."""
    thin, wide = rectangle(18, 5, 22, 95), rectangle(17, 5, 23, 95)
    result = stitch([LEFT, RIGHT], [answer(LEFT, (wide, 1, 1)), answer(RIGHT, (thin, 1, 1))], (40, 100))
    heights = full(result)[0].sum(0)
    assert (heights[5:50] == 6).all() and (heights[50:95] == 4).all()


def test_no_tiles_answer_no_objects():
    assert len(stitch([LEFT, RIGHT], [answer(LEFT), answer(RIGHT)], (40, 100))) == 0


def test_padding_is_cut_off():
    (tile,) = plan_tiles((10, 12), (16, 16), 4)
    spill = make_detections(
        (16, 16),
        [[8, 0, 14, 6], [12, 12, 16, 16]],
        [np.full((6, 6), 200, np.uint8), np.full((4, 4), 200, np.uint8)],
        [0.5, 0.9],
        [1, 1],
    )
    result = stitch([tile], [spill], (10, 12))
    assert result.boxes.tolist() == [[8, 0, 10, 6]] and result.scores.tolist() == [0.5]


@pytest.mark.parametrize("dim", [2, 3])
def test_many_tiles_meet_in_a_corner(dim):
    """Whole in one of the tiles, fragments in the others; and a ring around the corner that is whole in none."""
    shape = (64,) * dim
    tiles = plan_tiles(shape, (36,) * dim, 8)
    grid = grid_of(shape)
    ring = draw_arc(grid, np.full(dim, 31.5), 24, 0, 7, 2)
    truth = from_masks([distance(grid, np.full(dim, 27)) <= 5, ring], [1, 1], shape)
    assert len(tiles) == 2**dim and MARGIN < 3
    assert objects_of(stitched(truth, tiles)) == objects_of(truth)


@pytest.mark.parametrize("size", [(24, 24, 24), (8, 32, 32), (6, 20, 40)])
def test_large_touching_and_overlapping_objects_in_a_volume(size):
    """A ball larger than any tile, a hollow one around it, two halves that touch, and two balls that overlap."""
    shape = (48, 60, 90)
    grid = grid_of(shape)
    far = distance(grid, np.array([24, 30, 30]))
    right = distance(grid, np.array([24, 30, 72]))
    above = distance(grid, np.array([14, 16, 72]))
    masks = [far <= 18, (far >= 21) & (far <= 23), (right <= 14) & (grid[0] < 24), (right <= 14) & (grid[0] >= 24)]
    truth = from_masks([*masks, above <= 8], [1] * 5, shape)
    assert (full(truth)[2] & full(truth)[4]).any()
    tiles = plan_tiles(shape, size, [edge // 3 for edge in size])
    assert objects_of(stitched(truth, tiles)) == objects_of(truth)


def test_concatenated_twins_of_one_tile_are_not_merged():
    """What one tile reports twice is its own business (`mask_nms` before), so that overlapping objects survive."""
    cell = rectangle(10, 10, 20, 20)
    twice = concatenate([answer(LEFT, (cell, 0.9, 1)), answer(LEFT, (cell, 0.8, 1))])
    assert len(stitch([LEFT, RIGHT], [twice, answer(RIGHT)], (40, 100))) == 2
