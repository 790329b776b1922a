"""The objects of one image, on the grid of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections
from maskmed_nnu.instances.instance_map import InstanceMap


@dataclass(frozen=True, eq=False)
class Objects:
    """What the network found, as `array_prediction.FoundObjects` has it."""

    instances: InstanceMap
    slices: list[Detections]
    """Of the plan's first axis, down to a low score"""
    values: list[NDArray[np.int64]]
    threshold: float
    transpose_backward: tuple[int, ...]

    def likely(self) -> list[Detections]:
        """Those that reach the planned score."""
        return [part.select(part.scores >= self.threshold) for part in self.slices]


@dataclass(frozen=True, eq=False)
class ObjectList:
    """``N`` objects: ids, scores, classes ``[N]``, boxes ``[N, 2·dim]`` and cropped masks."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    boxes: NDArray[np.int64]
    masks: list[NDArray[np.bool_]]


def on_grid(objects: Objects, axes: str) -> ObjectList:
    """The likely objects, of which each box is start and stop along ``axes``, as "YX" or "ZYX"."""
    order = ["ZYX".index(axis) for axis in axes]
    dropped = tuple(axis for axis in range(3) if "ZYX"[axis] not in axes)
    ids, scores, classes, boxes, masks = [], [], [], [], []
    for index, (part, values) in enumerate(zip(objects.slices, objects.values, strict=True)):
        for i in np.flatnonzero(part.scores >= objects.threshold):
            y0, x0 = part.boxes[i, :2].tolist()
            inside = part.masks[i] >= MASK_THRESHOLD
            rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
            tight = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # a soft mask may end before its box
            start = np.array([index, y0 + rows[0], x0 + columns[0]])[list(objects.transpose_backward)]
            mask = inside[tight][None].transpose(objects.transpose_backward)
            stop = start + mask.shape
            ids.append(values[i])
            scores.append(part.scores[i])
            classes.append(part.classes[i])
            boxes.append([*start[order], *stop[order]])
            kept = mask.transpose([*order, *dropped])
            masks.append(kept.reshape(kept.shape[: len(order)]))
    return ObjectList(
        np.array(ids, np.int64),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
        np.array(boxes, np.int64).reshape(-1, 2 * len(order)),
        masks,
    )


def table_of(found: ObjectList, axes: str, spacing: tuple[float, ...] | None, names: dict[int, str]) -> dict[str, Any]:
    """Columns: id, class, score, pixels, size in mm, centroid and box; see `Prediction.to_table`."""
    pixels = np.array([np.count_nonzero(mask) for mask in found.masks], np.int64)
    centres = [
        [np.mean(where) + start for where, start in zip(np.nonzero(mask), box, strict=False)]
        for mask, box in zip(found.masks, found.boxes.tolist(), strict=True)
    ]
    centre = np.array(centres, np.float64).reshape(-1, len(axes))
    columns: dict[str, Any] = {
        "id": found.ids,
        "class": [names.get(number, str(number)) for number in found.classes.tolist()],
        "score": found.scores,
        "pixels": pixels,
    }
    if spacing is not None:
        in_plane = [value for axis, value in zip(axes, spacing, strict=True) if axis in "YX"]
        columns["area_mm2"] = pixels * float(np.prod(in_plane))
    for position, axis in enumerate(axes.lower()):
        columns[axis] = centre[:, position]
    for suffix, offset in (("0", 0), ("1", len(axes))):
        for position, axis in enumerate(axes.lower()):
            columns[f"{axis}{suffix}"] = found.boxes[:, offset + position]
    return columns
