"""Multi-scale deformable attention through ``grid_sample``, level by level: for devices without a form of their own,
and the reference of the others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.dimensions import vector_like


def positions(reference: Tensor, offsets: Tensor, shape: Sequence[int]) -> Tensor:
    """Where a level of ``shape`` is sampled: ``offsets [B, N, heads, P, dim]`` from ``reference [N, dim]``.

    The result, of the same shape, counts voxels in ``(x, y, z)`` order; 0 is the centre of the first voxel.
    """
    size = vector_like(shape[::-1], reference)
    # coordinates need more than the 10 bits of a half's mantissa
    return (reference * size - 0.5)[:, None, None] + offsets.to(reference.dtype)


def sample(value: Tensor, position: Tensor, weight: Tensor) -> Tensor:
    """Linear interpolation with zero padding at ``position`` and a weighted sum over the points.

    ``value [G, *shape, C]``; ``position [G, M, P, dim]`` as `positions` gives them; ``weight [G, M, P]``. Returns
    ``[G, M, C]``, in single precision at least: half coordinates would be off by a tenth of a voxel on long axes, and
    their gradients overflow.
    """
    groups, *shape, channels = value.shape
    dtype = torch.promote_types(value.dtype, position.dtype)
    size = vector_like(shape[::-1], value, dtype)
    grid = (2 * position.to(dtype) + 1) / size - 1
    if len(shape) == 3:
        grid = grid[:, :, :, None]
    with nullcontext() if value.is_meta else torch.autocast(value.device.type, enabled=False):
        sampled = F.grid_sample(value.movedim(-1, 1).to(dtype), grid, padding_mode="zeros", align_corners=False)
        sampled = sampled.reshape(groups, channels, *weight.shape[1:])
        return torch.einsum("gcmp,gmp->gmc", sampled, weight.to(dtype))


def attend(
    values: Sequence[Tensor],
    projections: Sequence[Tensor],
    projects_first: Sequence[bool],
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> Tensor:
    """Arguments, shapes and result are those of `deformable.attend`."""
    b, n, heads, _, _, _ = offsets.shape
    total = offsets.new_zeros(())
    for level, (value, projection, first) in enumerate(zip(values, projections, projects_first, strict=True)):
        position = positions(reference, offsets[:, :, :, level], value.shape[1:-1])
        weight, per_head = weights[:, :, :, level], projection.unflatten(0, (heads, -1))
        if first:
            value = torch.einsum("b...c,hwc->bh...w", value, per_head).flatten(0, 1)
            position, weight = (t.transpose(1, 2).flatten(0, 1) for t in (position, weight))
            attended = sample(value, position, weight).view(b, heads, n, -1).transpose(1, 2)
        else:
            sampled = sample(value, position.flatten(1, 2), weight.flatten(1, 2)).view(b, n, heads, -1)
            attended = torch.einsum("bnhc,hwc->bnhw", sampled, per_head)
        total = total + attended
    return total
