from __future__ import annotations

import pytest
import torch

from maskmed_nnu.losses import SetTargets, region_targets, semantic_targets


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.uint8, torch.int64])
@pytest.mark.parametrize("spatial", [(2, 3), (2, 3, 2)])
def test_semantic_targets_are_the_classes_present(dtype, spatial):
    labels = torch.zeros(2, 1, *spatial, dtype=dtype)
    labels[0, 0, 0, 0] = 3
    labels[1] = 2
    first, second = semantic_targets(labels, num_classes=4)
    assert first.classes.tolist() == [0, 3] == first.ids.tolist()
    assert second.classes.tolist() == [2]
    assert first.valid is None and second.valid is None
    assert not first.maps.is_floating_point() and first.maps.shape == (1, *spatial)
    masks = first.at_points(None)
    assert torch.equal(masks[1].view(spatial), labels[0, 0] == 3)
    assert torch.equal(masks[0], ~masks[1])


def test_ignore_label_is_no_class_and_not_valid():
    labels = torch.tensor([[[[0, 1, 9]]], [[[0, 1, 1]]], [[[9, 9, 9]]]])
    partly, never, fully = semantic_targets(labels, num_classes=2, ignore_label=9)
    assert partly.classes.tolist() == [0, 1] and partly.valid.tolist() == [[True, True, False]]
    assert never.valid is None
    assert len(fully.classes) == 0 and not fully.valid.any()


def test_values_without_a_class_belong_to_no_target():
    (targets,) = semantic_targets(torch.tensor([[[-1, 0, 7]]]), num_classes=2)
    assert targets.classes.tolist() == [0] and targets.valid is None
    assert targets.at_points(None).tolist() == [[False, True, False]]


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_regions_overlap_and_absent_ones_are_no_targets(dtype):
    stack = torch.zeros(1, 3, 1, 4, dtype=dtype)
    stack[0, 0, 0, :3] = 1
    stack[0, 2, 0, 1] = 1
    (targets,) = region_targets(stack, has_ignore=False)
    assert targets.classes.tolist() == [0, 2] and targets.valid is None
    assert targets.at_points(torch.tensor([0, 1, 3])).tolist() == [[True, True, False], [False, True, False]]


def test_region_seen_only_under_ignored_voxels_is_absent():
    stack = torch.zeros(1, 3, 1, 4)
    stack[0, 0, 0, 0] = 1
    stack[0, 1, 0, 3] = 1
    stack[0, 2, 0, 3] = 1  # ignore channel
    (targets,) = region_targets(stack, has_ignore=True)
    assert targets.classes.tolist() == [0]
    assert targets.valid.tolist() == [[True, True, True, False]]


def test_owners_say_the_same_as_masks():
    random = torch.Generator().manual_seed(0)
    maps = torch.randint(6, (2, 8, 9), generator=random, dtype=torch.int32) * 1001
    layers, ids = torch.tensor([1, 0, 1, 0, 0]), torch.tensor([2, 5, 1, 3, 1]) * 1001
    targets = SetTargets(maps, layers, ids, torch.zeros(5, dtype=torch.int64))
    index = torch.randint(72, (50,), generator=random)
    for points in (index, None):
        target_index, masks = targets.target_index(points, no_target=7), targets.at_points(points)
        assert torch.equal((target_index[layers] == torch.arange(5)[:, None]), masks)
        assert torch.equal((target_index != 7).sum(0), masks.sum(0))


def test_owners_without_targets():
    none = torch.zeros(0, dtype=torch.int64)
    assert (
        SetTargets(torch.ones(1, 2, 2, dtype=torch.int32), none, none, none).target_index(None, no_target=1) == 1
    ).all()
