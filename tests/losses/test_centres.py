"""Centres, heatmap and votes against scipy.ndimage, object by object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from maskmed_nnu.losses.centres import MIN_SIGMA, PEAK_SIGMA, at_cells, find_centres, heatmap, vote_targets
from maskmed_nnu.losses.targets import SetTargets

SHAPES = {2: (24, 32), 3: (8, 24, 32)}
WEIGHTS = {2: None, 3: [0.4, 0.4, 1.0]}
"""(x, y, z): slices are 2.5 pixels thick"""

dims = pytest.mark.parametrize("dim", [2, 3], ids=["2d", "3d"])
strides = pytest.mark.parametrize("stride", [(1, 1), (2, 2), (4, 4), (1, 1, 1), (1, 2, 2), (2, 4, 4)], ids=str)


def blobs(seed: int, dim: int, layers: int = 1) -> SetTargets:
    """Random connected pieces, a ring and a single pixel; ids are not consecutive and come in any order."""
    random, shape = np.random.default_rng(seed), SHAPES[dim]
    maps = []
    for layer in range(layers):
        noise = ndimage.gaussian_filter(random.normal(size=shape), 1.5)
        pieces, count = ndimage.label(noise > 0.35 * noise.std())
        place = np.indices(shape)
        distance = np.linalg.norm(place - np.array(shape).reshape(-1, *[1] * dim) / 2, axis=0)
        pieces[(distance < 8) & (distance > 5)] = count + 1
        pieces[(*[1] * (dim - 2), 2 + layer, 3)] = count + 2
        maps.append(np.where(pieces > 0, pieces * 3 + 100 * layer, 0))
    maps = torch.from_numpy(np.stack(maps)).short()
    found = [(layer, int(i)) for layer, one in enumerate(maps) for i in one.unique() if i > 0]
    found = [found[i] for i in random.permutation(len(found))]
    layer, ids = torch.tensor(found).unbind(1)
    return SetTargets(maps, layer, ids, torch.from_numpy(random.integers(2, size=len(found))))


def masks(targets: SetTargets) -> np.ndarray:
    return targets.at_points(None).view(-1, *targets.maps.shape[1:]).numpy()


def voxel_weights(dim: int) -> np.ndarray:
    """(z, y, x)"""
    return np.ones(dim) if WEIGHTS[dim] is None else np.array(WEIGHTS[dim][::-1])


def ball_radius(mask: np.ndarray, dim: int) -> float:
    size = mask.sum() * voxel_weights(dim).prod()
    return np.sqrt(size / np.pi) if dim == 2 else np.cbrt(size * 3 / 4 / np.pi)


@pytest.mark.parametrize(("seed", "layers"), [(0, 1), (1, 1), (2, 2)])
@dims
def test_centres_are_the_pixels_nearest_to_scipys_centres_of_mass(dim, seed, layers):
    targets = blobs(seed, dim, layers)
    found = find_centres(targets, weights=WEIGHTS[dim])
    assert len(targets.ids) > 3
    assert found.target_index.shape == (layers, np.prod(SHAPES[dim]))
    for mask, centre, radius in zip(masks(targets), found.centre.numpy(), found.radius.numpy(), strict=True):
        pixels, middle = np.argwhere(mask), np.array(ndimage.center_of_mass(mask))
        distance = np.linalg.norm((pixels - middle) * voxel_weights(dim), axis=1)
        place = centre[::-1] - 0.5
        assert mask[tuple(place.astype(int))]
        chosen = np.linalg.norm((place - middle) * voxel_weights(dim))
        assert chosen == pytest.approx(distance.min(), abs=1e-4)
        assert radius == pytest.approx(ball_radius(mask, dim), rel=1e-6)


def test_a_tie_goes_to_the_first_pixel():
    ids = torch.zeros(1, 6, 6, dtype=torch.int16)
    ids[0, 2:4, 2:4] = 5
    one = torch.tensor([5])
    found = find_centres(SetTargets(ids, torch.zeros_like(one), one, torch.zeros_like(one)))
    assert found.centre.tolist() == [[2.5, 2.5]]


@strides
@pytest.mark.parametrize("seed", [0, 1])
def test_the_heatmap_has_exactly_one_peak_per_object(seed, stride):
    dim = len(stride)
    targets = blobs(seed, dim, layers=2)
    found = find_centres(targets, weights=WEIGHTS[dim])
    heat = heatmap(found, targets, num_classes=2, stride=stride).numpy()
    assert heat.shape == (2, *(edge // step for edge, step in zip(SHAPES[dim], stride, strict=True)))
    assert heat.min() >= 0 and heat.max() == 1
    cells = {
        (int(c), *(int(at // step) for at, step in zip(centre[::-1], stride, strict=True)))
        for c, centre in zip(targets.classes, found.centre.tolist(), strict=True)
    }
    assert set(zip(*(axis.tolist() for axis in np.nonzero(heat == 1)), strict=True)) == cells


@dims
def test_the_heatmap_falls_off_as_a_gaussian_of_scipys_distance_within_the_object(dim):
    targets = blobs(3, dim)
    found = find_centres(targets, weights=WEIGHTS[dim])
    heat = heatmap(found, targets, num_classes=2, stride=(1,) * dim).numpy()
    expected = np.zeros_like(heat)
    for mask, centre, c in zip(masks(targets), found.centre.tolist(), targets.classes.tolist(), strict=True):
        seed = np.ones(SHAPES[dim])
        seed[tuple(int(at) for at in centre[::-1])] = 0
        width = max(PEAK_SIGMA * ball_radius(mask, dim), MIN_SIGMA)
        distance = ndimage.distance_transform_edt(seed, sampling=voxel_weights(dim))
        expected[c] = np.maximum(expected[c], np.exp(-(distance**2) / (2 * width**2)) * mask)
    np.testing.assert_allclose(heat, expected, atol=1e-5)


@strides
def test_votes_point_to_the_centre_of_the_last_layers_object(stride):
    dim = len(stride)
    targets = blobs(4, dim, layers=2)
    found = find_centres(targets, weights=WEIGHTS[dim])
    vote, has = vote_targets(found, targets, stride=stride)
    everything = masks(targets)
    covered = everything.any(0)
    assert (everything.sum(0) > 1).any()
    assert torch.equal(has, at_cells(torch.from_numpy(covered), stride)) and vote.shape == (dim, *has.shape)
    for cell in zip(*np.nonzero(has.numpy()), strict=True):
        pixel = tuple(at * step + step // 2 for at, step in zip(cell, stride, strict=True))
        last = max(np.nonzero(everything[(slice(None), *pixel)])[0], key=lambda t: targets.layers[t])
        expected = found.centre[last] - (torch.tensor(pixel[::-1]) + 0.5)
        torch.testing.assert_close(vote[(slice(None), *cell)], expected)


@dims
def test_two_objects_of_two_layers_at_the_same_place_have_the_same_centre(dim):
    maps = torch.zeros(2, *SHAPES[dim], dtype=torch.int16)
    maps[..., 3:8, 4:11] = 7
    ids = torch.tensor([7, 7])
    targets = SetTargets(maps, torch.tensor([0, 1]), ids, torch.tensor([0, 1]))
    found = find_centres(targets)
    assert found.centre[:, :2].tolist() == [[7.5, 5.5]] * 2 and torch.equal(found.centre[0], found.centre[1])
    assert (heatmap(found, targets, num_classes=2, stride=(1,) * dim) == 1).flatten(1).sum(1).tolist() == [1, 1]


@dims
def test_no_object_has_no_centre(dim):
    nothing = torch.zeros(0, dtype=torch.int64)
    targets = SetTargets(torch.full((2, *SHAPES[dim]), -1, dtype=torch.int16), nothing, nothing, nothing)
    found = find_centres(targets)
    assert found.centre.shape == (0, dim) and found.radius.shape == (0,)
    assert not heatmap(found, targets, num_classes=3, stride=(4,) * dim).any()
    vote, has = vote_targets(found, targets, stride=(2,) * dim)
    assert vote.isfinite().all() and not has.any()


def test_a_large_object_far_from_the_origin_keeps_its_centre():
    ids = torch.zeros(1, 1024, 1024, dtype=torch.int16)
    ids[0, 100:1024, 301:1024] = 1
    one = torch.tensor([1])
    found = find_centres(SetTargets(ids, torch.zeros_like(one), one, torch.zeros_like(one)))
    y, x = ndimage.center_of_mass(ids[0].numpy())
    assert found.centre.tolist() == [[pytest.approx(x + 0.5, abs=0.51), pytest.approx(y + 0.5, abs=0.51)]]
