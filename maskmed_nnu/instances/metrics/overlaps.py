"""How many pixels the objects of a prediction and of a truth share: only pairs that meet, never a full matrix.

Masks come cropped to their boxes, so that objects of either set may overlap each other; or as id maps, whose ids
are counted pair by pair in one table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.boxes import box_slices

CHUNK = 2**22  # pixels, or pairs of boxes, compared at a time; bounds the memory


class Overlaps(NamedTuple):
    """The pairs of a predicted and a true object that share pixels, sorted by prediction, then truth."""

    prediction: Integers
    """int64 [P], index of the predicted object."""
    truth: Integers
    """int64 [P], index of the true object."""
    intersection: Integers
    """int64 [P], pixels in both."""
    prediction_area: Integers
    """int64 [N], pixels of each predicted object."""
    truth_area: Integers
    """int64 [M], pixels of each true object."""

    @property
    def iou(self) -> NDArray[np.float64]:
        """float64 [P], intersection over union."""
        union = self.prediction_area[self.prediction] + self.truth_area[self.truth] - self.intersection
        return self.intersection / union


def label_overlaps(prediction: Integers, truth: Integers, *, counts: tuple[int, int] = (0, 0)) -> Overlaps:
    """Overlaps of two id maps [layers, *spatial] whose ids 1..N and 1..M are the objects (index = id - 1).

    `counts`: N and M, where the last objects may have no pixel.

    >>> truth = np.array([[[1, 1, 1, 0, 2, 2]]])
    >>> prediction = np.array([[[0, 1, 1, 1, 1, 2]]])
    >>> overlaps = label_overlaps(prediction, truth)
    >>> overlaps.prediction.tolist(), overlaps.truth.tolist(), overlaps.iou.tolist()
    ([0, 0, 1], [0, 1, 1], [0.4, 0.2, 0.5])
    """
    layers, others = ([layer.ravel() for layer in ids] for ids in (prediction, truth))
    areas = [_areas(one, count) for one, count in zip((layers, others), counts, strict=True)]
    shape = (len(areas[0]), len(areas[1]))
    table = sparse.csr_array(shape, dtype=np.int64)
    for layer, other in itertools.product(layers, others):
        for ids, other_ids in zip(_parts(layer), _parts(other), strict=True):
            both = (ids > 0) & (other_ids > 0)
            table = table + _table(ids[both] - 1, other_ids[both] - 1, shape)
    rows, columns = table.nonzero()
    return Overlaps(rows.astype(np.int64), columns.astype(np.int64), table.data, *areas)


def mask_overlaps(
    prediction_boxes: Integers,
    prediction_masks: Sequence[Mask],
    truth_boxes: Integers,
    truth_masks: Sequence[Mask],
) -> Overlaps:
    """Overlaps of objects given by boxes [N, 2·dim] (starts, then stops, half open) and boolean masks cropped to them.

    >>> box, mask = np.array([[0, 0, 2, 2]]), [np.ones((2, 2), dtype=bool)]
    >>> overlaps = mask_overlaps(box, mask, box + 1, mask)
    >>> overlaps.intersection.tolist(), overlaps.iou.round(3).tolist()
    ([1], [0.143])
    """
    areas = [
        np.array([np.count_nonzero(m) for m in masks], dtype=np.int64) for masks in (prediction_masks, truth_masks)
    ]
    first, second = box_pairs(prediction_boxes, truth_boxes)
    dim = prediction_boxes.shape[1] // 2
    a, b = prediction_boxes[first].astype(np.int64), truth_boxes[second].astype(np.int64)
    common = np.concatenate([np.maximum(a[:, :dim], b[:, :dim]), np.minimum(a[:, dim:], b[:, dim:])], axis=1)
    windows = [(common - np.tile(box[:, :dim], 2)).tolist() for box in (a, b)]
    shared = np.zeros(len(first), dtype=np.int64)
    pairs = zip(first.tolist(), second.tolist(), *windows, strict=True)
    for index, (i, j, one, other) in enumerate(pairs):
        shared[index] = np.count_nonzero(prediction_masks[i][box_slices(one)] & truth_masks[j][box_slices(other)])
    meet = shared > 0
    return Overlaps(first[meet], second[meet], shared[meet], *areas)


def box_pairs(boxes: Integers, others: Integers) -> tuple[Integers, Integers]:
    """Indices (into `boxes` [N, 2·dim] and `others` [M, 2·dim]) of all pairs whose half-open boxes overlap, sorted."""
    dim = boxes.shape[1] // 2
    rows = max(1, CHUNK // max(1, len(others)))
    pairs: list[Integers] = [np.zeros((2, 0), dtype=np.int64)]
    for start in range(0, len(boxes), rows):
        chunk = boxes[start : start + rows, :, None]
        overlap = np.ones((len(chunk), len(others)), dtype=bool)
        for low, high in zip(range(dim), range(dim, 2 * dim), strict=True):
            overlap &= (chunk[:, low] < others[:, high]) & (chunk[:, high] > others[:, low])
        pair = np.stack(np.nonzero(overlap))
        pair[0] += start
        pairs.append(pair)
    first, second = np.concatenate(pairs, axis=1)
    return first, second


def _parts(ids: Integers) -> Iterator[Integers]:
    """An id map [pixels] in parts, which bound the memory for volumes."""
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


def _areas(layers: Sequence[Integers], count: int) -> NDArray[np.int64]:
    """Pixels of each of the ids 1..N in layers [pixels], N being `count` or more."""
    count = max([count, *(int(layer.max(initial=0)) for layer in layers)])
    areas = np.zeros(count + 1, dtype=np.int64)
    for layer in layers:
        for ids in _parts(layer):
            areas += np.bincount(ids, minlength=len(areas))
    return areas[1:]


def _table(rows: Integers, columns: Integers, shape: tuple[int, int]) -> sparse.csr_array:
    """How often each (row, column) occurs."""
    if shape[0] * shape[1] <= CHUNK:
        keys = rows.astype(np.int64) * shape[1] + columns
        return sparse.csr_array(np.bincount(keys, minlength=shape[0] * shape[1]).reshape(shape))
    ones = np.ones(len(rows), dtype=np.int64)
    table = sparse.coo_array((ones, (rows, columns)), shape=shape).tocsr()
    table.sort_indices()
    return table
