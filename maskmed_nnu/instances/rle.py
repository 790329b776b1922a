"""COCO's run-length encoding as pixel positions, so that an object costs its own pixels and not the whole image's.

COCO counts pixels column by column (the flat index of (y, x) is ``x * height + y``), background first; compressed
counts are differences written five bits a character. pycocotools decodes an object only to a mask of the whole image,
which for 40,000 objects in one image is out of reach; it is the reference in our tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskmed_nnu.instances.array_types import Integers, Mask

LONGEST = 7  # characters of a count: counts have 32 bits, their differences 33


class SegmentationError(ValueError):
    """A segmentation that holds no object; the message says why, as a clause that follows the object's name."""


def decode(rle: dict[str, Any], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Flat column-major positions int64 [pixels], ascending, of the foreground of an RLE of an image `shape` (y, x).

    Raises:
        SegmentationError: where the RLE is not one, or belongs to an image of another size.
    """
    size = tuple(int(n) for n in rle["size"])
    if len(size) != 2:
        raise SegmentationError("its RLE has no size of two numbers")
    if size != tuple(shape):
        raise SegmentationError(f"its RLE is for an image of {size[1]} × {size[0]} pixels")
    counts = rle["counts"]
    runs = _decompress(counts) if isinstance(counts, (str, bytes)) else np.asarray(counts, dtype=np.float64)
    pixels = shape[0] * shape[1]
    if runs.ndim != 1 or (runs < 0).any() or (runs > pixels).any() or runs.sum() != pixels or (runs % 1).any():
        raise SegmentationError("its RLE does not add up to the size of the image")
    runs = runs.astype(np.int64)
    ends = np.cumsum(runs)
    starts = ends - runs
    lengths = runs[1::2]
    # position = start of its run + place in the run
    offsets = starts[1::2] - (np.cumsum(lengths) - lengths)
    positions: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(offsets, lengths)
    return positions


def crop(positions: Integers, height: int) -> tuple[tuple[slice, slice], Mask]:
    """The box (y, x) around at least one of `decode`'s positions in an image of that `height`, and the mask in it."""
    ys, xs = positions % height, positions // height
    y, x = int(ys.min()), int(xs[0])
    mask = np.zeros((int(ys.max()) - y + 1, int(xs[-1]) - x + 1), dtype=bool)
    mask[ys - y, xs - x] = True
    return (slice(y, y + mask.shape[0]), slice(x, x + mask.shape[1])), mask


def encode(mask: Mask, corner: tuple[int, int], shape: tuple[int, int]) -> dict[str, Any]:
    """Compressed RLE ``{"size": [y, x], "counts": str}`` of the mask [h, w] whose upper left pixel lies at `corner`."""
    xs, ys = np.nonzero(np.asarray(mask).T)
    flat = (xs + corner[1]).astype(np.int64) * shape[0] + ys + corner[0]
    starts = flat[np.diff(flat, prepend=-2) != 1]
    ends = flat[np.diff(flat, append=-2) != 1] + 1
    borders = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [shape[0] * shape[1]]])
    if len(flat) and ends[-1] == borders[-1]:
        borders = borders[:-1]  # no background after the last object, as pycocotools writes it
    size = [int(shape[0]), int(shape[1])]
    rle = coco_mask.frPyObjects({"size": size, "counts": np.diff(borders).tolist()}, *size)
    return {"size": size, "counts": rle["counts"].decode("ascii")}


def _decompress(counts: str | bytes) -> NDArray[np.int64]:
    """Run lengths int64 [R] of compressed counts."""
    raw = counts.encode("ascii") if isinstance(counts, str) else counts
    characters = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if not len(characters):
        return np.zeros(0, dtype=np.int64)
    last = (characters & 0x20) == 0
    if characters.min() < 0 or characters.max() > 63 or not last[-1]:
        raise SegmentationError("its RLE is not in COCO's compressed form")
    ends = np.flatnonzero(last)
    starts = np.append(0, ends[:-1] + 1)
    length = ends - starts + 1
    if length.max() > LONGEST:
        raise SegmentationError("its RLE is not in COCO's compressed form")
    position = np.arange(len(characters)) - np.repeat(starts, length)
    runs = np.add.reduceat((characters & 0x1F) << (5 * position), starts)
    runs -= np.where(characters[ends] & 0x10, 1 << (5 * length), 0)  # the sign stands in the last character's fifth bit
    runs[1::2] = np.cumsum(runs[1::2])  # each but the first three is the difference to the one before the last
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
