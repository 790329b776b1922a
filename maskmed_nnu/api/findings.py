"""From the result object to areas with names, as the writers of files for other tools take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    geometry = place(image)
    return Findings(
        areas,
        (seg.shape[0], seg.shape[1], seg.shape[2]),
        image.name,
        volume="Z" in axes,
        spacing=tuple(along.get(axis, 1.0) for axis in "ZYX") if along else None,
        geometry=None if geometry is None else geometry.to(3),
        channels_in_stack=len(image.data) > 1 and len(image.files) < 2,
        descriptions=descriptions,
    )


def _upright(prediction: Prediction, values: NDArray[Any]) -> NDArray[Any]:
    """``[z, y, x]`` of ``values [*axes]``; an image is one slice."""
    turned = values.transpose([prediction.axes.index(axis) for axis in "ZYX" if axis in prediction.axes])
    return turned if turned.ndim == 3 else turned[None]


def _objects(prediction: Prediction, seg: NDArray[Any]) -> Iterator[Area]:
    """The objects whole, those that others hide in the label map included; then stuff."""
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
            score,
        )
    assert prediction._objects is not None
    stuff = prediction._objects.instances.stuff
    if stuff.any():
        divisor = prediction._model.dataset_json["label_divisor"]
        turned = _upright(prediction, prediction._image.to_input(stuff))
        named = {prediction.names.get(number, str(number)): [number] for number in np.unique(stuff[stuff > 0]).tolist()}
        yield from _areas(turned, named, {name: numbers[0] * divisor for name, numbers in named.items()})


def _classes(prediction: Prediction, seg: NDArray[Any]) -> Iterator[Area]:
    """Classes, and regions whole: with all labels that they are made of."""
    regions = _regions(prediction._model.dataset_json)
    named = {name: regions.get(name, [number]) for number, name in prediction.names.items() if number}
    values = {name: number for number, name in prediction.names.items()}
    return _areas(seg, named, values)


def _regions(dataset_json: Mapping[str, Any]) -> dict[str, list[int]]:
    """The labels of each region, where the data set has any."""
    if not dataset_json.get("regions_class_order"):
        return {}
    return {
        name: [int(number) for number in (value if isinstance(value, (list, tuple)) else [value])]
        for name, value in dataset_json["labels"].items()
    }


def _areas(seg: NDArray[Any], labels: Mapping[str, list[int]], values: Mapping[str, int]) -> Iterator[Area]:
    """An area for each name of which ``seg [z, y, x]`` holds one of the labels, with a value for each name."""
    boxes = ndimage.find_objects(seg.astype(np.int32, copy=False))
    for name, numbers in labels.items():
        parts = [boxes[number - 1] for number in numbers if 0 < number <= len(boxes) and boxes[number - 1] is not None]
        if parts:
            starts, stops = ([[getattr(axis, end) for axis in part] for part in parts] for end in ("start", "stop"))
            start, stop = np.min(starts, axis=0).tolist(), np.max(stops, axis=0).tolist()
            box = tuple(slice(first, last) for first, last in zip(start, stop, strict=True))
            mask = np.isin(seg[box], numbers)
            value = values[name]
            yield Area(name, name, min(numbers), value, (start[0], start[1], start[2]), mask)
