"""Where the set loss is evaluated: voxels drawn among the valid ones, without a transfer to the host."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maskmed_nnu.losses.targets import SetTargets


class Points(NamedTuple):
    """Voxels of a batch that carry a loss."""

    index: Tensor | None
    """``[B, P]`` int64 flat voxel indices; None: every voxel, in order."""
    weight: Tensor | None
    """``[B, P]`` bool, False where a point does not count; None: every point counts."""


def valid_voxels(targets: list[SetTargets]) -> Tensor | None:
    """``[B, N]`` bool, or None if every voxel of every sample is valid."""
    if all(t.valid is None for t in targets):
        return None
    full = [torch.ones_like(t.maps[0], dtype=torch.bool) if t.valid is None else t.valid for t in targets]
    return torch.stack(full).flatten(1)


class PointSampler:
    """Uniform voxels with replacement among the valid voxels of each sample.

    A sample with no more valid voxels than points asked for gets each of them exactly once.
    """

    def __init__(self, valid: Tensor | None, *, batch: int, voxels: int, device: torch.device) -> None:
        self.batch, self.voxels, self.device = batch, voxels, device
        self.rank = None if valid is None else valid.cumsum(1, dtype=torch.int32)

    def uniform(self, count: int) -> Tensor:
        """``[B, count]`` flat voxel indices."""
        if self.rank is None:
            return torch.randint(self.voxels, (self.batch, count), device=self.device)
        draw = torch.randint(2**31 - 1, (self.batch, count), device=self.device, dtype=torch.int32)
        return self._voxel(draw % self.rank[:, -1:].clamp(min=1))

    def points(self, index: Tensor) -> Points:
        """The drawn voxels ``[B, P]``, replaced by all valid voxels in samples that have no more than ``P`` of them."""
        if self.rank is None:
            return Points(index, None)
        count = self.rank[:, -1:]
        position = torch.arange(index.shape[1], device=self.device, dtype=torch.int32).expand_as(index)
        few = count <= index.shape[1]
        return Points(torch.where(few, self._voxel(position), index), ~few | (position < count))

    def _voxel(self, position: Tensor) -> Tensor:
        """The voxel that is number ``position`` among the valid ones (clamped where there are fewer)."""
        return torch.searchsorted(self.rank, position + 1).clamp_(max=self.voxels - 1)
