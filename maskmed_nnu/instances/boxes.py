"""Where the objects of one slice are: boxes, areas and centres from one sort, without a loop over objects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Integers


class Boxes(NamedTuple):
    """``N`` objects, ordered by id."""

    ids: Integers
    """``[N]`` their ids"""
    boxes: NDArray[np.int64]
    """``[N, 4]`` int64 ``y0, x0, y1, x1``, half open"""
    areas: NDArray[np.int64]
    """``[N]`` int64, pixels"""
    centres: NDArray[np.float64]
    """``[N, 2]`` float, mean row and column"""


def find_boxes(ids: Integers) -> Boxes:
    """The objects in ``ids [L, Y, X]``, layers of one slice; the id of an object is positive.

    >>> find_boxes(np.array([[[0, 7, 7], [0, 0, 7]], [[3, 3, 0], [0, 0, 0]]])).boxes
    array([[0, 0, 1, 2],
           [0, 1, 2, 3]])
    """
    _, rows, columns = np.nonzero(ids > 0)
    values = ids[ids > 0]
    # stable: the rows of an object stay in order, and the runs of a label map are cheap to sort
    order = np.argsort(values, kind="stable")
    values, rows, columns = values[order], rows[order], columns[order]
    starts = np.flatnonzero(np.diff(values, prepend=0))
    if not len(starts):
        return Boxes(values, np.zeros((0, 4), np.int64), np.zeros(0, np.int64), np.zeros((0, 2)))
    areas = np.diff(starts, append=len(values))
    boxes = np.stack(
        (
            np.minimum.reduceat(rows, starts),
            np.minimum.reduceat(columns, starts),
            np.maximum.reduceat(rows, starts) + 1,
            np.maximum.reduceat(columns, starts) + 1,
        ),
        axis=1,
    )
    sums = np.stack((np.add.reduceat(rows, starts), np.add.reduceat(columns, starts)), axis=1)
    return Boxes(values[starts], boxes, areas, sums / areas[:, None])
