"""Targets against what a loop over objects finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maskmed_nnu.nnunet.training.loss.instance_targets import instance_targets

PLAN = {"layer_classes": [2, 2, 5], "thing_classes": [2, 5]}


def random_batch(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Boxes of two classes in three layers, stuff of class 3, a crowd of class 5, padding at the bottom."""
    rng = np.random.default_rng(seed)
    seg = np.zeros((2, 4, *shape), np.int16)
    for sample in seg:
        sample[0, ..., 30:34, 5:20] = 3
        sample[0, ..., 3:7, 30:38] = 5
        for number in range(1, 40):
            layer = int(rng.integers(1, 4))
            start = rng.integers(-4, shape)
            sizes = (3, 6, 5)[-len(shape) :]
            box = tuple(slice(max(at, 0), max(at + size, 0)) for at, size in zip(start, sizes, strict=True))
            free = sample[layer][box] == 0
            sample[layer][box][free] = number * 800
            sample[0][box] = PLAN["layer_classes"][layer - 1]
        sample[..., 36:, :] = -1
    return seg


def expected(sample: np.ndarray, min_fragment: list[int]) -> tuple[dict, np.ndarray]:
    """``{(layer, id): class}`` and the valid pixels, object by object."""
    valid = sample[0] >= 0
    things = np.isin(sample[0], PLAN["thing_classes"])
    valid &= ~(things & (sample[1:] <= 0).all(0))
    found = {}
    for layer, ids in enumerate(sample[1:]):
        for number in set(ids[ids > 0].tolist()):
            mask = ids == number
            at_border = any(mask.take(side, axis).any() for axis in range(mask.ndim) for side in (0, -1))
            index = PLAN["thing_classes"].index(PLAN["layer_classes"][layer])
            if at_border and mask.sum() < min_fragment[index]:
                valid &= ~mask
            else:
                found[layer, number] = index
    return found, valid


@pytest.mark.parametrize("min_fragment", [[0, 0], [12, 8], [0, 10**6]])
@pytest.mark.parametrize(("seed", "shape"), [(0, (40, 40)), (1, (40, 40)), (2, (40, 40)), (0, (9, 40, 40))])
def test_same_as_a_loop_over_objects(seed: int, shape: tuple[int, ...], min_fragment: list[int]):
    batch = random_batch(seed, shape)
    targets = instance_targets(torch.from_numpy(batch), **PLAN, min_fragment=min_fragment)
    for sample, target in zip(batch, targets, strict=True):
        found, valid = expected(sample, min_fragment)
        pairs = zip(target.layers.tolist(), target.ids.tolist(), strict=True)
        assert dict(zip(pairs, target.classes.tolist(), strict=True)) == found
        np.testing.assert_array_equal(target.valid, valid)
        masks = target.at_points(None).view(-1, *valid.shape).numpy()
        for mask, layer, number in zip(masks, target.layers, target.ids, strict=True):
            np.testing.assert_array_equal(mask, sample[1 + layer] == int(number))


def test_empty_and_fully_known():
    first, second = instance_targets(torch.zeros(2, 4, 8, 8, dtype=torch.int16), **PLAN, min_fragment=[5, 5])
    assert len(first.ids) == len(second.ids) == 0
    assert first.valid is None and first.maps.shape == (3, 8, 8)


def test_a_fragment_is_neither_target_nor_background():
    seg = torch.zeros(1, 4, 16, 16, dtype=torch.int16)
    for box, number in (((slice(0, 2), slice(4, 7)), 1), ((slice(8, 10), slice(8, 11)), 2)):
        seg[0, 0][box], seg[0, 1][box] = 2, number
    (target,) = instance_targets(seg, **PLAN, min_fragment=[7, 7])
    assert target.ids.tolist() == [2]  # as few pixels, but wholly visible
    assert (~target.valid).nonzero().tolist() == [[y, x] for y in (0, 1) for x in (4, 5, 6)]
    (target,) = instance_targets(seg, **PLAN, min_fragment=[6, 6])
    assert target.ids.tolist() == [1, 2] and target.valid is None


def test_the_largest_id_that_fits():
    seg = torch.zeros(1, 4, 8, 8, dtype=torch.int16)
    seg[0, 0, 3:5, 3:5], seg[0, 3, 3:5, 3:5] = 5, 32767
    (target,) = instance_targets(seg, **PLAN, min_fragment=[0, 0])
    assert (target.ids.tolist(), target.layers.tolist(), target.classes.tolist()) == ([32767], [2], [1])
