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
    axes = [(torch.arange(n, device=device, dtype=torch.float32) + 0.5) / n for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).flatten(0, -2)


def sine_position_encoding(
    shape: Sequence[int], width: int, device: torch.device | None = None, temperature: float = 10000.0
) -> Tensor:
    """Encoding of every voxel of a grid, ``[N, width]``; positions are relative to the grid's edges."""
    return encode_positions(voxel_centres(shape, device), width, temperature)


def encode_positions(positions: Tensor, width: int, temperature: float = 10000.0) -> Tensor:
    """Encoding of positions ``[..., dim]`` in ``[0, 1]``, ``[..., width]``."""
    dims = positions.shape[-1]
    pairs = width // (2 * dims)
    frequencies = temperature ** (-torch.arange(pairs, device=positions.device, dtype=torch.float32) / max(pairs, 1))
    angles = (positions * 2 * math.pi)[..., None] * frequencies
    encoding = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return torch.nn.functional.pad(encoding, (0, width - encoding.shape[-1]))
