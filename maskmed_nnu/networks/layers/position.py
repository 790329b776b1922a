"""Sine position encoding in two and three dimensions.

After "End-to-End Object Detection with Transformers" (arXiv 2005.12872), from 2D to any number of axes: the width is
split evenly over the axes and what is left over stays zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def voxel_centres(shape: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Centres of all voxels of a grid, ``[N, dim]`` in ``[0, 1]``.

    ``shape`` is ``(D, H, W)`` or ``(H, W)``; the rows follow the grid's memory order and the columns are ``(x, y, z)``,
    that is the *last* axis of the grid first, as ``torch.nn.functional.grid_sample`` wants it.
    """
    axes = [_centres(n, device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).flatten(0, -2)


def sine_position_encoding(
    shape: Sequence[int], width: int, device: torch.device | None = None, temperature: float = 10000.0
) -> Tensor:
    """Encoding of every voxel of a grid, ``[N, width]``; positions are relative to the grid's edges.

    As `encode_positions` of `voxel_centres`, with the sines of each row and column taken once.
    """
    dims = len(shape)
    axes = []
    for axis in reversed(range(dims)):
        along = _encode(_centres(shape[axis], device), width, dims, temperature)
        place = [1] * dims
        place[axis] = shape[axis]
        axes.append(along.view(*place, -1).expand(*shape, -1))
    return _pad(torch.cat(axes, -1).flatten(0, -2), width)


def encode_positions(positions: Tensor, width: int, temperature: float = 10000.0) -> Tensor:
    """Encoding of positions ``[..., dim]`` in ``[0, 1]``, ``[..., width]``."""
    return _pad(_encode(positions, width, positions.shape[-1], temperature).flatten(-2), width)


def _centres(size: int, device: torch.device | None) -> Tensor:
    return (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size


def _encode(positions: Tensor, width: int, dims: int, temperature: float) -> Tensor:
    """Sines and cosines of each number, ``[...]`` → ``[..., share of the width]``."""
    pairs = width // (2 * dims)
    frequencies = temperature ** (-torch.arange(pairs, device=positions.device, dtype=torch.float32) / max(pairs, 1))
    angles = (positions * 2 * math.pi)[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _pad(encoding: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(encoding, (0, width - encoding.shape[-1]))
