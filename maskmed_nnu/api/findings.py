"""From the result object to areas with names, as the writers of files for other tools take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmed_nnu.api.grids import place
from maskmed_nnu.instances.tool_files import Area, Findings

if TYPE_CHECKING:
    from maskmed_nnu.api.prediction import Prediction


def findings(prediction: Prediction) -> Findings:
    """What was found, on the grid of the input's file: z, y, x."""
    image, axes = prediction._image, prediction.axes
    seg = _upright(prediction, image.to_input(prediction._raw[0]))
    areas = list(_classes(prediction, seg) if prediction._objects is None else _objects(prediction, seg))
    descriptions = dict(prediction.names)
    if prediction._objects is not None:
        shown = set(np.unique(prediction.labels).tolist())
        descriptions = {area.value: area.name for area in areas if area.value in shown}
    along = dict(zip(axes, prediction.spacing or (), strict=False))
    channels = list(prediction._model.dataset_json.get("channel_names", {}).values())
    geometry = place(image)
    return Findings(
        areas,
        (seg.shape[0], seg.shape[1], seg.shape[2]),
        image.name,
        volume="Z" in axes,
        spacing=tuple(along.get(axis, 1.0) for axis in "ZYX") if along else None,
        geometry=None if geometry is None else geometry.to(3),
        channels_in_stack=len(image.data) > 1 and len(image.files) < 2 and channels != ["R", "G", "B"],
        descriptions=descriptions,
    )


def _upright(prediction: Prediction, values: NDArray[Any]) -> NDArray[Any]:
    """``[z, y, x]`` of ``values [*axes]``; an image is one slice."""
    turned = values.transpose([prediction.axes.index(axis) for axis in "ZYX" if axis in prediction.axes])
    return turned if turned.ndim == 3 else turned[None]


def _objects(prediction: Prediction, seg: NDArray[Any]) -> Iterator[Area]:
    """The objects whole, those that others hide in the label map included; then what is not counted."""
    axes, dimension = prediction.axes, len(prediction.axes)
    fresh = int(prediction.labels.max(initial=0))  # for hidden objects, which have no value in the label map
    for number, value, score, box, mask in zip(
        prediction.classes.tolist(),
        prediction.ids.tolist(),
        prediction.scores.tolist(),
        prediction.boxes.tolist(),
        prediction.masks,
        strict=True,
    ):
        if not value:
            fresh += 1
        first = dict(zip(axes, box[:dimension], strict=True))
        name = prediction.names.get(number, str(number))
        yield Area(
            f"{name} {value or fresh}",
            name,
            number,
            value or fresh,
            (first.get("Z", 0), first["Y"], first["X"]),
            _upright(prediction, mask),
            round(score, 6),
        )
    divisor = prediction._model.dataset_json.get("label_divisor")
    if divisor is not None:  # then there may be classes that are not counted, where no object is
        names = prediction.names.items()
        yield from _areas(seg, [(name, number, [number * divisor], number * divisor) for number, name in names])


def _classes(prediction: Prediction, seg: NDArray[Any]) -> Iterator[Area]:
    """Classes, and regions whole: with all labels that they are made of."""
    regions = _regions(prediction._model.dataset_json)
    names = prediction.names.items()
    return _areas(seg, [(name, number, regions.get(name, [number]), number) for number, name in names])


def _regions(dataset_json: Mapping[str, Any]) -> dict[str, list[int]]:
    """The labels of each region, where the data set has any."""
    if not dataset_json.get("regions_class_order"):
        return {}
    return {
        name: [int(number) for number in (value if isinstance(value, (list, tuple)) else [value])]
        for name, value in dataset_json["labels"].items()
    }


def _areas(seg: NDArray[Any], wanted: Iterable[tuple[str, int, list[int], int]]) -> Iterator[Area]:
    """An area for each class that ``seg [z, y, x]`` holds: its name, its number, its labels in ``seg``, its value."""
    boxes = ndimage.find_objects(seg.astype(np.int32, copy=False))
    for name, number, labels, value in wanted:
        parts = [boxes[label - 1] for label in labels if 0 < label <= len(boxes) and boxes[label - 1] is not None]
        if parts:
            starts, stops = ([[getattr(axis, end) for axis in part] for part in parts] for end in ("start", "stop"))
            start, stop = np.min(starts, axis=0).tolist(), np.max(stops, axis=0).tolist()
            box = tuple(slice(first, last) for first, last in zip(start, stop, strict=True))
            mask = np.isin(seg[box], labels)
            yield Area(name, name, number, value, (start[0], start[1], start[2]), mask)
