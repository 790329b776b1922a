"""Layers with objects of one class each, so that the layer determines the class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.instance_map import InstanceMap


def assign_layers(objects: InstanceMap) -> NDArray[np.int64]:
    """The layer of each object among those of its class, int64 ``[N]`` from 0 on.

    Objects of a class that share a pixel get different layers, each the first that is free (greedy colouring, layer by
    layer: never more layers than the map has). Objects that overlap none of their class stay in layer 0.

    >>> ids = np.array([[[1, 1, 2, 2]], [[0, 3, 3, 0]]], np.int32)
    >>> assign_layers(InstanceMap(ids, np.array([1, 2, 1]), np.zeros((1, 4), np.int32))).tolist()
    [0, 0, 1]
    """
    layer = np.zeros(len(objects.classes), np.int64)
    neighbours: dict[int, list[int]] = {}
    class_of = np.concatenate([[0], objects.classes])
    for below, above in combinations(objects.ids, 2):
        shared = (below > 0) & (above > 0)
        pairs = np.stack((below[shared], above[shared]), axis=1)
        pairs = pairs[class_of[pairs[:, 0]] == class_of[pairs[:, 1]]]
        for lower, upper in np.unique(pairs, axis=0).tolist():
            # an object waits for those of the layers below it, which are done first
            neighbours.setdefault(upper, []).append(lower)
    if not neighbours:
        return layer
    order = _layer_of(objects.ids, len(objects.classes))
    for number in sorted(neighbours, key=lambda number: (order[number], number)):
        taken = {int(layer[other - 1]) for other in neighbours[number]}
        layer[number - 1] = next(k for k in range(len(taken) + 1) if k not in taken)
    return layer


def stack_class_layers(objects: InstanceMap, layer: Integers, layer_classes: Sequence[int]) -> NDArray[np.int32]:
    """The ids as ``[len(layer_classes), *spatial]``: an object of class c in layer k is in the k-th layer of class c.

    Raises:
        ValueError: where a class has fewer layers than its objects need, or none.
    """
    class_of_layer = np.asarray(layer_classes, np.int64)
    target = np.zeros(1 + len(objects.classes), np.int64)
    for number in np.unique(objects.classes):
        slots = np.flatnonzero(class_of_layer == number)
        of_class = objects.classes == number
        if layer[of_class].max() >= len(slots):
            raise ValueError(f"{layer[of_class].max() + 1} layers for class {number}, there are {len(slots)}")
        target[1:][of_class] = slots[layer[of_class]]
    stack = np.zeros((len(layer_classes), *objects.ids.shape[1:]), objects.ids.dtype)
    for ids in objects.ids:
        for slot in np.unique(target[1:]):
            np.copyto(stack[slot], ids, where=(ids > 0) & (target == slot)[ids])
    return stack


def _layer_of(ids: Integers, count: int) -> NDArray[np.int64]:
    """The layer that an id is found in, ``[1 + count]``."""
    layer_of = np.zeros(1 + count, np.int64)
    for index, layer in enumerate(ids):
        layer_of[np.unique(layer)] = index
    return layer_of
