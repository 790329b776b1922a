"""Multi-scale deformable attention as weighted sums of rows: each sample is a sum over the corners of its cell.

On the CPU none of the samples is stored. Exported graphs have a gather for each corner, which every runtime knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.networks.layers.exporting import is_exporting
from maskmed_nnu.networks.layers.weighted_rows import weighted_rows


def attend(
    values: Sequence[Tensor],
    projections: Sequence[Tensor],
    projects_first: Sequence[bool],
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> Tensor:
    """As `deformable.attend`."""
    heads = offsets.shape[2]
    index, weights = corners([value.shape[1:-1] for value in values], reference, offsets, weights)
    head = torch.arange(heads, device=index.device, dtype=index.dtype).view(-1, 1, 1)
    total = offsets.new_zeros(())
    for level, (value, projection, first) in enumerate(zip(values, projections, projects_first, strict=True)):
        if first:  # heads are rows of their own
            rows = F.linear(value, projection).view(-1, projection.shape[0] // heads)
            attended = _sum(rows, index[level] * heads + head, weights[level])
        else:
            sampled = _sum(value.reshape(-1, value.shape[-1]), index[level], weights[level])
            attended = torch.einsum("bnhc,hwc->bnhw", sampled, projection.unflatten(0, (heads, -1)))
        total = total + attended
    return total


def corners(
    shapes: Sequence[Sequence[int]], reference: Tensor, offsets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Between which voxels the levels are sampled, and with which weights: both ``[L, B, N, heads, P, 2^dim]``.

    A voxel is a row of its level's ``[B, *shape, C]``, flattened to ``[B * voxels, C]``. ``reference [N, dim]``,
    ``offsets [B, N, heads, L, P, dim]`` and ``weights [B, N, heads, L, P]`` as in `deformable`.
    """
    batch, dim, device = offsets.shape[0], offsets.shape[-1], offsets.device
    voxels = [math.prod(shape) for shape in shapes]
    few = not is_exporting() and batch * max(voxels) * offsets.shape[2] < 2**31  # exported graphs take any batch
    dtype = torch.int32 if few else torch.int64
    size = torch.tensor([shape[::-1] for shape in shapes], device=device)
    # coordinates need more than the 10 bits of a half's mantissa
    middle = (reference[:, None] * size - 0.5)[:, None, :, None]
    # the axes first, so that what follows runs over long rows of numbers
    place = (middle + offsets.to(reference.dtype)).permute(5, 3, 0, 1, 2, 4).contiguous()
    last = (size - 1).T.reshape(dim, -1, 1, 1, 1, 1)
    floor = place.detach().floor()
    fraction = place - floor
    below = (1 - fraction) * ((floor >= 0) & (floor <= last))
    above = fraction * ((floor >= -1) & (floor < last))
    low, last = floor.to(dtype), last.to(dtype)
    high = (low + 1).clamp(min=0).minimum(last)
    low = low.clamp(min=0).minimum(last)
    index = torch.arange(batch, device=device, dtype=dtype) * torch.tensor(voxels, device=device, dtype=dtype)[:, None]
    index, weights = index.view(1, -1, batch, 1, 1, 1), weights.permute(3, 0, 1, 2, 4)[None]
    stride = torch.ones(len(shapes), 1, 1, 1, 1, device=device, dtype=dtype)
    for axis in range(dim):  # each axis doubles the corners
        index = (index[:, None] + torch.stack([low[axis], high[axis]]) * stride).flatten(0, 1)
        weights = (weights[:, None] * torch.stack([below[axis], above[axis]])).flatten(0, 1)
        stride = stride * (last[axis] + 1)
    return index.movedim(0, -1), weights.movedim(0, -1)


def _sum(rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Sums over points and corners: ``rows [R, C]``, two ``[B, N, heads, P, 2^dim]`` → ``[B, N, heads, C]``."""
    if is_exporting():
        corners = zip(index.unbind(-1), weights.unbind(-1), strict=True)
        return torch.stack([(F.embedding(i, rows) * w[..., None]).sum(-2) for i, w in corners]).sum(0)
    bags = [t.flatten(3).flatten(0, 2) for t in (index, weights.to(rows.dtype))]
    return weighted_rows(rows, *bags).view(*index.shape[:3], -1)
