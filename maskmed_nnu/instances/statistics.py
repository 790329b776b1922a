"""Statistics of a data set's objects: number, size, distance, overlap.

Every slice of a volume counts as an image of its own, and an object as one object per slice that shows it, because
that is what a 2D network sees. Lengths and areas are in units of the spacing given (pixels where it is 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.boxes import find_boxes
from maskmed_nnu.instances.class_layers import assign_layers
from maskmed_nnu.instances.instance_map import InstanceMap

PERCENTILES = (0.5, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5)


class InstanceTable(NamedTuple):
    """Measurements of some images: ``N`` objects on ``S`` slices of ``I`` images, ``K`` classes."""

    classes: NDArray[np.int64]
    """``[N]`` class number"""
    areas: NDArray[np.float64]
    """``[N]``"""
    extents: NDArray[np.float64]
    """``[N, 2]`` edges of the box, y and x"""
    spacings: NDArray[np.float64]
    """``[N]`` distance to the nearest centre of the same class; NaN for the only object of its class in a slice"""
    counts: Integers
    """``[S, K]`` objects of each class"""
    sizes: NDArray[np.float64]
    """``[S, 2]`` edges of the slice, y and x"""
    depths: Integers
    """``[I, K]`` most objects of a class at one pixel"""
    layers: NDArray[np.int64]
    """``[I, K]`` layers that the objects of a class need"""
    unindexed: Integers
    """``[I, K]`` pixels of a class that belong to no object of it: stuff, or a crowd"""


def measure(objects: InstanceMap, *, num_classes: int, spacing: Sequence[float] = (1.0, 1.0)) -> InstanceTable:
    """The table of one image; ``objects.ids`` is ``[L, Y, X]`` or ``[L, Z, Y, X]``, ``spacing`` that of y and x."""
    ids = objects.ids if objects.ids.ndim == 4 else objects.ids[:, None]
    class_of = np.concatenate([[0], objects.classes]).astype(np.int64)
    unit = np.asarray(spacing, float)
    columns: dict[str, list[NDArray[Any]]] = {"classes": [], "areas": [], "extents": [], "spacings": [], "counts": []}
    for z in range(ids.shape[1]):
        in_slice = find_boxes(ids[:, z])
        classes = class_of[in_slice.ids]
        columns["classes"].append(classes)
        columns["areas"].append(in_slice.areas * unit.prod())
        columns["extents"].append((in_slice.boxes[:, 2:] - in_slice.boxes[:, :2]) * unit)
        columns["spacings"].append(_spacings(in_slice.centres * unit, classes))
        columns["counts"].append(np.bincount(classes, minlength=num_classes + 1)[None, 1:])
    layer = assign_layers(objects)
    needed = np.zeros((1, num_classes), np.int64)
    np.maximum.at(needed[0], objects.classes - 1, layer + 1)
    return InstanceTable(
        **{name: np.concatenate(parts) for name, parts in columns.items()},
        sizes=np.tile(np.array(ids.shape[2:]) * unit, (ids.shape[1], 1)),
        depths=_depths(objects, class_of, num_classes)[None],
        layers=needed,
        unindexed=np.bincount(objects.stuff.ravel(), minlength=num_classes + 1)[None, 1:],
    )


def merge(tables: Iterable[InstanceTable]) -> InstanceTable:
    """The table of all their images; the order does not matter to `summarise`."""
    return InstanceTable(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))


def summarise(table: InstanceTable, classes: dict[str, int]) -> dict[str, Any]:
    """Plain numbers for JSON: of all objects under ``all``, and per class name under ``classes``.

    A class with objects is a ``thing``, and its pixels without an object are a crowd. A class with only such pixels is
    ``stuff``. A class without pixels is ``absent``.
    """
    per_class = {}
    for name, number in classes.items():
        of_class = table.classes == number
        unindexed = int(table.unindexed[:, number - 1].sum())
        per_class[name] = {
            "number": int(number),
            "kind": "thing" if of_class.any() else "stuff" if unindexed else "absent",
            "unindexed_pixels": unindexed,
            "overlap_depth": int(table.depths[:, number - 1].max()),
            "layers": int(table.layers[:, number - 1].max()),
            **_summary(table, of_class, table.counts[:, number - 1]),
        }
    all_objects = np.ones(len(table.classes), bool)
    return {
        "slices": len(table.sizes),
        "size": {"y": describe(table.sizes[:, 0]), "x": describe(table.sizes[:, 1])},
        "all": _summary(table, all_objects, table.counts.sum(1)),
        "classes": per_class,
    }


def describe(values: NDArray[Any]) -> dict[str, float] | None:
    """Mean, extremes and percentiles, None where there are no values.

    >>> describe(np.array([1, 2, 3, 4]))["50"]
    2.5
    """
    values = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if not len(values):
        return None
    named = {"mean": values.mean(), "min": values.min(), "max": values.max()}
    named |= {f"{q:g}": value for q, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
    return {name: float(f"{value:.6g}") for name, value in named.items()}  # densities are tiny


def _summary(table: InstanceTable, selected: Mask, counts: Integers) -> dict[str, Any]:
    extents = table.extents[selected]
    occupied = counts > 0
    return {
        "objects": int(selected.sum()),
        "slices_without": int((~occupied).sum()),
        "objects_per_slice": describe(counts),
        # of slices that show any: those that show none say nothing about how dense the others are
        "density": describe(counts[occupied] / table.sizes[occupied].prod(1)),
        "area": describe(table.areas[selected]),
        "extent": {
            "y": describe(extents[:, 0]),
            "x": describe(extents[:, 1]),
            "shorter": describe(extents.min(1)),
            "longer": describe(extents.max(1)),
        },
        "spacing": describe(table.spacings[selected]),
    }


def _spacings(centres: NDArray[np.float64], classes: Integers) -> NDArray[np.float64]:
    spacings = np.full(len(centres), np.nan)
    for number in np.unique(classes):
        of_class = np.flatnonzero(classes == number)
        if len(of_class) > 1:
            spacings[of_class] = cKDTree(centres[of_class]).query(centres[of_class], k=2)[0][:, 1]
    return spacings


def _depths(objects: InstanceMap, class_of: Integers, num_classes: int) -> Integers:
    classes = class_of[objects.ids]
    return np.array([(classes == number).sum(0).max(initial=0) for number in range(1, num_classes + 1)])
