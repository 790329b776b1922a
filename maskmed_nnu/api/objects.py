"""The objects of one image, on the grid of the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections, from_instance_map
from maskmed_nnu.instances.instance_map import InstanceMap

if TYPE_CHECKING:
    from maskmed_nnu.instances.formats import Geometry


@dataclass(frozen=True, eq=False)
class Objects:
    """What the network found, as `array_prediction.FoundObjects` has it."""

    instances: InstanceMap
    slices: list[Detections]
    """Of the volume, or of each slice along the plan's first axis, down to a low score"""
    values: list[NDArray[np.int64]]
    threshold: float
    transpose_backward: tuple[int, ...]

    @property
    def in_space(self) -> bool:
        """Whether they are objects of a volume, rather than of its slices."""
        return self.slices[0].dim == 3

    def on_file(self, least: float) -> list[Detections]:
        """Those of at least this score, of a volume with the axes of its file; slices have the plan's."""
        parts = [part.select(part.scores >= least) for part in self.slices]
        if not self.in_space:
            return parts
        back, (part,) = list(self.transpose_backward), parts
        return [
            replace(
                part,
                shape=tuple(part.shape[axis] for axis in back),
                boxes=part.boxes[:, [*back, *(3 + axis for axis in back)]],
                masks=[mask.transpose(back) for mask in part.masks],
                stuff=None if part.stuff is None else part.stuff.transpose(back),
            )
        ]

    def of_slice(self, index: int) -> Detections:
        """What the label map shows in slice ``index`` of the file."""
        found = self.instances
        return from_instance_map(found.ids[:, index], found.classes, found.stuff[index])


@dataclass(frozen=True, eq=False)
class ObjectList:
    """``N`` objects: ids, scores, classes ``[N]``, boxes ``[N, 2·dim]`` and cropped masks."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    boxes: NDArray[np.int64]
    masks: list[NDArray[np.bool_]]
    thin: int | None
    """Axis along which each is a single slice of a volume"""


def on_grid(objects: Objects, axes: str) -> ObjectList:
    """The likely objects, of which each box is start and stop along ``axes``, as "YX" or "ZYX"."""
    order = ["ZYX".index(axis) for axis in axes]
    dropped = tuple(axis for axis in range(3) if "ZYX"[axis] not in axes)
    backward = list(objects.transpose_backward)
    ids, scores, classes, boxes, masks = [], [], [], [], []
    for index, (part, values) in enumerate(zip(objects.slices, objects.values, strict=True)):
        for i in np.flatnonzero(part.scores >= objects.threshold):
            inside = part.masks[i] >= MASK_THRESHOLD
            (tight,) = ndimage.find_objects(inside.astype(np.uint8))  # a soft mask may end before its box
            corner = part.boxes[i, : part.dim] + [along.start for along in tight]
            mask = inside[tight]
            if not objects.in_space:
                corner, mask = [index, *corner], mask[None]
            start, mask = np.array(corner)[backward], mask.transpose(backward)
            stop = start + mask.shape
            ids.append(values[i])
            scores.append(part.scores[i])
            classes.append(part.classes[i])
            boxes.append([*start[order], *stop[order]])
            kept = mask.transpose([*order, *dropped])
            masks.append(kept.reshape(kept.shape[: len(order)]))
    slices_along = "ZYX"[backward.index(0)]
    return ObjectList(
        np.array(ids, np.int64),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
        np.array(boxes, np.int64).reshape(-1, 2 * len(order)),
        masks,
        axes.index(slices_along) if not objects.in_space and slices_along in axes else None,
    )


def table_of(
    found: ObjectList,
    axes: str,
    shape: Sequence[int],
    spacing: tuple[float, ...] | None,
    names: Mapping[int, str],
    place: Geometry | None,
) -> dict[str, Any]:
    """Columns of `Prediction.to_table`; ``shape`` and ``spacing`` along ``axes``, ``place`` of the input in space."""
    dim = len(axes)
    along = [axis for axis in range(dim) if axis != found.thin]
    pixels = np.array([np.count_nonzero(mask) for mask in found.masks], np.int64)
    centres = [
        [np.mean(where) + start for where, start in zip(np.nonzero(mask), box, strict=False)]
        for mask, box in zip(found.masks, found.boxes.tolist(), strict=True)
    ]
    centre = np.array(centres, np.float64).reshape(-1, dim)
    area = pixels * (1.0 if spacing is None else float(np.prod([spacing[axis] for axis in along])))
    columns: dict[str, Any] = {
        "id": found.ids,
        "class": [names.get(number, str(number)) for number in found.classes.tolist()],
        "score": found.scores,
        "pixels": pixels,
    }
    if spacing is not None:
        columns["volume_mm3" if len(along) == 3 else "area_mm2"] = area
    columns["area"] = area
    columns["equivalent_diameter_area"] = (2 * len(along) * area / np.pi) ** (1 / len(along))
    columns |= {f"centroid-{axis}": centre[:, axis] for axis in range(dim)}
    columns |= {f"bbox-{index}": found.boxes[:, index] for index in range(2 * dim)}
    if spacing is not None and place is not None:
        forward = [axes.index(axis) for axis in "XYZ" if axis in axes]
        axes_in_space = place.to(len(forward))
        steps = centre[:, forward] * axes_in_space.spacing
        world = steps @ axes_in_space.axes.T + axes_in_space.origin
        columns |= {f"world_{axis}": world[:, position] for position, axis in enumerate("xyz"[: len(forward)])}
    first, last = found.boxes[:, along], found.boxes[:, [dim + axis for axis in along]]
    columns["touches_border"] = ((first == 0) | (last == np.asarray(shape)[along])).any(1)
    return columns
