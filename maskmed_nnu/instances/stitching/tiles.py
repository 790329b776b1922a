"""Tiles over an image, the parts that the network predicts one at a time.

As in StarDist's big-image prediction (github.com/stardist/stardist), a tile knows its place in the image. It does not
write to a part of its own: `maskmed_nnu.instances.stitching.stitch` chooses a tile for each object.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError


@dataclass(frozen=True)
class Tile:
    """A window of an image or volume, from ``start`` to ``stop`` (half open), within it.

    Where the image is smaller than the tile, the network reads zeros beyond its far ends, so that pixel ``p`` of the
    tile is always ``start + p`` of the image.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    size: tuple[int, ...]
    """What the network reads, padding included."""
    shape: tuple[int, ...]
    """Of the image."""

    @property
    def window(self) -> tuple[int, ...]:
        """The numbers of `start`, then those of `stop`, as in the boxes of objects."""
        return self.start + self.stop

    @property
    def slices(self) -> tuple[slice, ...]:
        """The window in the image, a slice for each axis."""
        return tuple(map(slice, self.start, self.stop))

    @property
    def inner_borders(self) -> tuple[bool, ...]:
        """Whether the image goes on beyond the window's border at the start of each axis, then at the stop of each."""
        before = [start > 0 for start in self.start]
        return *before, *(stop < length for stop, length in zip(self.stop, self.shape, strict=True))

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Zeros that the network reads (before, after) the window along each axis."""
        window = zip(self.size, self.start, self.stop, strict=True)
        return tuple((0, size - (stop - start)) for size, start, stop in window)

    def read(self, image: NDArray[Any]) -> NDArray[Any]:
        """The tile's part of an image ``[..., *spatial]``, padded with zeros to ``[..., *size]``."""
        window: tuple[Any, ...] = (..., *self.slices)
        return np.pad(image[window], ((0, 0),) * (image.ndim - len(self.shape)) + self.padding)


def plan_tiles(shape: Sequence[int], tile: Sequence[int], overlap: Sequence[int] | int) -> list[Tile]:
    """The fewest tiles of one size that cover an image or volume, evenly spread, row by row.

    Neighbours share at least ``overlap`` pixels (per axis), so that any object of up to ``overlap - 2 m + 1`` pixels
    along each axis lies in some tile at least ``m`` pixels from its inner borders. Larger objects are joined from
    fragments, for which neighbours must share a pixel: ``overlap`` is at least 1.

    Raises:
        InputError: where the overlap is less than 1 or not less than the tile.
    """
    overlaps = (overlap,) * len(shape) if isinstance(overlap, (int, np.integer)) else tuple(overlap)
    for size, shared in zip(tile, overlaps, strict=True):
        if not 1 <= shared < size:
            raise InputError(
                f"Tiles of {size} pixels cannot overlap by {shared} pixels; take an overlap from 1 to {size - 1}."
            )
    window = [min(n, size) for n, size in zip(shape, tile, strict=True)]
    starts = itertools.product(*(_starts(*axis) for axis in zip(shape, tile, overlaps, strict=True)))
    return [
        Tile(start, tuple(a + n for a, n in zip(start, window, strict=True)), tuple(tile), tuple(shape))
        for start in starts
    ]


def larger_tile(shape: Sequence[int], tile: Sequence[int], *, divisor: Sequence[int], pixels: int) -> tuple[int, ...]:
    """``tile``, grown by multiples of ``divisor`` up to an image of ``shape``, as far as ``pixels`` allow.

    Axes that need less leave more to the others; no axis gets shorter.

    >>> larger_tile((250, 256), (128, 128), divisor=(8, 8), pixels=2**17)
    (256, 256)
    >>> larger_tile((2000, 1000), (128, 128), divisor=(8, 8), pixels=2**17)
    (360, 360)
    >>> larger_tile((100, 2000), (128, 128), divisor=(8, 8), pixels=2**17)
    (128, 1024)
    """
    grown, room = list(tile), pixels / prod(tile)
    in_need = sorted(range(len(tile)), key=lambda axis: shape[axis] / tile[axis])
    for done, axis in enumerate(in_need):
        largest = tile[axis] * max(room, 1) ** (1 / (len(tile) - done))
        whole = ceil(shape[axis] / divisor[axis])
        grown[axis] = max(tile[axis], min(whole, int(largest) // divisor[axis]) * divisor[axis])
        room *= tile[axis] / grown[axis]
    return tuple(grown)


def _starts(length: int, size: int, overlap: int) -> list[int]:
    gaps = max(-(-(length - size) // (size - overlap)), 0)
    return [i * (length - size) // gaps for i in range(gaps + 1)] if gaps else [0]
