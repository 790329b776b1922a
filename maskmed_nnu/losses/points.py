"""Where the set loss is evaluated: voxels drawn among the valid ones, without a transfer to the host.

On a large patch, uniform points miss small structures: of 300 voxels among two million, every sixth draw of 12544
points hits none. A share of the points is therefore drawn with the same chance for every target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from maskmed_nnu.losses.targets import SetTargets


@dataclass(frozen=True, eq=False)
class Points:
    """Voxels of a batch at which the loss is computed."""

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
    """Random voxels with replacement among the valid voxels of each sample.

    A share of ``balanced_ratio`` is drawn equally often from each of the sample's ``targets``, the rest uniformly. A
    sample with no more valid voxels than requested points gets each of them exactly once.
    """

    def __init__(
        self,
        valid: Tensor | None,
        *,
        batch: int,
        voxels: int,
        device: torch.device,
        targets: Sequence[SetTargets] = (),
        balanced_ratio: float = 0.0,
    ) -> None:
        self.batch, self.voxels, self.device = batch, voxels, device
        self.targets, self.balanced_ratio = targets, balanced_ratio
        self.rank = None if valid is None else valid.cumsum(1, dtype=torch.int32)

    def sample(self, count: int) -> Tensor:
        """``[B, count]`` flat voxel indices, the balanced ones first."""
        balanced = round(self.balanced_ratio * count)
        if not balanced:
            return self.uniform(count)
        return torch.cat([self.balanced(balanced), self.uniform(count - balanced)], 1)

    def balanced(self, count: int) -> Tensor:
        """``[B, count]`` flat voxel indices: any target, then any of its voxels; uniform in samples without targets."""
        total = self._cumulative_weights[:, -1:]
        draw = torch.randint(2**62, (self.batch, count), device=self.device) % total.clamp(min=1)
        index = torch.searchsorted(self._cumulative_weights, draw, right=True).clamp_(max=self.voxels - 1)
        return torch.where(total > 0, index, self.uniform(count))

    def uniform(self, count: int) -> Tensor:
        """``[B, count]`` flat voxel indices."""
        if self.rank is None:
            return torch.randint(self.voxels, (self.batch, count), device=self.device)
        draw = torch.randint(2**31 - 1, (self.batch, count), device=self.device, dtype=torch.int32)
        return self._voxel(self.rank, draw % self.rank[:, -1:].clamp(min=1))

    def points(self, index: Tensor) -> Points:
        """The drawn voxels ``[B, P]``, replaced by all valid voxels in samples that have no more than ``P`` of them."""
        if self.rank is None:
            return Points(index, None)
        count = self.rank[:, -1:]
        position = torch.arange(index.shape[1], device=self.device, dtype=torch.int32).expand_as(index)
        few = count <= index.shape[1]
        return Points(torch.where(few, self._voxel(self.rank, position), index), ~few | (position < count))

    @cached_property
    def _cumulative_weights(self) -> Tensor:
        """Running sum ``[B, N]`` of the targets' weights; a dense loss never needs it."""
        return torch.stack([target.balanced_weights() for target in self.targets]).cumsum_(1)

    def _voxel(self, rank: Tensor, position: Tensor) -> Tensor:
        """The voxel that is number ``position`` among the valid ones (clamped where there are fewer)."""
        return torch.searchsorted(rank, position + 1).clamp_(max=self.voxels - 1)
