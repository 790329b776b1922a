"""An image larger than memory in windows, each predicted as an image of its own and stitched as tiles are.

Windows overlap. An object that no other window sees a pixel of is what its window says. Those in the overlaps, and only
they, are stitched: `stitch` would leave the others as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Mask
from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections
from maskmed_nnu.instances.stitching.stitch import stitch
from maskmed_nnu.instances.stitching.tiles import Tile


def in_overlaps(found: Detections, windows: Sequence[Tile], number: int) -> Mask:
    """bool ``[N]``: which objects of window ``number``, in its pixels, lie in boxes of which another sees a part."""
    dim, start = found.dim, np.array(windows[number].start)
    low, high = found.boxes[:, :dim] + start, found.boxes[:, dim:] + start
    shared: Mask = np.zeros(len(found), bool)
    for other, window in enumerate(windows):
        if other != number and _meet(windows[number], window):
            shared |= ((low < window.stop) & (high > window.start)).all(1)
    return shared


@dataclass(frozen=True)
class JoinedWindows:
    """The objects of the image: ``counts`` of them from each window alone, then those of ``stitched``, whose places are
    those in the image. They are numbered from 1 in this order."""

    windows: Sequence[Tile]
    counts: list[int]
    stitched: Detections
    score_threshold: float

    def first_id(self, number: int) -> int:
        """Of the objects of window ``number``; of ``len(windows)`` those that were stitched."""
        return 1 + sum(self.counts[:number])

    def alone(self, found: Detections, number: int) -> Detections:
        """The objects of a window that it alone sees, likely enough, in its pixels."""
        return _alone(found, self.windows, number, self.score_threshold)

    def draw(self, block: Sequence[slice], load_alone: Callable[[int], Detections]) -> NDArray[np.uint32]:
        """Ids ``[*block]`` in a part of the image; where objects overlap, the highest score wins.

        ``load_alone`` gives those of a window that it alone sees (`alone`).
        """
        start, stop = [part.start for part in block], [part.stop for part in block]
        shape = tuple(b - a for a, b in zip(start, stop, strict=True))
        parts = [(self.stitched, np.zeros(len(start), np.int64) - start, self.first_id(len(self.windows)))]
        for number, window in enumerate(self.windows):
            if all(a < d and c < b for a, b, c, d in zip(start, stop, window.start, window.stop, strict=True)):
                offset = np.subtract(window.start, start)
                parts.append((load_alone(number), offset, self.first_id(number)))
        drawn: list[tuple[float, int, tuple[slice, ...], Mask]] = []
        for found, offset, first in parts:
            boxes = found.boxes + np.tile(offset, 2)
            inside = (boxes[:, : found.dim] < shape).all(1) & (boxes[:, found.dim :] > 0).all(1)
            for i in np.flatnonzero(inside).tolist():
                box = boxes[i].tolist()
                common = [*(max(n, 0) for n in box[: found.dim]), *map(min, box[found.dim :], shape)]
                mask = found.masks[i][box_slices(common, box)] >= MASK_THRESHOLD
                drawn.append((-float(found.scores[i]), first + i, box_slices(common), mask))
        ids = np.zeros(shape, np.uint32)
        for _, number, where, mask in sorted(drawn, key=lambda item: item[:2]):
            part = ids[where]
            part[mask & (part == 0)] = number
        return ids


def join_windows(
    windows: Sequence[Tile], load: Callable[[int], Detections], shape: Sequence[int], score_threshold: float
) -> JoinedWindows:
    """Stitch what lies in the overlaps; ``load`` gives the objects of a window, in its pixels.

    In memory are one window and everything that lies in overlaps.
    """
    counts, shared = [], []
    for number in range(len(windows)):
        found = load(number)
        counts.append(len(_alone(found, windows, number, score_threshold)))
        shared.append(found.select(in_overlaps(found, windows, number)))
    stitched = stitch(windows, shared, shape)
    return JoinedWindows(windows, counts, stitched.select(stitched.scores >= score_threshold), score_threshold)


def _alone(found: Detections, windows: Sequence[Tile], number: int, score_threshold: float) -> Detections:
    return found.select(~in_overlaps(found, windows, number) & (found.scores >= score_threshold))


def _meet(one: Tile, other: Tile) -> bool:
    return all(a < d and c < b for a, b, c, d in zip(one.start, one.stop, other.start, other.stop, strict=True))
