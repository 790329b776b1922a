"""PyTorch's names for the same operation on images and volumes, by the number of spatial dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONV: dict[int, Callable[..., nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
INSTANCE_NORM: dict[int, type[nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
MAX_POOL: dict[int, Callable[..., Tensor]] = {2: F.max_pool2d, 3: F.max_pool3d}
ADAPTIVE_AVG_POOL: dict[int, Callable[..., Tensor]] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
"""Modes of ``interpolate``."""


def spatial_axes(maps: Tensor) -> tuple[int, ...]:
    """Axes of ``maps [B, C, *spatial]`` behind the first two."""
    return tuple(range(2, maps.ndim))


def vector_like(numbers: Sequence[float], tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A number for each axis, on the device of ``tensor`` and of its type, if not of ``dtype``.

    ``tensor.new_tensor(numbers)`` is the same, but the host would wait there for all that a GPU has still to do.

    >>> vector_like((1, 2), torch.zeros(3))
    tensor([1., 2.])
    """
    return torch.tensor(numbers, dtype=dtype or tensor.dtype).to(tensor.device, non_blocking=True)


def unravel(index: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Coordinates (x, y, z) of flat positions on a grid of ``shape``, the last axis of the grid first.

    >>> [axis.tolist() for axis in unravel(torch.tensor([5, 23]), (2, 3, 4))]
    [[1, 3], [1, 2], [0, 1]]
    """
    coordinates = []
    for edge in shape[:0:-1]:
        coordinates.append(index % edge)
        index = index.div(edge, rounding_mode="floor")
    return [*coordinates, index]
