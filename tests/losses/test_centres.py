"""Centres, heatmap and votes against scipy.ndimage, object by object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from maskmed_nnu.losses.centres import MIN_SIGMA, PEAK_SIGMA, find_centres, heatmap, vote_targets
from maskmed_nnu.losses.targets import SetTargets

SHAPE = (24, 32)


def blobs(seed: int, layers: int = 1) -> SetTargets:
    """Random connected pieces, a ring and a single pixel; ids are not consecutive and come in any order."""
    random = np.random.default_rng(seed)
    maps = []
    for layer in range(layers):
        pieces, count = ndimage.label(ndimage.gaussian_filter(random.normal(size=SHAPE), 1.5) > 0.08)
        y, x = np.indices(SHAPE)
        distance = np.hypot(y - 12, x - 16)
        pieces[(distance < 8) & (distance > 5)] = count + 1
        pieces[2 + layer, 3] = count + 2
        maps.append(np.where(pieces > 0, pieces * 3 + 100 * layer, 0))
    maps = torch.from_numpy(np.stack(maps)).short()
    found = [(layer, int(i)) for layer, one in enumerate(maps) for i in one.unique() if i > 0]
    found = [found[i] for i in random.permutation(len(found))]
    layer, ids = torch.tensor(found).unbind(1)
    return SetTargets(maps, layer, ids, torch.from_numpy(random.integers(2, size=len(found))))


def masks(targets: SetTargets) -> np.ndarray:
    return targets.at_points(None).view(-1, *SHAPE).numpy()


@pytest.mark.parametrize(("seed", "layers"), [(0, 1), (1, 1), (2, 2)])
def test_centres_are_the_pixels_nearest_to_scipys_centres_of_mass(seed, layers):
    targets = blobs(seed, layers)
    found = find_centres(targets)
    assert found.target_index.shape == (layers, SHAPE[0] * SHAPE[1])
    for mask, centre, radius in zip(masks(targets), found.centre.numpy(), found.radius.numpy(), strict=True):
        pixels = np.argwhere(mask)
        distance = np.linalg.norm(pixels - np.array(ndimage.center_of_mass(mask)), axis=1)
        x, y = centre - 0.5
        assert mask[int(y), int(x)]
        chosen = np.linalg.norm([y, x] - np.array(ndimage.center_of_mass(mask)))
        assert chosen == pytest.approx(distance.min(), abs=1e-4)
        assert radius == pytest.approx(np.sqrt(mask.sum() / np.pi), rel=1e-6)


def test_a_tie_goes_to_the_first_pixel():
    ids = torch.zeros(1, 6, 6, dtype=torch.int16)
    ids[0, 2:4, 2:4] = 5
    one = torch.tensor([5])
    found = find_centres(SetTargets(ids, torch.zeros_like(one), one, torch.zeros_like(one)))
    assert found.centre.tolist() == [[2.5, 2.5]]


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_heatmap_has_exactly_one_peak_per_object(seed, stride):
    targets = blobs(seed, layers=2)
    found = find_centres(targets)
    heat = heatmap(found, targets, num_classes=2, stride=stride).numpy()
    assert heat.shape == (2, SHAPE[0] // stride, SHAPE[1] // stride)
    assert heat.min() >= 0 and heat.max() == 1
    cells = {
        (int(c), int(y // stride), int(x // stride))
        for c, (x, y) in zip(targets.classes, found.centre.tolist(), strict=True)
    }
    assert set(zip(*(axis.tolist() for axis in np.nonzero(heat == 1)), strict=True)) == cells


def test_the_heatmap_falls_off_as_a_gaussian_of_scipys_distance_within_the_object():
    targets = blobs(3)
    found = find_centres(targets)
    heat = heatmap(found, targets, num_classes=2, stride=1).numpy()
    expected = np.zeros_like(heat)
    for mask, (x, y), c in zip(masks(targets), found.centre.tolist(), targets.classes.tolist(), strict=True):
        seed = np.ones(SHAPE)
        seed[int(y), int(x)] = 0
        width = max(PEAK_SIGMA * np.sqrt(mask.sum() / np.pi), MIN_SIGMA)
        gaussian = np.exp(-(ndimage.distance_transform_edt(seed) ** 2) / (2 * width**2))
        expected[c] = np.maximum(expected[c], gaussian * mask)
    np.testing.assert_allclose(heat, expected, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_votes_point_to_the_centre_of_the_last_layers_object(stride):
    targets = blobs(4, layers=2)
    found = find_centres(targets)
    vote, has = vote_targets(found, targets, stride=stride)
    assert vote.shape == (2, SHAPE[0] // stride, SHAPE[1] // stride)
    everything = masks(targets)
    covered = everything.any(0)
    assert (everything.sum(0) > 1).any()
    for row in range(has.shape[0]):
        for column in range(has.shape[1]):
            y, x = row * stride + stride // 2, column * stride + stride // 2
            assert has[row, column] == covered[y, x]
            if covered[y, x]:
                last = max(np.nonzero(everything[:, y, x])[0], key=lambda t: targets.layers[t])
                expected = found.centre[last] - torch.tensor([x + 0.5, y + 0.5])
                torch.testing.assert_close(vote[:, row, column], expected)


def test_two_objects_of_two_layers_at_the_same_place_have_the_same_centre():
    maps = torch.zeros(2, *SHAPE, dtype=torch.int16)
    maps[0, 3:8, 4:11], maps[1, 3:8, 4:11] = 7, 7
    ids = torch.tensor([7, 7])
    targets = SetTargets(maps, torch.tensor([0, 1]), ids, torch.tensor([0, 1]))
    found = find_centres(targets)
    assert found.centre.tolist() == [[7.5, 5.5]] * 2
    assert (heatmap(found, targets, num_classes=2, stride=1) == 1).flatten(1).sum(1).tolist() == [1, 1]


def test_no_object_has_no_centre():
    nothing = torch.zeros(0, dtype=torch.int64)
    targets = SetTargets(torch.full((2, *SHAPE), -1, dtype=torch.int16), nothing, nothing, nothing)
    found = find_centres(targets)
    assert found.centre.shape == (0, 2) and found.radius.shape == (0,)
    assert not heatmap(found, targets, num_classes=3, stride=4).any()
    vote, has = vote_targets(found, targets, stride=2)
    assert vote.isfinite().all() and not has.any()


def test_a_large_object_far_from_the_origin_keeps_its_centre():
    ids = torch.zeros(1, 1024, 1024, dtype=torch.int16)
    ids[0, 100:1024, 301:1024] = 1
    one = torch.tensor([1])
    found = find_centres(SetTargets(ids, torch.zeros_like(one), one, torch.zeros_like(one)))
    y, x = ndimage.center_of_mass(ids[0].numpy())
    assert found.centre.tolist() == [[pytest.approx(x + 0.5, abs=0.51), pytest.approx(y + 0.5, abs=0.51)]]
