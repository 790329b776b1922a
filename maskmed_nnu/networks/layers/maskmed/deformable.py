"""Multi-scale deformable attention in two and three dimensions.

"Deformable DETR: Deformable Transformers for End-to-End Object Detection" (arXiv 2010.04159), extended to volumes. How
this version differs:

- one code for 2D and 3D, coordinates in ``(x, y, z)`` order end to end;
- the levels may have different widths. Sampling and the bias-free value projection are both linear, so a level is
  either projected first or sampled in its native channels and projected afterwards, whichever allocates less; the
  result is the same and no full-resolution tensor of the transformer's width is needed;
- the sum over points and corners is taken without storing the samples: on the CPU (`deformable_rows`), and on a GPU
  where Triton works (`deformable_triton`). `deformable_grid` is the form for all other devices, and the reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from maskmed_nnu.networks.layers.exporting import is_exporting
from maskmed_nnu.networks.layers.maskmed import deformable_grid, deformable_rows, deformable_triton


def attend(
    values: Sequence[Tensor],
    projections: Sequence[Tensor],
    projects_first: Sequence[bool],
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> Tensor:
    """Weighted sum over levels and points of the projected values, ``[B, N, heads, width]``.

    For each level its channels-last value ``[B, *shape, C]``, its projection ``[heads * width, C]``, and whether it is
    projected before it is sampled. ``reference [N, dim]`` in ``[0, 1]``; ``offsets [B, N, heads, levels, P, dim]`` in
    voxels of the levels; ``weights [B, N, heads, levels, P]``.
    """
    if deformable_triton.applies(offsets, reference, values):
        form = deformable_triton.attend
    elif offsets.device.type == "cpu" or is_exporting():
        form = deformable_rows.attend
    else:
        form = deformable_grid.attend
    return form(values, projections, projects_first, reference, offsets, weights)


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
        projections = [cast(Tensor, projection.weight) for projection in self.value_projections]
        first = [self._projects_first(value, query.shape[1]) for value in values]
        attended = attend(values, projections, first, reference, *self.sampling(query))
        output: Tensor = self.output(attended.flatten(2))
        return output

    def sampling(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets ``[B, N, heads, levels, P, dim]`` in voxels of the levels, and weights ``[B, N, heads, levels, P]``,
        which sum to one over levels and points."""
        b, n, _ = query.shape
        offsets = self.offsets(query).view(b, n, self.heads, self.levels, self.points, self.spatial_dims)
        weights = self.weights(query).view(b, n, self.heads, -1).softmax(-1)
        return offsets, weights.view(b, n, self.heads, self.levels, self.points)

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
