from __future__ import annotations

import pytest
import torch

from maskmed_nnu.losses.points import PointSampler, valid_voxels
from maskmed_nnu.losses.targets import TOTAL_WEIGHT, SetTargets, region_targets, semantic_targets

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


def balanced(targets: list[SetTargets], count: int, ratio: float = 1.0) -> torch.Tensor:
    valid = valid_voxels(targets)
    voxels = targets[0].maps[0].numel()
    sampler = PointSampler(valid, batch=len(targets), voxels=voxels, device=CPU, targets=targets, balanced_ratio=ratio)
    return sampler.sample(count)


def assert_uniform(counts: torch.Tensor, draws: int) -> None:
    """Chi-square beyond six standard deviations does not happen."""
    expected = draws / len(counts)
    degrees = len(counts) - 1
    assert ((counts - expected) ** 2 / expected).sum() < degrees + 6 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.int64])
def test_every_target_is_as_likely_and_so_are_its_voxels(dtype):
    torch.manual_seed(0)
    labels = torch.zeros(2, 1, 30, 40, dtype=dtype)
    labels[:, 0, 5:15, 5:25] = 1
    labels[:, 0, 20, 30:33] = 2
    labels[0, 0, 29, 39] = 4
    kept = labels.clone()
    index = balanced(semantic_targets(labels, num_classes=6), 30000)
    assert torch.equal(labels, kept)
    for sample, present in enumerate(([0, 1, 2, 4], [0, 1, 2])):
        seen = labels[sample].flatten()[index[sample]].long().bincount(minlength=5)
        assert_uniform(seen[present], 30000)
        assert seen.sum() == seen[present].sum()
        for label in (0, 1, 2):
            voxels = (labels[sample].flatten() == label).nonzero().flatten()
            assert_uniform(index[sample].bincount(minlength=1200)[voxels], int(seen[label]))


def test_the_rest_of_the_points_is_uniform():
    torch.manual_seed(0)
    labels = torch.zeros(1, 1, 20, 20)
    labels[0, 0, 0, 0] = 1
    index = balanced(semantic_targets(labels, num_classes=2), 40000, ratio=0.25)
    assert index.shape == (1, 40000)
    hits = int((index == 0).sum())
    assert abs(hits - (5000 + 30000 / 400)) < 6 * 5000**0.5
    assert_uniform(index[0, 10000:].bincount(minlength=400), 30000)


def test_regions_that_overlap_share_their_voxels():
    torch.manual_seed(0)
    stack = torch.zeros(1, 4, 10, 10, dtype=torch.bool)
    stack[0, 0, :5], stack[0, 1, :2], stack[0, 2, 0, 0] = True, True, True  # nested; the last region is absent
    (targets,) = region_targets(stack, has_ignore=False)
    expected = sum(TOTAL_WEIGHT // int(region.sum()) * region.flatten().long() for region in stack[0, :3])
    assert torch.equal(targets.balanced_weights(), expected)
    drawn = balanced([targets], 30000)[0].bincount(minlength=100)
    assert drawn[50:].sum() == 0
    # one third each for the regions: voxel 0 is all of the smallest one, and belongs to the others
    assert abs(int(drawn[0]) - 10000 * (1 + 1 / 20 + 1 / 50)) < 600
    assert abs(int(drawn[20:50].sum()) - 10000 * 30 / 50) < 500


def test_objects_in_overlap_layers_are_as_likely():
    torch.manual_seed(0)
    maps = torch.zeros(2, 20, 20, dtype=torch.int32)
    maps[0, :10], maps[0, 10:12], maps[1, 15], maps[1, 19, 19] = 70001, 2, 2, 9
    layers, ids = torch.tensor([1, 0, 0, 1]), torch.tensor([9, 2, 70001, 2])
    index = balanced([SetTargets(maps, layers, ids, torch.zeros(4, dtype=torch.int64))], 20000)[0]
    where = [index == 399, (index >= 200) & (index < 240), index < 200, (index >= 300) & (index < 320)]
    assert_uniform(torch.stack([mask.sum() for mask in where]), 20000)


def test_ignored_voxels_are_never_drawn():
    torch.manual_seed(0)
    labels = torch.zeros(3, 1, 20, 20)
    labels[:, 0, :4], labels[:, 0, 19, 19] = 1, 2
    labels[0, 0, 1:], labels[1] = 3, 3  # part of class 1 and nothing else is known; nothing at all; everything
    targets = semantic_targets(labels, num_classes=3, ignore_label=3)
    index = balanced(targets, 5000)
    assert_uniform(index[0].bincount(minlength=400)[:20], 5000)
    assert index[0].max() < 20
    assert index.min() >= 0 and index.max() < 400
    assert_uniform(labels[2].flatten()[index[2]].long().bincount(), 5000)


def test_a_sample_without_targets_is_drawn_uniformly():
    torch.manual_seed(0)
    none = torch.zeros(0, dtype=torch.int64)
    valid = torch.zeros(10, 10, dtype=torch.bool)
    valid[3:] = True
    index = balanced([SetTargets(torch.ones(1, 10, 10, dtype=torch.int32), none, none, none, valid)], 7000)[0]
    assert_uniform(index.bincount(minlength=100)[30:], 7000)
    assert index.min() >= 30


def test_the_running_sum_is_exact():
    """Or the end of a large volume would be drawn by rounding errors."""
    labels = torch.zeros(1, 1, 1500, 2000, dtype=torch.uint8)
    labels[..., -1, -1] = 1
    (targets,) = semantic_targets(labels, num_classes=2)
    rest = labels.numel() - 1
    running = targets.balanced_weights().cumsum(0)
    assert torch.equal(running[:-1], torch.arange(1, rest + 1) * (TOTAL_WEIGHT // rest))
    assert running[-1] - running[-2] == TOTAL_WEIGHT
