"""Where the objects of one image are: boxes, areas and centres from one sort, without a loop over objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Box, Integers


class Boxes(NamedTuple):
    """``N`` objects, ordered by id, of an image of ``dim`` axes."""

    ids: Integers
    """``[N]`` their ids"""
    boxes: NDArray[np.int64]
    """``[N, 2 * dim]`` int64, all starts, then all stops, half open"""
    areas: NDArray[np.int64]
    """``[N]`` int64, pixels"""
    centres: NDArray[np.float64]
    """``[N, dim]`` float, the mean position along each axis"""


def box_slices(box: Box, corner: Sequence[int] | None = None) -> tuple[slice, ...]:
    """The part in ``box`` of an array whose first pixel lies at ``corner`` (default: the origin).

    >>> box_slices([5, 6, 8, 9], [5, 4])
    (slice(0, 3, None), slice(2, 5, None))
    """
    dim = len(box) // 2
    if corner is None:
        return tuple(map(slice, box[:dim], box[dim:]))
    return tuple([slice(box[n] - corner[n], box[dim + n] - corner[n]) for n in range(dim)])


def find_boxes(ids: Integers) -> Boxes:
    """The objects in ``ids [L, *spatial]``, layers of one image; the id of an object is positive.

    >>> find_boxes(np.array([[[0, 7, 7], [0, 0, 7]], [[3, 3, 0], [0, 0, 0]]])).boxes
    array([[0, 0, 1, 2],
           [0, 1, 2, 3]])
    """
    dim = ids.ndim - 1
    # Runs of equal ids along the last axis: far fewer than pixels, of which a volume has too many to sort.
    rows = np.ascontiguousarray(ids).reshape(math.prod(ids.shape[:-1]), ids.shape[-1])
    begins = np.ones(rows.shape, bool)
    np.not_equal(rows[:, 1:], rows[:, :-1], out=begins[:, 1:])
    first = np.flatnonzero(begins)
    lengths = np.diff(first, append=rows.size)
    values = rows.reshape(-1)[first]
    first, lengths, values = first[values > 0], lengths[values > 0], values[values > 0]
    # stable: the runs of an object stay in order, and a label map's are cheap to sort
    order = np.argsort(values, kind="stable")
    first, lengths, values = first[order], lengths[order], values[order]
    starts = np.flatnonzero(np.diff(values, prepend=0))
    if not len(starts):
        return Boxes(values, np.zeros((0, 2 * dim), np.int64), np.zeros(0, np.int64), np.zeros((0, dim)))
    areas = np.add.reduceat(lengths, starts)
    position = np.unravel_index(first, ids.shape)[1:]
    last = (*position[:-1], position[-1] + lengths - 1)
    low = [np.minimum.reduceat(axis, starts) for axis in position]
    high = [np.maximum.reduceat(axis, starts) + 1 for axis in last]
    # the positions along a run are evenly spaced
    sums = [np.add.reduceat((a + b) * lengths, starts) // 2 for a, b in zip(position, last, strict=True)]
    return Boxes(values[starts], np.stack(low + high, axis=1), areas, np.stack(sums, axis=1) / areas[:, None])
