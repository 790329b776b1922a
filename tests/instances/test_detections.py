"""Detections survive every way they are moved, written and resized."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from maskmed_nnu.instances.boxes import box_slices, find_boxes
from maskmed_nnu.instances.detections import (
    Detections,
    concatenate,
    flatten,
    from_instance_map,
    make_detections,
    pack,
    to_instance_map,
    unpack,
)


def full(detections: Detections) -> np.ndarray:
    """``[N, *spatial]`` soft masks, which the package itself never builds."""
    out = np.zeros((len(detections), *detections.shape), np.uint8)
    for i, (box, mask) in enumerate(zip(detections.boxes, detections.masks, strict=True)):
        out[i][box_slices(box)] = mask
    return out


def same(a: Detections, b: Detections) -> bool:
    stuff = a.stuff is b.stuff is None or np.array_equal(a.stuff, b.stuff)
    return (
        a.shape == b.shape
        and stuff
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "classes"))
        and all(np.array_equal(m, n) for m, n in zip(a.masks, b.masks, strict=True))
    )


def random_detections(
    seed: int, shape: tuple[int, ...] | None = None, count: int | None = None, *, dim: int = 2
) -> Detections:
    """Soft blobs with holes and loose boxes; half of the images have stuff."""
    rng = np.random.default_rng(seed)
    shape = shape or tuple(rng.integers(1, 40 if dim == 2 else 16, dim).tolist())
    boxes, masks = [], []
    for _ in range(rng.integers(0, 8) if count is None else count):
        low = rng.integers(0, shape)
        high = rng.integers(low + 1, np.array(shape) + 1)
        boxes.append([*low, *high])
        masks.append(rng.integers(0, 256, high - low).astype(np.uint8))
        masks[-1][tuple(rng.integers(high - low))] = 255
    stuff = rng.integers(0, 3, shape).astype(np.int16) if rng.random() < 0.5 else None
    return make_detections(shape, boxes, masks, rng.random(len(boxes)), rng.integers(1, 4, len(boxes)), stuff)


dims = st.integers(2, 3)
seeds = st.integers(0, 2**32 - 1)


@given(st.lists(seeds, max_size=4), dims)
@settings(max_examples=80, deadline=None)
def test_unpack_inverts_pack(seeds, dim):
    slices = [random_detections(seed, dim=dim) for seed in seeds]
    vector = pack(slices)
    assert vector.dtype == np.uint8 and vector.ndim == 1
    travelled = torch.from_numpy(vector).clone().cpu().detach().numpy()  # nnU-Net's export does this to it
    back = unpack(travelled)
    assert len(back) == len(slices) and all(same(a, b) for a, b in zip(slices, back, strict=True))


def test_pack_holds_thousands():
    masks = [np.full((20, 20), 255, np.uint8)] * 20_000
    corner = np.arange(20_000)
    boxes = np.stack([corner, corner, corner + 20, corner + 20], 1)
    many = make_detections((20_020, 20_020), boxes, masks, np.linspace(0, 1, 20_000), corner % 5 + 1)
    (back,) = unpack(pack([many]))
    assert same(many, back)


@given(seeds, dims, st.data())
@settings(max_examples=150, deadline=None)
def test_shift_is_a_crop_with_padding(seed, dim, data):
    detections = random_detections(seed, dim=dim)
    offset = [data.draw(st.integers(-30, 30)) for _ in range(dim)]
    shape = [data.draw(st.integers(1, 50)) for _ in range(dim)]
    window = tuple(slice(60 - by, 60 - by + n) for by, n in zip(offset, shape, strict=True))
    expected = np.stack(
        [np.pad(mask, ((60, 100),) * dim)[window] for mask in (*full(detections), np.zeros((1,) * dim))]
    )
    expected = expected[:-1]
    shifted = detections.shift(offset, shape)
    visible = (expected >= 128).reshape(len(expected), math.prod(shape)).any(1)
    assert shifted.shape == tuple(shape) and np.array_equal(full(shifted), expected[visible])
    assert np.array_equal(shifted.scores, detections.scores[visible])
    if detections.stuff is not None:
        assert np.array_equal(shifted.stuff, np.pad(detections.stuff, ((60, 100),) * dim)[window])


@given(seeds, dims, st.data())
@settings(max_examples=80, deadline=None)
def test_flip(seed, dim, data):
    detections = random_detections(seed, dim=dim)
    axes = data.draw(st.lists(st.integers(0, dim - 1), unique=True))
    flipped = detections.flip(axes)
    assert np.array_equal(full(flipped), np.flip(full(detections), [axis + 1 for axis in axes]))
    assert same(flipped.flip(axes), detections)


@given(seeds, dims, st.data())
@settings(max_examples=150, deadline=None)
def test_resize_is_linear_on_the_full_grid(seed, dim, data):
    detections = random_detections(seed, dim=dim)
    shape = tuple(data.draw(st.integers(1, 70 if dim == 2 else 30)) for _ in range(dim))
    resized = detections.resize(shape)
    if shape == detections.shape or not len(detections):
        assert len(resized) == len(detections)
        return
    grid = torch.from_numpy(full(detections)).float()[None]
    mode = {2: "bilinear", 3: "trilinear"}[dim]
    expected = F.interpolate(grid, shape, mode=mode, align_corners=False)[0].numpy()
    # On the two sides of one half, rounding may go either way.
    sure = [i for i, mask in enumerate(expected) if abs(mask.max() - 127.5) > 0.01]
    kept = [i for i in sure if expected[i].max() > 127.5]
    index = {score: i for i, score in enumerate(resized.scores.tolist())}
    found = full(resized)
    for i in kept:
        assert np.abs(found[index[float(detections.scores[i])]] - expected[i]).max() < 0.51
    assert not {float(detections.scores[i]) for i in set(sure) - set(kept)} & set(index)


def test_resize_takes_the_nearest_stuff():
    detections = Detections.empty((2, 3))
    stuff = np.array([[1, 2, 3], [4, 5, 6]], np.int16)
    resized = make_detections((2, 3), [], [], [], [], stuff).resize((4, 6))
    assert np.array_equal(resized.stuff, stuff.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(resized.resize((2, 3)).stuff, stuff)
    assert detections.resize((4, 6)).stuff is None
    volume = make_detections((2, 2, 3), [], [], [], [], np.stack([stuff, stuff + 6])).resize((2, 4, 3))
    assert np.array_equal(volume.stuff, np.stack([stuff, stuff + 6]).repeat(2, 1))


def disjoint_layers(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Ids ``[L, *shape]`` whose layers are filled as `to_instance_map` does it: no object would fit a lower one."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 5, (2, *shape)).astype(np.int32)
    ids[1][ids[1] > 0] += 4
    present = np.unique(ids[ids > 0])
    ids = np.searchsorted(present, ids).astype(np.int32) + (ids > 0)
    return ids, rng.integers(1, 4, len(present))


@given(seeds, st.sampled_from([(12, 15), (3, 5, 12)]))
@settings(max_examples=80, deadline=None)
def test_object_map_round_trip(seed, shape):
    ids, classes = disjoint_layers(seed, shape)
    detections = from_instance_map(ids, classes)
    assert (detections.scores == 1).all()
    back, back_classes, dropped = to_instance_map(detections, max_layers=len(classes) + 1)
    assert dropped == 0 and np.array_equal(back_classes, classes)
    masks = [(ids == i).any(0) for i in range(1, len(classes) + 1)]
    assert all(np.array_equal((back == i).any(0), mask) for i, mask in enumerate(masks, 1))


@given(seeds, dims, st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_layers_lose_pixels_to_higher_scores_only(seed, dim, max_layers):
    detections = random_detections(seed, dim=dim)
    ids, classes, dropped = to_instance_map(detections, max_layers)
    assert ids.dtype == np.int32 and 1 <= len(ids) <= max_layers
    assert len(classes) + dropped == len(detections) and ids.max() == len(classes)
    inside = full(detections) >= 128
    covered = inside.sum(0)
    written = (ids > 0).sum(0)
    assert np.array_equal(written > 0, covered > 0)  # no pixel of the union is lost
    assert (written <= covered).all()
    assert all(len(np.unique(np.nonzero(ids == i)[0])) == 1 for i in range(1, len(classes) + 1))
    if max_layers == 1 and len(detections):
        scores = np.where(inside, detections.scores.reshape(-1, *(1,) * dim), -1)
        kept = np.isin(np.arange(len(detections)), np.unique(scores.argmax(0)[covered > 0]))
        assert dropped == (~kept).sum()
        number = np.cumsum(kept)
        assert np.array_equal(ids[0], np.where(covered > 0, number[scores.argmax(0)], 0))


def test_an_object_that_fits_no_layer_keeps_what_is_free():
    square = np.full((4, 4), 255, np.uint8)
    detections = make_detections(
        (4, 8), [[0, 0, 4, 4], [0, 2, 4, 6], [0, 0, 4, 4]], [square] * 3, [0.9, 0.5, 0.4], [1] * 3
    )
    ids, classes, dropped = to_instance_map(detections, 1)
    assert dropped == 1 and len(classes) == 2
    assert np.array_equal(ids[0, 0], [1, 1, 1, 1, 2, 2, 0, 0])
    ids, _, dropped = to_instance_map(detections, 2)
    assert dropped == 0 and np.array_equal(ids[:, 0], [[1, 1, 1, 1, 0, 0, 0, 0], [3, 3, 2, 2, 2, 2, 0, 0]])
    ids, _, dropped = to_instance_map(detections, 9)
    assert dropped == 0 and len(ids) == 3


def test_an_object_in_two_layers_is_refused():
    ids = np.ones((2, 3, 3), np.int32)
    with pytest.raises(AssertionError, match="two layers"):
        from_instance_map(ids, np.array([1]))


@given(seeds, st.sampled_from([(12, 15), (3, 5, 12)]))
@settings(max_examples=40, deadline=None)
def test_boxes_are_those_of_the_masks(seed, shape):
    ids, classes = disjoint_layers(seed, shape)
    expected = from_instance_map(ids, classes)
    found = find_boxes(ids * 5)  # ids need not be dense
    assert np.array_equal(found.ids, 5 * np.arange(1, len(classes) + 1)) and np.array_equal(found.boxes, expected.boxes)
    places = [np.argwhere((ids == i).any(0)) for i in range(1, len(classes) + 1)]
    assert np.array_equal(found.areas, [len(place) for place in places])
    assert np.allclose(found.centres, [place.mean(0) for place in places], rtol=1e-14)


def test_concatenate_and_select():
    a, b = random_detections(1, (20, 30), 3), random_detections(2, (20, 30), 4)
    both = concatenate([a, b])
    assert np.array_equal(full(both), np.concatenate([full(a), full(b)]))
    assert same(both.select([0, 1, 2]), concatenate([a, b.select([])]))
    assert np.array_equal(both.select(both.scores > 0.5).scores, both.scores[both.scores > 0.5])
    assert len(both.select(np.zeros(7, bool))) == 0


def test_flattened_objects_share_no_pixel_and_keep_their_scores():
    square = np.full((4, 4), 255, np.uint8)
    boxes = [[0, 0, 4, 4], [2, 2, 6, 6], [2, 2, 6, 6]]
    objects = make_detections((6, 6), boxes, [square] * 3, [0.5, 0.9, 0.2], [2, 1, 1])
    flat = flatten(objects)
    assert flat.scores.tolist() == pytest.approx([0.5, 0.9])  # the third is hidden
    assert flat.classes.tolist() == [2, 1]
    assert [int((mask >= 128).sum()) for mask in flat.masks] == [12, 16]
