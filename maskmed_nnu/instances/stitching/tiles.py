"""Tiles over an image, the parts that the network predicts one at a time.

As in StarDist's big-image prediction (github.com/stardist/stardist), a tile knows its place in the image. It does not
write to a part of its own: `maskmed_nnu.instances.stitching.stitch` chooses a tile for each object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError


@dataclass(frozen=True)
class Tile:
    """A window of an image, ``y0:y1, x0:x1``, within the image.

    Where the image is smaller than the tile, the network reads zeros below and to the right of it, so that pixel
    ``(y, x)`` of the tile is always ``(y0 + y, x0 + x)`` of the image.
    """

    y0: int
    x0: int
    y1: int
    x1: int
    size: tuple[int, int]
    """What the network reads, padding included."""
    shape: tuple[int, int]
    """Of the image."""

    @property
    def inner_borders(self) -> tuple[bool, bool, bool, bool]:
        """Whether the image goes on beyond the window's top, left, bottom and right border."""
        return self.y0 > 0, self.x0 > 0, self.y1 < self.shape[0], self.x1 < self.shape[1]

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Zeros that the network reads (above, below), (left, right)."""
        return (0, self.size[0] - (self.y1 - self.y0)), (0, self.size[1] - (self.x1 - self.x0))

    def read(self, image: NDArray[Any]) -> NDArray[Any]:
        """The tile's part of an image ``[..., H, W]``, padded with zeros to ``[..., *size]``."""
        window = image[..., self.y0 : self.y1, self.x0 : self.x1]
        return np.pad(window, ((0, 0),) * (image.ndim - 2) + self.padding)


def plan_tiles(shape: tuple[int, int], tile: tuple[int, int], overlap: tuple[int, int] | int) -> list[Tile]:
    """The fewest tiles of one size that cover an image, evenly spread, row by row.

    Neighbours share at least ``overlap`` pixels (per axis), so that any object of up to ``overlap - 2 m + 1`` pixels
    along each axis lies in some tile at least ``m`` pixels from its inner borders. Larger objects are joined from
    fragments, for which neighbours must share a pixel: ``overlap`` is at least 1.

    Raises:
        InputError: where the overlap is less than 1 or not less than the tile.
    """
    overlaps = (overlap, overlap) if isinstance(overlap, (int, np.integer)) else overlap
    for size, shared in zip(tile, overlaps, strict=True):
        if not 1 <= shared < size:
            raise InputError(
                f"Tiles of {size} pixels cannot overlap by {shared} pixels; take an overlap from 1 to {size - 1}."
            )
    rows, columns = (_starts(*axis) for axis in zip(shape, tile, overlaps, strict=True))
    height, width = (min(n, size) for n, size in zip(shape, tile, strict=True))
    return [Tile(y, x, y + height, x + width, (tile[0], tile[1]), (shape[0], shape[1])) for y in rows for x in columns]


def _starts(length: int, size: int, overlap: int) -> list[int]:
    gaps = max(-(-(length - size) // (size - overlap)), 0)
    return [i * (length - size) // gaps for i in range(gaps + 1)] if gaps else [0]
