"""Overlaps of many cropped masks, without N² comparisons and without full-size masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Box, Integers, Mask
from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections

CHUNK = 2**21


class CroppedMasks:
    """Masks of ``N`` detections, each in the smallest box; none may be empty (see `without_empty`).

    They are the detections' own soft masks, of which a volume holds too much for a binary copy beside them.
    """

    def __init__(self, detections: Detections) -> None:
        dim = detections.dim
        self.masks: list[NDArray[np.uint8]] = []
        self.box_tuples: list[tuple[int, ...]] = []
        for box, mask in zip(detections.boxes.tolist(), detections.masks, strict=True):
            tight = tight_box(mask >= MASK_THRESHOLD)
            self.box_tuples.append(tuple(box[n % dim] + at for n, at in enumerate(tight)))
            self.masks.append(mask[box_slices(tight)])
        self.boxes = np.array(self.box_tuples, np.int64).reshape(-1, 2 * dim)
        self.areas = np.array([np.count_nonzero(mask >= MASK_THRESHOLD) for mask in self.masks], np.int64)

    def area_within(self, i: int, window: Box) -> int:
        """How many pixels of detection ``i`` lie in the box ``window``."""
        box = self.box_tuples[i]
        common = intersection(box, window)
        if common == box:
            return int(self.areas[i])
        if is_empty(common):
            return 0
        return np.count_nonzero(self.masks[i][box_slices(common, box)] >= MASK_THRESHOLD)

    def intersection_area(self, i: int, j: int) -> int:
        """How many pixels two detections whose boxes meet have in common."""
        a, b = self.box_tuples[i], self.box_tuples[j]
        common = intersection(a, b)
        both = self.masks[i][box_slices(common, a)] & self.masks[j][box_slices(common, b)]
        return np.count_nonzero(both >= MASK_THRESHOLD)  # the threshold is the highest bit

    def pairs_above(self, iou: float, pairs: Integers) -> tuple[Integers, NDArray[np.float64]]:
        """Those of ``pairs [P, 2]`` of meeting boxes whose masks' IoU is at least ``iou``, and their IoU."""
        first, second = pairs.T
        # No mask is looked at where the areas and the boxes' intersection rule it out.
        dim = self.boxes.shape[1] // 2
        corner = np.maximum(self.boxes[first, :dim], self.boxes[second, :dim])
        common = (np.minimum(self.boxes[first, dim:], self.boxes[second, dim:]) - corner).prod(1)
        common = np.minimum(common, np.minimum(self.areas[first], self.areas[second]))
        pairs = pairs[common >= iou * (self.areas[first] + self.areas[second] - common)]
        shared = np.array([self.intersection_area(i, j) for i, j in pairs.tolist()], np.int64)
        value = shared / np.maximum(self.areas[pairs].sum(1) - shared, 1)
        return pairs[value >= iou], value[value >= iou]


def tight_box(inside: Mask) -> list[int]:
    """The smallest box around a mask that has a pixel."""
    ends = []
    for axis in range(inside.ndim):
        others = tuple(n for n in range(inside.ndim) if n != axis)
        taken = np.logical_or.reduce(inside, others).nonzero()[0]
        ends.append((int(taken[0]), int(taken[-1]) + 1))
    return [start for start, _ in ends] + [stop for _, stop in ends]


def intersection(a: Box, b: Box) -> tuple[int, ...]:
    """The box that two boxes share; where they do not meet, a stop is not beyond its start."""
    dim = len(a) // 2
    return *map(max, a[:dim], b[:dim]), *map(min, a[dim:], b[dim:])


def is_empty(box: Box) -> bool:
    """Whether no pixel is in the box."""
    dim = len(box) // 2
    return any(start >= stop for start, stop in zip(box[:dim], box[dim:], strict=True))


def without_empty(detections: Detections) -> Detections:
    """The detections that have a pixel."""
    keep = np.array([mask.size > 0 and mask.max() >= MASK_THRESHOLD for mask in detections.masks], bool)
    return detections if keep.all() else detections.select(keep)


def overlapping_box_pairs(boxes: Integers) -> Integers:
    """All pairs ``[P, 2]``, first index smaller, of boxes ``[N, 2 * dim]`` that have a pixel in common; sorted.

    The boxes are sorted into the cells of a grid about as large as the boxes; a pair is found in the cell where its
    intersection begins.
    """
    boxes = np.asarray(boxes, np.int64)
    if len(boxes) < 2:
        return np.zeros((0, 2), np.int64)
    dim = boxes.shape[1] // 2
    low, high = boxes[:, :dim], boxes[:, dim:]
    cell = np.maximum(np.ceil((high - low).mean(0)), 8).astype(np.int64)
    origin = low.min(0)
    first = (low - origin) // cell
    count = (high - 1 - origin) // cell - first + 1
    of_box: Integers = np.repeat(np.arange(len(boxes)), count.prod(1))
    offset = np.arange(len(of_box)) - np.repeat(np.cumsum(count.prod(1)) - count.prod(1), count.prod(1))
    place: Integers = np.zeros((len(of_box), dim), np.int64)
    for axis in reversed(range(dim)):
        offset, step = np.divmod(offset, count[of_box, axis])
        place[:, axis] = first[of_box, axis] + step
    number: Integers = np.ravel_multi_index(tuple(place.T), tuple(place.max(0) + 1))
    order = np.argsort(number, kind="stable")
    of_box, place, number = of_box[order], place[order], number[order]
    later = np.searchsorted(number, number, side="right") - np.arange(len(number)) - 1  # entries of the same cell
    chunks = []
    ends = np.cumsum(later)
    begin = 0
    while begin < len(later):
        done = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, done + CHUNK, side="right")), begin + 1)
        repeats = later[begin:end]
        left = np.repeat(np.arange(begin, end), repeats)
        step = np.arange(len(left)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        a, b = of_box[left], of_box[left + step + 1]
        corner = np.maximum(low[a], low[b])
        meet: Mask = np.all(corner < np.minimum(high[a], high[b]), axis=1)
        meet &= np.all((corner - origin) // cell == place[left], axis=1)
        chunks.append(np.stack([a[meet], b[meet]], 1))
        begin = end
    pairs: Integers = np.concatenate(chunks)
    in_order: Integers = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return in_order
