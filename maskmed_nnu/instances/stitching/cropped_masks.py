"""Overlaps of many cropped masks, without N² comparisons and without full-size masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Box, Integers, Mask
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections

CHUNK = 2**21


class CroppedMasks:
    """Binary masks of ``N`` detections, each in the smallest box; none may be empty (see `without_empty`)."""

    def __init__(self, detections: Detections) -> None:
        self.masks: list[Mask] = []
        tight = []
        for (y0, x0, _, _), mask in zip(detections.boxes.tolist(), detections.masks, strict=True):
            inside = mask >= MASK_THRESHOLD
            rows, columns = (np.logical_or.reduce(inside, axis).nonzero()[0] for axis in (1, 0))
            top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
            tight.append((y0 + top, x0 + left, y0 + bottom, x0 + right))
            self.masks.append(inside[top:bottom, left:right])
        self.boxes = np.array(tight, np.int64).reshape(-1, 4)
        self.box_tuples = tight
        self.areas = np.array([np.count_nonzero(mask) for mask in self.masks], np.int64)

    def area_within(self, i: int, window: Box) -> int:
        """How many pixels of detection ``i`` lie in the box ``window``."""
        y0, x0, y1, x1 = self.box_tuples[i]
        if window[0] <= y0 and window[1] <= x0 and window[2] >= y1 and window[3] >= x1:
            return int(self.areas[i])
        part = self.masks[i][max(window[0] - y0, 0) : max(window[2] - y0, 0)]
        return np.count_nonzero(part[:, max(window[1] - x0, 0) : max(window[3] - x0, 0)])

    def intersection_area(self, i: int, j: int) -> int:
        """How many pixels two detections whose boxes meet have in common."""
        a, b = self.box_tuples[i], self.box_tuples[j]
        y0, x0, y1, x1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
        part = self.masks[i][y0 - a[0] : y1 - a[0], x0 - a[1] : x1 - a[1]]
        return np.count_nonzero(part & self.masks[j][y0 - b[0] : y1 - b[0], x0 - b[1] : x1 - b[1]])

    def pairs_above(self, iou: float, pairs: Integers) -> tuple[Integers, NDArray[np.float64]]:
        """Those of ``pairs [P, 2]`` of meeting boxes whose masks' IoU is at least ``iou``, and their IoU."""
        first, second = pairs.T
        # No mask is looked at where the areas and the boxes' intersection rule it out.
        corner = np.maximum(self.boxes[first, :2], self.boxes[second, :2])
        common = (np.minimum(self.boxes[first, 2:], self.boxes[second, 2:]) - corner).prod(1)
        common = np.minimum(common, np.minimum(self.areas[first], self.areas[second]))
        pairs = pairs[common >= iou * (self.areas[first] + self.areas[second] - common)]
        shared = np.array([self.intersection_area(i, j) for i, j in pairs.tolist()], np.int64)
        value = shared / np.maximum(self.areas[pairs].sum(1) - shared, 1)
        return pairs[value >= iou], value[value >= iou]


def without_empty(detections: Detections) -> Detections:
    """The detections that have a pixel."""
    keep = np.array([mask.size > 0 and mask.max() >= MASK_THRESHOLD for mask in detections.masks], bool)
    return detections if keep.all() else detections.select(keep)


def overlapping_box_pairs(boxes: Integers) -> Integers:
    """All pairs ``[P, 2]``, first index smaller, of boxes ``[N, 4]`` that have a pixel in common; sorted.

    The boxes are sorted into the cells of a grid about as large as the boxes; a pair is found in the cell where its
    intersection begins.
    """
    boxes = np.asarray(boxes, np.int64)
    if len(boxes) < 2:
        return np.zeros((0, 2), np.int64)
    cell = np.maximum(np.ceil((boxes[:, 2:] - boxes[:, :2]).mean(0)), 8).astype(np.int64)
    origin = boxes[:, :2].min(0)
    first = (boxes[:, :2] - origin) // cell
    count = (boxes[:, 2:] - 1 - origin) // cell - first + 1
    of_box = np.repeat(np.arange(len(boxes)), count.prod(1))
    offset = np.arange(len(of_box)) - np.repeat(np.cumsum(count.prod(1)) - count.prod(1), count.prod(1))
    row = first[of_box, 0] + offset // count[of_box, 1]
    column = first[of_box, 1] + offset % count[of_box, 1]
    number = row * (column.max() + 1) + column
    order = np.argsort(number, kind="stable")
    of_box, row, column, number = of_box[order], row[order], column[order], number[order]
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
        corner = np.maximum(boxes[a, :2], boxes[b, :2])
        meet: Mask = np.all(corner < np.minimum(boxes[a, 2:], boxes[b, 2:]), axis=1)
        corner_cell = (corner - origin) // cell
        meet &= (corner_cell[:, 0] == row[left]) & (corner_cell[:, 1] == column[left])
        chunks.append(np.stack([a[meet], b[meet]], 1))
        begin = end
    pairs: Integers = np.concatenate(chunks)
    in_order: Integers = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return in_order
