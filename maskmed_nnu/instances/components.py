"""Finds disconnected objects, ignores stray pixels, and gives each piece an id of its own.

Pixels that touch diagonally are connected, unless it says otherwise.
"""

from __future__ import annotations

import numpy as np
from skimage.measure import label

from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.instance_map import InstanceMap

MAX_STRAY_FRACTION = 0.05  # of an object's largest piece: others up to this are slips of the annotator's pen


def count_pieces(sizes: Integers) -> int:
    """How many of an object's pieces, of ``sizes`` from the largest on, are more than stray pixels.

    Where the small ones together outweigh the largest, none of them is stray: so are objects that share one id.

    >>> count_pieces(np.array([100, 40, 5, 5])), count_pieces(np.array([100] + 30 * [5]))
    (2, 31)
    """
    stray = sizes <= MAX_STRAY_FRACTION * sizes[0]
    return len(sizes) - (int(stray.sum()) if sizes[stray].sum() <= sizes[0] else 0)


def split_disconnected(objects: InstanceMap) -> InstanceMap:
    """Give each piece of a disconnected object an id of its own, from N + 1 on; the largest keeps its id.

    Stray pixels stay with the largest piece.

    >>> ids = np.array([[[1, 1, 0, 1, 0, 2]]], np.int32)
    >>> split = split_disconnected(InstanceMap(ids, np.array([1, 2]), np.zeros((1, 6), np.int32)))
    >>> split.ids, split.classes
    (array([[[1, 1, 0, 3, 0, 2]]], dtype=int32), array([1, 2, 1]))
    """
    ids, class_of = objects.ids.copy(), list(objects.classes)
    for layer in ids:
        pieces = components(layer)
        new_id = np.zeros(pieces.max(initial=0) + 1, dtype=ids.dtype)
        for number, parts, sizes in objects_in_pieces(pieces, layer):
            for part in parts[1 : count_pieces(sizes)]:
                class_of.append(class_of[number - 1])
                new_id[part] = len(class_of)
        moved = new_id[pieces]
        layer[moved > 0] = moved[moved > 0]
    return InstanceMap(ids, np.array(class_of, dtype=np.int64), objects.stuff)


def components(ids: Integers, connectivity: int | None = None) -> Integers:
    """Connected components of equal ids, numbered from 1; 0 is the background.

    ``connectivity`` is scikit-image's: neighbours differ by one pixel along at most so many axes; None for all.
    """
    # skimage ships py.typed, but this function has no types
    found: Integers = label(ids, connectivity=connectivity or ids.ndim)
    return found


def objects_in_pieces(pieces: Integers, ids: Integers) -> list[tuple[int, Integers, Integers]]:
    """Per object of several of the `components` ``pieces``: its id, their numbers and their sizes, largest first."""
    flat = pieces.reshape(-1)
    sizes = np.bincount(flat)[1:]
    object_of = np.zeros(len(sizes) + 1, dtype=np.int64)
    object_of[flat] = ids.reshape(-1)
    order = np.lexsort((-sizes, object_of[1:]))
    numbers, first, counts = np.unique(object_of[1:][order], return_index=True, return_counts=True)
    several = counts > 1
    chosen = [order[a : a + n] for a, n in zip(first[several], counts[several], strict=True)]
    return [(int(number), index + 1, sizes[index]) for number, index in zip(numbers[several], chosen, strict=True)]
