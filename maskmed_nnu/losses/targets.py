"""Targets of the set loss: label maps and a list of the targets in them, never stacks of masks.

One structure serves semantic labels (one map, one target per class that is present), regions (one 0/1 map each, free
to overlap) and instances (one map of ids per overlap layer). Memory is that of the label maps, whatever the number of
targets; a mask is computed only at the points where a loss needs it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TOTAL_WEIGHT = 2**40
"""Sum of the weights of a target's voxels: integers, whose running sum is exact for any volume."""
ID_RANGE = 2**16


class SetTargets(NamedTuple):
    """Targets of one sample: ``T`` targets in a few label maps."""

    maps: Tensor
    """``[layers, *spatial]`` integer label maps."""
    layers: Tensor
    """``[T]`` int64, the map that contains a target."""
    ids: Tensor
    """``[T]`` int64, the value that marks a target in its map."""
    classes: Tensor
    """``[T]`` int64, the class of a target."""
    valid: Tensor | None = None
    """``[*spatial]`` bool, False where the truth is unknown (ignore label); None if it is known everywhere."""

    def at_points(self, index: Tensor | None) -> Tensor:
        """Binary masks ``[T, P]`` at the voxels with the flat indices ``[P]`` (None: at all voxels)."""
        values = self.maps.flatten(1)
        if index is not None:
            values = values[:, index]
        return values[self.layers] == self.ids.to(values.dtype)[:, None]

    def target_index(self, index: Tensor | None, *, no_target: int) -> Tensor:
        """Number of the target at each point of each map: ``[layers, P]`` int64; ``no_target`` where there is none.

        The same information as ``at_points``, at a cost that does not grow with the number of targets.
        """
        values = self.maps.flatten(1) if index is None else self.maps.flatten(1)[:, index]
        if not len(self.ids):
            return torch.full_like(values, no_target, dtype=torch.int64)
        layer = torch.arange(len(values), device=values.device)[:, None]
        target_key, order = ((self.layers << 32) + self.ids).sort()
        key = (layer << 32) + values
        nearest = torch.searchsorted(target_key, key).clamp_(max=len(target_key) - 1)
        return torch.where(target_key[nearest] == key, order[nearest], no_target)

    def balanced_weights(self) -> Tensor:
        """Weights ``[N]`` int64 by which all targets are sampled equally often, and so are the voxels of a target.

        A voxel's weight is the sum of ``TOTAL_WEIGHT`` / (valid voxels of the target) over the targets that contain it;
        it is zero where the truth is unknown. Ids count by their last 16 bits, so that one table serves all of them.
        """
        outside = ID_RANGE
        one = torch.ones((), dtype=torch.int64, device=self.maps.device)
        total = None
        for layer, values in enumerate(self.maps.flatten(1)):
            slot = values.to(torch.int64, copy=True).bitwise_and_(ID_RANGE - 1)
            if self.valid is not None:
                slot.masked_fill_(~self.valid.flatten(), outside)
            size = slot.new_zeros(ID_RANGE + 1).scatter_add_(0, slot, one.expand_as(slot))
            slots = torch.where(self.layers == layer, self.ids & (ID_RANGE - 1), outside)
            share = torch.zeros_like(size)
            share[slots] = TOTAL_WEIGHT // size[slots].clamp(min=1)
            share[outside] = 0
            weight = share.gather(0, slot)
            total = weight if total is None else total.add_(weight)
        assert total is not None, "a sample has a map"
        return total


def semantic_targets(label_map: Tensor, *, num_classes: int, ignore_label: int | None = None) -> list[SetTargets]:
    """One target per class that is present among the valid voxels of a sample; the background, 0, is a class.

    ``label_map`` is ``[B, 1, *spatial]`` of any dtype. Values that are neither a class nor the ignore label belong to
    no target and count as valid.
    """
    maps = label_map if not label_map.is_floating_point() else label_map.to(torch.int32)
    labels = maps.flatten(1).long()
    slot = torch.where((labels >= 0) & (labels < num_classes), labels, num_classes + 1)
    if ignore_label is not None:
        slot = slot.masked_fill_(labels == ignore_label, num_classes)
    present = torch.zeros(len(maps), num_classes + 2, dtype=torch.bool, device=maps.device)
    present = present.scatter_(1, slot, torch.ones((), dtype=torch.bool, device=maps.device).expand_as(slot)).cpu()
    targets = []
    for sample, is_present in zip(maps, present, strict=True):
        ids = is_present[:num_classes].nonzero().squeeze(1).to(maps.device, non_blocking=True)
        # most patches have no ignored voxel: None avoids masked sampling for them
        valid = sample[0] != ignore_label if is_present[num_classes] else None
        targets.append(SetTargets(sample, torch.zeros_like(ids), ids, ids, valid))
    return targets


def region_targets(stack: Tensor, *, has_ignore: bool) -> list[SetTargets]:
    """One target per region that is present among the valid voxels of a sample; regions may overlap.

    ``stack`` is nnU-Net's region target, ``[B, R, *spatial]`` bool or 0/1, followed by one more channel that is 1 where
    voxels are to be ignored if ``has_ignore``.
    """
    stack = stack if stack.dtype == torch.bool else stack > 0
    ignored = stack[:, -1] if has_ignore else None
    regions = stack[:, :-1] if has_ignore else stack
    valid_regions = regions.flatten(2) if ignored is None else regions.flatten(2) & ~ignored.flatten(1)[:, None]
    present = valid_regions.any(2)
    if ignored is not None:
        present = torch.cat([present, ignored.flatten(1).any(1, keepdim=True)], 1)
    targets = []
    for b, is_present in enumerate(present.cpu()):
        index = is_present[: regions.shape[1]].nonzero().squeeze(1).to(stack.device, non_blocking=True)
        valid = ~ignored[b] if ignored is not None and is_present[-1] else None
        targets.append(SetTargets(regions[b], index, torch.ones_like(index), index, valid))
    return targets
