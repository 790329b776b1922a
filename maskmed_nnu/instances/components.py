"""Finds disconnected objects, ignores stray pixels, and gives each piece an id of its own.

Pixels that touch diagonally are connected.
"""

from __future__ import annotations

import numpy as np
from skimage.measure import label

from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.instance_map import InstanceMap

MAX_STRAY_FRACTION = (
    0.05  # of an object's pixels: pieces up to this are slips of the annotator's pen, not objects of their own
)


def multi_component_objects(ids: Integers) -> list[tuple[int, Integers]]:
    """The objects of ``ids [*spatial]`` that are not in one piece, and the sizes of their pieces, largest first."""
    return [(number, sizes) for number, _, sizes in _multi_component_objects(_components(ids), ids)]


def is_disconnected(sizes: Integers) -> bool:
    """Whether pieces of these sizes, largest first, are more than an object and stray pixels."""
    return bool(sizes[1] > MAX_STRAY_FRACTION * sizes.sum())


def count_disconnected(objects: InstanceMap) -> int:
    """How many objects are disconnected."""
    return sum(is_disconnected(sizes) for layer in objects.ids for _, sizes in multi_component_objects(layer))


def split_disconnected(objects: InstanceMap) -> InstanceMap:
    """Give each piece of a disconnected object an id of its own, from N + 1 on; the largest keeps its id.

    Stray pixels stay with the largest piece, unless they are too many for it alone.

    >>> ids = np.array([[[1, 1, 0, 1, 0, 2]]], np.int32)
    >>> split = split_disconnected(InstanceMap(ids, np.array([1, 2]), np.zeros((1, 6), np.int32)))
    >>> split.ids, split.classes
    (array([[[1, 1, 0, 3, 0, 2]]], dtype=int32), array([1, 2, 1]))
    """
    ids, classes = objects.ids.copy(), list(objects.classes)
    for layer in ids:
        components = _components(layer)
        new_id = np.zeros(components.max(initial=0) + 1, dtype=ids.dtype)
        for number, pieces, sizes in _multi_component_objects(components, layer):
            rest = int(sizes.sum())
            while len(sizes) > 1 and sizes[1] > MAX_STRAY_FRACTION * rest:
                classes.append(classes[number - 1])
                new_id[pieces[1]] = len(classes)
                rest -= int(sizes[1])
                pieces, sizes = np.delete(pieces, 1), np.delete(sizes, 1)
        moved = new_id[components]
        layer[moved > 0] = moved[moved > 0]
    return InstanceMap(ids, np.array(classes, dtype=np.int64), objects.stuff)


def _components(ids: Integers) -> Integers:
    """Connected components of equal ids, numbered from 1; 0 is the background."""
    # skimage ships py.typed, but this function has no types
    components: Integers = label(ids, connectivity=ids.ndim)
    return components


def _multi_component_objects(components: Integers, ids: Integers) -> list[tuple[int, Integers, Integers]]:
    """Per object of several ``components``: its id, the components' numbers and their sizes, largest first."""
    flat = components.reshape(-1)
    sizes = np.bincount(flat)[1:]
    object_of = np.zeros(len(sizes) + 1, dtype=np.int64)
    object_of[flat] = ids.reshape(-1)
    order = np.lexsort((-sizes, object_of[1:]))
    numbers, first, counts = np.unique(object_of[1:][order], return_index=True, return_counts=True)
    several = counts > 1
    chosen = [order[a : a + n] for a, n in zip(first[several], counts[several], strict=True)]
    return [(int(number), index + 1, sizes[index]) for number, index in zip(numbers[several], chosen, strict=True)]
