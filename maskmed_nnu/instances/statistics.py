"""Statistics of a data set's objects: number, size, distance, overlap; of whole volumes, or of their slices.

For a 2D network every slice of a volume counts as an image of its own, and an object as one object per slice that
shows it, because that is what it sees. Lengths, areas and volumes are in units of the spacing given (pixels where it
is 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.boxes import find_boxes
from maskmed_nnu.instances.class_layers import assign_layers
from maskmed_nnu.instances.instance_map import InstanceMap

AXES = "zyx"
PERCENTILES = (0.5, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5)


class InstanceTable(NamedTuple):
    """Measurements of some images of ``dim`` axes: ``N`` objects, ``K`` classes.

    Of volumes that are measured slice by slice, ``S`` counts slices and ``I`` volumes, else both count images.
    """

    classes: NDArray[np.int64]
    """``[N]`` class number"""
    areas: NDArray[np.float64]
    """``[N]`` areas, or volumes"""
    extents: NDArray[np.float64]
    """``[N, dim]`` edges of the box"""
    cut: Mask
    """``[N, dim]`` whether the border of a volume cuts the object off along the axis; False of slices"""
    spans: NDArray[np.int64]
    """``[N]`` positions along the first axis that show the object: of a volume, slices"""
    spacings: NDArray[np.float64]
    """``[N]`` distance to the nearest centre of the same class; NaN for the only object of its class"""
    counts: Integers
    """``[S, K]`` objects of each class"""
    sizes: NDArray[np.float64]
    """``[S, dim]`` edges of the image"""
    depths: Integers
    """``[I, K]`` most objects of a class at one pixel"""
    layers: NDArray[np.int64]
    """``[I, K]`` layers that the objects of a class need"""
    unindexed: Integers
    """``[I, K]`` pixels of a class that belong to no object of it: stuff, or a crowd"""


def measure(objects: InstanceMap, *, num_classes: int, spacing: Sequence[float] = (1.0, 1.0)) -> InstanceTable:
    """The table of one image; ``objects.ids`` is ``[L, Y, X]`` or ``[L, Z, Y, X]``.

    ``spacing`` has an entry for each axis that is measured: a volume with that of y and x is measured slice by slice.
    """
    dim, ids = len(spacing), objects.ids
    class_of = np.concatenate([[0], objects.classes]).astype(np.int64)
    unit = np.asarray(spacing, float)
    names = ("classes", "areas", "extents", "cut", "spans", "spacings", "counts", "sizes")
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    spatial = np.array(ids.shape[-dim:])
    for image in np.moveaxis(ids.reshape(len(ids), math.prod(ids.shape[1:-dim]), *spatial), 1, 0):
        found = find_boxes(image)
        starts, stops = found.boxes[:, :dim], found.boxes[:, dim:]
        classes = class_of[found.ids]
        # what reaches from border to border is as large as one can see
        cut = (starts == 0) != (stops == spatial)
        columns["classes"].append(classes)
        columns["areas"].append(found.areas * unit.prod())
        columns["extents"].append((stops - starts) * unit)
        columns["cut"].append(cut & (dim == len(AXES)))
        columns["spans"].append(stops[:, 0] - starts[:, 0])
        columns["spacings"].append(_spacings(found.centres * unit, classes))
        columns["counts"].append(np.bincount(classes, minlength=num_classes + 1)[None, 1:])
        columns["sizes"].append(spatial * unit[None])
    layer = assign_layers(objects)
    needed = np.zeros((1, num_classes), np.int64)
    np.maximum.at(needed[0], objects.classes - 1, layer + 1)
    return InstanceTable(
        **{name: np.concatenate(parts) for name, parts in columns.items()},
        depths=_depths(objects, class_of, num_classes)[None],
        layers=needed,
        # slice by slice: numpy counts a copy of eight bytes for each value
        unindexed=np.sum([np.bincount(part.ravel(), minlength=num_classes + 1) for part in objects.stuff], 0)[None, 1:],
    )


def merge(tables: Iterable[InstanceTable]) -> InstanceTable:
    """The table of all their images; the order does not matter to `summarise`."""
    return InstanceTable(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))


def summarise(table: InstanceTable, classes: dict[str, int]) -> dict[str, Any]:
    """Plain numbers for JSON: of all objects under ``all``, and per class name under ``classes``.

    A class with objects is a ``thing``, and its pixels without an object are a crowd. A class with only such pixels is
    ``stuff``. A class without pixels is ``absent``.

    Volumes have the keys of slices: ``slices`` counts volumes, ``area`` is the volume of an object. Besides, ``z``
    stands among the axes, and ``spans`` tells how many slices show an object.
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
        "size": _by_axis(table.sizes),
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
    extents = _whole_extents(table.extents[selected], table.cut[selected])
    in_plane = extents[:, -2:]
    occupied = counts > 0
    summary = {
        "objects": int(selected.sum()),
        "slices_without": int((~occupied).sum()),
        "objects_per_slice": describe(counts),
        # of slices that show any: those that show none say nothing about how dense the others are
        "density": describe(counts[occupied] / table.sizes[occupied].prod(1)),
        "area": describe(table.areas[selected]),
        "extent": {
            **_by_axis(extents),
            # of an object that is cut off along one of them the other one
            "shorter": describe(np.fmin(*in_plane.T)),
            "longer": describe(np.fmax(*in_plane.T)),
        },
        "spacing": describe(table.spacings[selected]),
    }
    if extents.shape[1] == len(AXES):
        summary["spans"] = describe(table.spans[selected])
    return summary


def _whole_extents(extents: NDArray[np.float64], cut: Mask) -> NDArray[np.float64]:
    """NaN where an object is cut off, along axes where others are whole: the border cuts off a third of the objects of
    a small volume, which would pass for small ones."""
    return np.where(cut & ~cut.all(0), np.nan, extents)


def _by_axis(edges: NDArray[np.float64]) -> dict[str, dict[str, float] | None]:
    return {name: describe(column) for name, column in zip(AXES[-edges.shape[1] :], edges.T, strict=True)}


def _spacings(centres: NDArray[np.float64], classes: Integers) -> NDArray[np.float64]:
    spacings = np.full(len(centres), np.nan)
    for number in np.unique(classes):
        of_class = np.flatnonzero(classes == number)
        if len(of_class) > 1:
            spacings[of_class] = cKDTree(centres[of_class]).query(centres[of_class], k=2)[0][:, 1]
    return spacings


def _depths(objects: InstanceMap, class_of: Integers, num_classes: int) -> Integers:
    if len(objects.ids) == 1:  # a volume's ids need not be looked at again
        return np.isin(np.arange(1, num_classes + 1), objects.classes).astype(np.int64)
    classes = class_of[objects.ids]
    return np.array([(classes == number).sum(0).max(initial=0) for number in range(1, num_classes + 1)])
