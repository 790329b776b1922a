"""What was found in an image, as the writers of files take it: areas with names on the grid of the image's file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.colours import whole_colour
from maskmed_nnu.instances.formats.geometry import Geometry
from maskmed_nnu.instances.tool_files.polygons import Ring, polygons


@dataclass(frozen=True, eq=False)
class Area:
    """One object, or one class; areas may overlap."""

    name: str
    """Unique in the image"""
    class_name: str
    class_number: int
    value: int
    """In label maps; unique in the image"""
    start: tuple[int, int, int]
    """z, y, x of the mask's first voxel"""
    mask: NDArray[np.bool_]
    """``[z, y, x]``"""
    score: float | None = None
    """Of an object; None for a class"""

    @property
    def colour(self) -> tuple[int, int, int]:
        """Of its class: red, green, blue, 0 to 255."""
        return whole_colour(self.class_number)

    def planes(self) -> Iterator[tuple[int, int, list[list[Ring]]]]:
        """For each slice with a part of the area: z, its pixels, and its `polygons`."""
        z0, y0, x0 = self.start
        for z, plane in enumerate(self.mask, z0):
            pixels = int(np.count_nonzero(plane))
            if pixels:
                yield z, pixels, polygons(plane, x0, y0)


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found in one image."""

    areas: list[Area]
    shape: tuple[int, int, int]
    """z, y, x of the image"""
    name: str = "image"
    """Of the image"""
    volume: bool = False
    """Whether the image has an axis z"""
    spacing: tuple[float, ...] | None = None
    """z, y, x in mm; None where it is not known"""
    geometry: Geometry | None = None
    """Of three dimensions; None where nothing is known"""
    channels_in_stack: bool = False
    """Whether the file has an axis of channels beside z, not colours, which makes it a hyperstack of ImageJ"""
    descriptions: dict[int, str] = field(default_factory=dict)
    """What each value of the label map stands for"""
