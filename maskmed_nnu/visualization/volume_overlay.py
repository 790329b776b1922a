"""A picture of a volume with the outline of every object: three planes through its middle side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.visualization.case_pictures import Layer, draw_case, picture_size
from maskmed_nnu.visualization.overlay import class_colour
from maskmed_nnu.visualization.volume_planes import Plane, VolumeView

LONGEST = 512
"""Pixels of the volume's longest edge."""
GAP = 4


def draw_planes(
    image: NDArray[Any], ids: NDArray[Any], stuff: NDArray[Any], view: VolumeView
) -> tuple[NDArray[np.uint8], str]:
    """uint8 ``[H, W, 3]`` and which slices it shows: ``image [C, Z, Y, X]`` in grey, or in colour where C = 3, objects
    of ``ids [L, Z, Y, X]`` outlined, classes of ``stuff [Z, Y, X]`` tinted.

    Pixels are square, all planes have one scale. Where the middle shows no object, the slice that shows most is taken.
    """
    found: NDArray[np.bool_] = np.any(ids > 0, axis=0)
    channels = image if len(image) == 3 else image[:1]
    low, high = np.percentile(channels[:, ::2, ::4, ::4], (0.5, 99.5))  # a part of the voxels is enough
    edges = {plane: _edges(view, plane) for plane in view.planes}
    longest = max(max(both) for both in edges.values())
    shown, names = [], []
    for plane in view.planes:
        index = view.length(plane) // 2
        if not view.cut(found, plane, index).any():
            index = view.fullest(found, plane)
        cut = np.stack([view.cut(channel, plane, index) for channel in channels], -1)
        longest_here = max(1, round(LONGEST * max(edges[plane]) / longest))
        size = picture_size((cut.shape[0], cut.shape[1]), view.pixel(plane), longest_here)
        layers = [_layer(view.cut(layer, plane, index), view.cut(stuff, plane, index)) for layer in ids]
        shown.append(draw_case(cut, layers, size=size, window=(float(low), float(high))))
        names.append(f"{plane.name} {index}")
    return _side_by_side(shown), ", ".join(names)


def _edges(view: VolumeView, plane: Plane) -> tuple[float, float]:
    """Height and width of a plane in mm."""
    rows, columns = view.cut(np.zeros(view.shape, bool), plane, 0).shape
    height, width = view.pixel(plane)
    return rows * height, columns * width


def _layer(ids: NDArray[Any], stuff: NDArray[Any]) -> Layer:
    """Outlines of the objects in one layer, coloured by their ids; tints of stuff."""
    line_values, lines = np.unique(ids, return_inverse=True)
    area_values, areas = np.unique(stuff, return_inverse=True)
    lines, areas = lines.reshape(ids.shape) + (line_values[0] > 0), areas.reshape(stuff.shape) + (area_values[0] > 0)
    return Layer(areas, lines, _colours(area_values[area_values > 0], -1), _colours(line_values[line_values > 0], 1))


def _colours(values: NDArray[Any], sign: int) -> NDArray[np.uint8]:
    colours = [(0.0, 0.0, 0.0), *(class_colour(sign * int(value)) for value in values)]
    return np.array(colours).astype(np.uint8)


def _side_by_side(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(len(picture) for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + GAP * (len(pictures) - 1)
    whole, left = np.full((height, width, 3), 255, np.uint8), 0
    for picture in pictures:
        whole[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GAP
    return whole
