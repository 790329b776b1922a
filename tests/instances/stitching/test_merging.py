"""Mask NMS against a quadratic one, views that agree or not, and pairs of boxes against all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from maskmed_nnu.instances.detections import Detections, concatenate, make_detections
from maskmed_nnu.instances.stitching import cropped_masks
from maskmed_nnu.instances.stitching.cropped_masks import overlapping_box_pairs
from maskmed_nnu.instances.stitching.merging import mask_nms, merge_views
from tests.instances.stitching.scenes import iou_matrix, noisy, objects_of, random_scene

SHAPE = (70, 80)
SHAPES = pytest.mark.parametrize("shape", [SHAPE, (16, 34, 40)])
seeds = st.integers(0, 2**32 - 1)


def duplicated(rng: np.random.Generator, shape: tuple[int, ...]) -> Detections:
    """Objects, and blurred copies of some, in any order; few different scores, so that there are equal ones."""
    scene = random_scene(rng, shape, count=6, overlap=True)
    both = concatenate([scene, *(noisy(rng, scene.select(rng.random(len(scene)) < 0.7)) for _ in range(2))])
    scores = rng.integers(1, 6, len(both)) / 5
    both = make_detections(shape, both.boxes, both.masks, scores, both.classes)
    return both.select(rng.permutation(len(both)))


@SHAPES
@given(seeds, st.sampled_from([0.3, 0.5, 0.8]))
@settings(max_examples=40, deadline=None)
def test_suppress_is_greedy_mask_nms_per_class(shape, seed, threshold):
    detections = duplicated(np.random.default_rng(seed), shape)
    iou = iou_matrix(detections, detections)
    kept: list[int] = []
    for i in np.argsort(-detections.scores, kind="stable"):
        if detections.masks[i].max() >= 128 and all(
            iou[i, j] < threshold or detections.classes[i] != detections.classes[j] for j in kept
        ):
            kept.append(i)
    expected = detections.select(sorted(kept))
    result = mask_nms(detections, threshold)
    assert np.array_equal(result.boxes, expected.boxes) and np.array_equal(result.scores, expected.scores)
    assert all(np.array_equal(a, b) for a, b in zip(result.masks, expected.masks, strict=True))


def test_suppress_leaves_no_object_no_objects():
    assert len(mask_nms(Detections.empty(SHAPE))) == 0
    faint = make_detections(SHAPE, [[0, 0, 2, 2]], [np.full((2, 2), 127, np.uint8)], [0.9], [1])
    assert len(mask_nms(faint)) == 0


@SHAPES
@given(seeds, st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_views_that_agree_change_nothing(shape, seed, views):
    scene = random_scene(np.random.default_rng(seed), shape, count=8, overlap=True)
    merged = merge_views([scene] * views)
    assert objects_of(merged) == objects_of(scene) and (merged.scores == 1).all()


@SHAPES
@given(seeds, st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_views_that_err_give_each_object_once(shape, seed, views):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, shape, count=8, overlap=False)
    big = [i for i, iou in enumerate(np.diag(iou_matrix(scene, shrunk(scene)))) if iou > 0.75]
    scene = scene.select(big)
    merged = merge_views([noisy(rng, scene).select(rng.permutation(len(scene))) for _ in range(views)])
    assert len(merged) == len(scene)
    if len(scene):
        iou = iou_matrix(merged, scene)
        assert sorted(iou.argmax(1)) == list(range(len(scene))) and iou.max(1).min() > 0.5
        assert (merged.scores >= 0.79).all()


def shrunk(scene: Detections) -> Detections:
    """Every mask one pixel smaller."""
    masks = [ndimage.binary_erosion(mask > 0).astype(np.uint8) * 255 for mask in scene.masks]
    return make_detections(scene.shape, scene.boxes, masks, scene.scores, scene.classes)


def view(*objects: tuple[tuple[int, int, int, int], int, float, int]) -> Detections:
    """Objects as (box, value of the soft mask, score, class)."""
    masks = [np.full((box[2] - box[0], box[3] - box[1]), value, np.uint8) for box, value, _, _ in objects]
    return make_detections(SHAPE, [o[0] for o in objects], masks, [o[2] for o in objects], [o[3] for o in objects])


def test_masks_are_averaged_and_unsupported_objects_sink():
    merged = merge_views(
        [
            view(((10, 10, 20, 20), 200, 0.9, 1), ((40, 40, 50, 50), 255, 0.8, 1)),
            view(((10, 10, 20, 22), 240, 0.5, 1)),
            view(((12, 10, 20, 20), 190, 0.7, 1)),
        ]
    )
    assert merged.scores == pytest.approx([0.7, 0.8 / 3])
    assert merged.boxes.tolist() == [[10, 10, 20, 22], [40, 40, 50, 50]]
    mask = merged.masks[0]
    assert (mask[:2, :10] == 147).all() and (mask[2:, :10] == 210).all() and (mask[:, 10:] == 80).all()
    assert (merged.masks[1] == 255).all()


def test_each_view_has_one_object_in_a_group():
    """Two overlapping objects that both views tell apart, though each resembles either."""
    first, second = ((10, 10, 20, 30), 255, 0.9, 1), ((10, 13, 20, 33), 255, 0.8, 1)
    merged = merge_views([view(first, second), view(second, first)])
    assert merged.boxes.tolist() == [[10, 10, 20, 30], [10, 13, 20, 33]]
    assert merged.scores == pytest.approx([0.9, 0.8])


def test_views_vote_on_the_class():
    box = (10, 10, 20, 20)
    merged = merge_views([view((box, 255, 0.9, 2)), view((box, 255, 0.5, 1)), view((box, 255, 0.6, 1))])
    assert merged.classes.tolist() == [1] and merged.scores == pytest.approx([1.1 / 3])
    both = view((box, 255, 0.9, 2), (box, 255, 0.6, 1))
    assert sorted(merge_views([both, both]).classes) == [1, 2]


def test_no_objects_in_any_view():
    assert len(merge_views([Detections.empty(SHAPE), Detections.empty(SHAPE)])) == 0
    assert merge_views([view(((0, 0, 5, 5), 255, 0.5, 1)), Detections.empty(SHAPE)]).scores == pytest.approx([0.25])


@given(seeds, st.integers(2, 3), st.integers(0, 60), st.sampled_from([1, 7, 2**21]))
@settings(max_examples=150, deadline=None)
def test_meeting_pairs_are_all_pairs(seed, dim, count, at_once):
    rng = np.random.default_rng(seed)
    low = rng.integers(-20, 100, (count, dim))
    high = low + 1 + (rng.exponential(8, (count, dim)) ** 1.5).astype(int)
    meet = np.maximum(low[:, None], low) < np.minimum(high[:, None], high)
    expected = np.argwhere(np.triu(meet.all(2), 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cropped_masks, "CHUNK", at_once)
        assert np.array_equal(overlapping_box_pairs(np.concatenate([low, high], 1)), expected)
