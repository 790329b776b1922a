"""Multi-scale deformable attention in two and three dimensions.

"Deformable DETR: Deformable Transformers for End-to-End Object Detection" (arXiv 2010.04159), extended to volumes. How
this version differs:

- one code for 2D and 3D, coordinates in ``(x, y, z)`` order end to end;
- the levels may have different widths. Sampling and the bias-free value projection are both linear, so a level is
  either projected first or sampled in its native channels and projected afterwards, whichever allocates less; the
  result is the same and no full-resolution tensor of the transformer's width is needed;
- on the CPU the weighted sum over points and corners is one ``embedding_bag``, which never stores the sampled values;
  exported graphs have a gather for each corner instead, which every runtime knows;
- on a GPU all of it is one kernel where Triton works (`deformable_triton`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.networks.layers.exporting import is_exporting
from maskmed_nnu.networks.layers.maskmed import deformable_triton


def _corners(value: Tensor, position: Tensor, weight: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Rows of ``value``, flattened to ``[G * N, C]``, between which each position lies, and their weights; each
    ``[G, M, P]``."""
    groups, *shape, _ = value.shape
    voxels = math.prod(shape)
    index = [torch.arange(groups, device=value.device).view(-1, 1, 1) * voxels]
    weights, stride = [weight], 1
    for axis, size in enumerate(reversed(shape)):  # each axis doubles the corners
        coordinate = position[..., axis]
        low = coordinate.detach().floor()
        fraction = coordinate - low
        low = low.long()
        below = (1 - fraction) * ((low >= 0) & (low < size))
        above = fraction * ((low >= -1) & (low < size - 1))
        weights = [part * side for part in weights for side in (below, above)]
        steps = [low.clamp(0, size - 1) * stride, (low + 1).clamp(0, size - 1) * stride]
        index = [part + step for part in index for step in steps]
        stride *= size
    return index, weights


def _sample_bag(value: Tensor, position: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of linearly interpolated rows, through one ``embedding_bag``.

    ``value [G, *shape, C]``, ``position [G, M, P, dim]`` in voxels, ``weight [G, M, P]`` → ``[G, M, C]``.
    """
    groups, channels = value.shape[0], value.shape[-1]
    index, weights = _corners(value, position, weight)
    sampled = F.embedding_bag(
        torch.stack(index, -1).flatten(0, 1).flatten(1),
        value.reshape(-1, channels),
        mode="sum",
        per_sample_weights=torch.stack(weights, -1).flatten(0, 1).flatten(1).to(value.dtype),
    )
    return sampled.view(groups, -1, channels)


def _sample_gather(value: Tensor, position: Tensor, weight: Tensor) -> Tensor:
    """The same as :func:`_sample_bag` in gathers and sums, one corner at a time."""
    rows = value.reshape(-1, value.shape[-1])
    corners = zip(*_corners(value, position, weight), strict=True)
    return torch.stack([(F.embedding(index, rows) * part[..., None]).sum(2) for index, part in corners]).sum(0)


def _sample_grid(value: Tensor, position: Tensor, weight: Tensor) -> Tensor:
    """The same as :func:`_sample_bag` through ``grid_sample``, in single precision at least.

    Half coordinates would be off by a tenth of a voxel on long axes, and their gradients overflow.
    """
    groups, *shape, channels = value.shape
    dtype = torch.promote_types(value.dtype, position.dtype)
    size = torch.tensor(shape[::-1], device=value.device, dtype=dtype)
    grid = (2 * position.to(dtype) + 1) / size - 1
    if len(shape) == 3:
        grid = grid[:, :, :, None]
    with torch.autocast(value.device.type, enabled=False):
        sampled = F.grid_sample(value.movedim(-1, 1).to(dtype), grid, padding_mode="zeros", align_corners=False)
        sampled = sampled.reshape(groups, channels, *weight.shape[1:])
        return torch.einsum("gcmp,gmp->gmc", sampled, weight.to(dtype))


def sample(value: Tensor, position: Tensor, weight: Tensor) -> Tensor:
    """Linear interpolation with zero padding at ``position`` and a weighted sum over the points.

    ``value [G, *shape, C]``; ``position [G, M, P, dim]`` in voxel units and ``(x, y, z)`` order, 0 being the centre of
    the first voxel; ``weight [G, M, P]``. Returns ``[G, M, C]``.
    """
    if is_exporting():
        return _sample_gather(value, position, weight)
    return (_sample_bag if value.device.type == "cpu" else _sample_grid)(value, position, weight)


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention over levels of different widths.

    ``channels`` are the widths of the value levels. ``project_first`` forces one of the two equal formulations
    (``None`` takes, level by level, the one that allocates less).
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        points: int,
        channels: Sequence[int],
        spatial_dims: int,
        project_first: bool | None = None,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"The width {dim} is not divisible by {heads} heads.")
        self.dim, self.heads, self.points, self.spatial_dims = dim, heads, points, spatial_dims
        self.levels = len(channels)
        self.project_first = project_first
        self.offsets = nn.Linear(dim, heads * self.levels * points * spatial_dims)
        self.weights = nn.Linear(dim, heads * self.levels * points)
        self.value_projections = nn.ModuleList(nn.Linear(c, dim, bias=False) for c in channels)
        self.output = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sampling points start on rays around the query's position, with equal weights."""
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        radius = torch.arange(1, self.points + 1, dtype=torch.float32).view(1, 1, -1, 1)
        bias = (_directions(self.heads, self.spatial_dims).view(self.heads, 1, 1, -1) * radius).expand(
            -1, self.levels, -1, -1
        )
        with torch.no_grad():
            self.offsets.bias.copy_(bias.flatten())
        for linear in (*self.value_projections, self.output):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, query: Tensor, reference: Tensor, values: Sequence[Tensor]) -> Tensor:
        """Attend from ``query [B, N, dim]`` at ``reference [N, spatial_dims]`` to ``values``.

        ``reference`` is in ``[0, 1]`` and ``(x, y, z)`` order. ``values`` are channels-last levels
        ``[B, *shape_l, C_l]``. Returns ``[B, N, dim]``.
        """
        offsets, weights = self.sampling(query)
        if deformable_triton.applies(query, reference, values):
            projections = [cast(Tensor, projection.weight) for projection in self.value_projections]
            first = [self._projects_first(value, query.shape[1]) for value in values]
            fused = deformable_triton.attend(values, projections, first, reference, offsets, weights)
            return cast(Tensor, self.output(fused.flatten(2)))
        attended: Any = 0
        for level, (value, projection) in enumerate(zip(values, self.value_projections, strict=True)):
            position = self.positions(reference, offsets[:, :, :, level], value.shape[1:-1])
            attended = attended + self._attend(
                value, position, weights[:, :, :, level], cast(Tensor, projection.weight)
            )
        output: Tensor = self.output(attended.flatten(2))
        return output

    def sampling(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets ``[B, N, heads, levels, P, dim]`` in voxels of the levels, and weights ``[B, N, heads, levels, P]``,
        which sum to one over levels and points."""
        b, n, _ = query.shape
        offsets = self.offsets(query).view(b, n, self.heads, self.levels, self.points, self.spatial_dims)
        weights = self.weights(query).view(b, n, self.heads, -1).softmax(-1)
        return offsets, weights.view(b, n, self.heads, self.levels, self.points)

    @staticmethod
    def positions(reference: Tensor, offsets: Tensor, shape: Sequence[int]) -> Tensor:
        """Where a level of ``shape`` is sampled, as in `sample`: ``offsets [B, N, heads, P, dim]`` from
        ``reference [N, dim]``."""
        size = torch.tensor(shape[::-1], device=offsets.device, dtype=reference.dtype)
        # coordinates need more than the 10 bits of a half's mantissa
        return (reference * size - 0.5)[:, None, None] + offsets.to(reference.dtype)

    def _attend(self, value: Tensor, position: Tensor, weight: Tensor, projection: Tensor) -> Tensor:
        """One level: ``position [B, N, heads, P, dim]``, ``weight [B, N, heads, P]`` → ``[B, N, heads, dim/heads]``."""
        b, n = position.shape[:2]
        width = self.dim // self.heads
        per_head = projection.view(self.heads, width, -1)
        if self._projects_first(value, n):
            value = torch.einsum("b...c,hwc->bh...w", value, per_head).flatten(0, 1)
            position, weight = (t.transpose(1, 2).flatten(0, 1) for t in (position, weight))
            return sample(value, position, weight).view(b, self.heads, n, width).transpose(1, 2)
        sampled = sample(value, position.flatten(1, 2), weight.flatten(1, 2)).view(b, n, self.heads, -1)
        return torch.einsum("bnhc,hwc->bnhw", sampled, per_head)

    def _projects_first(self, value: Tensor, queries: int) -> bool:
        if self.project_first is not None:
            return self.project_first
        return not sampling_first_is_smaller(
            math.prod(value.shape[1:-1]),
            value.shape[-1],
            queries=queries,
            dim=self.dim,
            samples=self.heads * (1 if value.device.type == "cpu" else self.points),
        )


def sampling_first_is_smaller(voxels: int, channels: int, *, queries: int, dim: int, samples: int) -> bool:
    """Whether sampling a level in its native channels stores less than projecting all of it to ``dim`` first.

    ``samples`` per query are stored: one per head where the points are summed at once (CPU), else one per point.
    """
    return queries * samples * channels < voxels * dim


def _directions(heads: int, spatial_dims: int) -> Tensor:
    """Unit directions spread evenly: a circle in 2D, a Fibonacci sphere in 3D. ``[heads, spatial_dims]``."""
    index = torch.arange(heads, dtype=torch.float32)
    if spatial_dims == 2:
        angle = index * 2 * math.pi / heads
        return torch.stack([angle.cos(), angle.sin()], -1)
    height = 1 - (2 * index + 1) / heads
    angle = index * math.pi * (3 - math.sqrt(5))
    circle = (1 - height**2).sqrt()
    return torch.stack([circle * angle.cos(), circle * angle.sin(), height], -1)
