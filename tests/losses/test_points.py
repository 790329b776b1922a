from __future__ import annotations

import torch

from maskmed_nnu.losses.points import PointSampler, valid_voxels
from maskmed_nnu.losses.targets import SetTargets, semantic_targets

CPU = torch.device("cpu")


def test_points_fall_on_valid_voxels_only_and_on_all_of_them():
    valid = torch.rand(2, 300, generator=torch.Generator().manual_seed(0)) > 0.5
    sampler = PointSampler(valid, batch=2, voxels=300, device=CPU)
    index = sampler.uniform(20000)
    for b in range(2):
        drawn = index[b].bincount(minlength=300)
        assert (drawn[~valid[b]] == 0).all()
        expected = 20000 / valid[b].sum()
        assert drawn[valid[b]].min() > 0.5 * expected and drawn[valid[b]].max() < 1.6 * expected


def test_few_valid_voxels_are_taken_once_each():
    valid = torch.zeros(3, 100, dtype=torch.bool)
    valid[0, [3, 50, 99]] = True
    valid[1] = True
    sampler = PointSampler(valid, batch=3, voxels=100, device=CPU)
    points = sampler.points(sampler.uniform(10))
    assert points.index[0, points.weight[0]].tolist() == [3, 50, 99]
    assert points.weight[1].all()
    assert not points.weight[2].any() and points.index[2].max() < 100


def test_without_invalid_voxels_there_is_no_weight():
    targets = semantic_targets(torch.zeros(2, 1, 4, 4), num_classes=1)
    assert valid_voxels(targets) is None
    sampler = PointSampler(None, batch=2, voxels=16, device=CPU)
    points = sampler.points(sampler.uniform(8))
    assert points.weight is None and points.index.shape == (2, 8)


def test_valid_voxels_of_a_mixed_batch():
    none = torch.zeros(0, dtype=torch.int64)
    maps = torch.zeros(1, 2, 2, dtype=torch.int32)
    some = torch.tensor([[True, False], [True, True]])
    both = valid_voxels([SetTargets(maps, none, none, none), SetTargets(maps, none, none, none, some)])
    assert both.tolist() == [[True] * 4, [True, False, True, True]]
