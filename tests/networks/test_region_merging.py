"""Regions of random maps join as promised, checked on the maps themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from maskmed_nnu.networks.layers.maskattn_unet.region_merging import Regions, adjacent_pairs, merge_regions, sum_rows


def random_regions(seed: int) -> tuple[Regions, np.ndarray]:
    """About 100 regions of all sizes on a map ``[40, 40]``, with random embeddings."""
    random = np.random.default_rng(seed)
    seeds = random.integers(40, size=(100, 2))
    distance = [np.abs(np.indices((40, 40)) - s[:, None, None]).sum(0) for s in seeds]
    number = np.unique(np.argmin(distance, 0), return_inverse=True)[1].reshape(40, 40)
    rows = random.normal(size=(1600, 4))
    count = int(number.max()) + 1
    borders = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    first, second = (np.concatenate([pair[i].ravel() for pair in borders]) for i in (0, 1))
    sizes = np.bincount(number.ravel())
    return Regions(sum_rows(rows, number.ravel(), count), sizes, adjacent_pairs(first, second, count)), number


@pytest.mark.parametrize("seed", range(4))
def test_no_small_region_is_left_and_large_ones_never_meet(seed):
    regions, number = random_regions(seed)
    group, sizes = merge_regions(regions, threshold=1.0, min_pixels=20)
    groups = group[number]
    np.testing.assert_array_equal(np.bincount(groups.ravel()), sizes)
    assert sizes.min() >= 20 > regions.sizes.min()
    assert np.bincount(group[regions.sizes >= 20]).max() == 1
    assert all(ndimage.label(groups == number)[1] == 1 for number in range(len(sizes)))


@pytest.mark.parametrize("seed", range(4))
def test_no_like_neighbours_are_left_and_unlike_ones_stay(seed):
    regions, number = random_regions(seed)
    group, sizes = merge_regions(regions, threshold=0.5, min_pixels=0)
    sums = np.stack([regions.sums[group == g].sum(0) for g in range(len(sizes))])
    unit = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    first, second = group[regions.pairs].T
    apart = first != second
    assert (unit[first[apart]] * unit[second[apart]]).sum(1).max() <= 0.5
    assert 1 < len(sizes) < len(regions.sizes)
    assert all(ndimage.label(group[number] == g)[1] == 1 for g in range(len(sizes)))


def test_the_best_pair_joins_first_and_its_mean_decides_the_next():
    angles = np.deg2rad([0.0, 20.0, 65.0, 200.0])
    sums = 10 * np.stack([np.cos(angles), np.sin(angles)], 1)
    pairs = np.array([[0, 1], [1, 2], [2, 3]])
    # 45 degrees from region 1, but 55 from the mean of 0 and 1
    group, _ = merge_regions(Regions(sums, np.full(4, 10), pairs), threshold=np.cos(np.deg2rad(50)), min_pixels=0)
    assert group.tolist() == [0, 0, 1, 2]
