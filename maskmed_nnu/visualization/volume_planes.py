"""Planes through volumes as radiologists look at them: upright, the patient's right on the left, pixels square.

A volume is turned by its header to the closest axes of the body; it is not resampled, so that planes of an oblique one
are those in which it was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.formats.world_axes import in_world_order, turned_to_world

COARSER = 1.5
"""From this ratio of spacings on, a volume is looked through along its coarse axis, as it was taken."""


class Plane(NamedTuple):
    """A way to cut a volume: across the world's ``axis``; ``edges`` are what lies left, right, above and below."""

    name: str
    axis: int
    edges: tuple[str, str, str, str]


AXIAL = Plane("axial", 2, ("R", "L", "A", "P"))
CORONAL = Plane("coronal", 1, ("R", "L", "S", "I"))
SAGITTAL = Plane("sagittal", 0, ("A", "P", "S", "I"))
AS_STORED = (
    Plane("z", 2, ("", "", "", "")),
    Plane("y", 1, ("", "", "", "")),
    Plane("x", 0, ("", "", "", "")),
)
"""Of a volume that does not say how it lies: cut across its axes."""


@dataclass(frozen=True)
class VolumeView:
    """How a volume ``[Z, Y, X]`` with these ``codes`` (see `world_axes`; None where it tells none) is looked at.

    >>> view = VolumeView("LPS", (3.0, 1.0, 1.0), (2, 4, 5))
    >>> [plane.name for plane in view.planes], view.pixel(CORONAL)
    (['axial', 'coronal', 'sagittal'], (3.0, 1.0))
    """

    codes: str | None
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Those across which there is something to see: of a single slice, the slice itself."""
        every = (AXIAL, CORONAL, SAGITTAL) if self.codes else AS_STORED
        thin = [plane for plane in every if self.length(plane) == 1]
        return tuple(thin[:1]) or every

    @property
    def main(self) -> Plane:
        """The plane to page through: that of the finest pixels, axial where there is no clear one."""
        planes = self.planes
        steps = [self._world_spacing[plane.axis] for plane in planes]
        coarsest = int(np.argmax(steps))
        return planes[coarsest] if steps[coarsest] >= COARSER * steps[0] else planes[0]

    def length(self, plane: Plane) -> int:
        """How many slices there are."""
        return int(in_world_order(tuple(float(n) for n in self.shape), self.codes)[plane.axis])

    def pixel(self, plane: Plane) -> tuple[float, float]:
        """Height and width of a pixel, in mm."""
        across, down = (axis for axis in range(3) if axis != plane.axis)
        return self._world_spacing[down], self._world_spacing[across]

    def cut(self, volume: NDArray[Any], plane: Plane, index: int) -> NDArray[Any]:
        """A slice ``[rows, columns]`` of ``volume [Z, Y, X]``, as it is looked at; a view."""
        flat: NDArray[Any] = np.moveaxis(turned_to_world(volume, self.codes), plane.axis, 0)[index].T
        return flat[::-1] if self.codes and plane.axis != 2 else flat

    def fullest(self, mask: NDArray[np.bool_], plane: Plane) -> int:
        """The slice with most of ``mask [Z, Y, X]``; the middle one where it is empty."""
        counts = self._counts(mask, plane)
        return int(np.argmax(counts)) if counts.any() else len(counts) // 2

    def slices(self, mask: NDArray[np.bool_], plane: Plane, most: int) -> list[int]:
        """Up to ``most`` slices, evenly spread over those that hold some of ``mask`` and one on either side, in the
        order from above to below; of a volume without any, over all."""
        counts = self._counts(mask, plane)
        held = np.flatnonzero(counts) if counts.any() else np.arange(len(counts))
        first, last = max(int(held[0]) - 1, 0), min(int(held[-1]) + 1, len(counts) - 1)
        chosen: list[int] = np.unique(
            np.linspace(first, last, min(most, last - first + 1)).round().astype(int)
        ).tolist()
        return chosen[::-1] if self.codes and plane.axis == 2 else chosen

    def _counts(self, mask: NDArray[np.bool_], plane: Plane) -> NDArray[np.int64]:
        world = turned_to_world(mask, self.codes)
        counts: NDArray[np.int64] = world.sum(tuple(axis for axis in range(3) if axis != plane.axis))
        return counts

    @property
    def _world_spacing(self) -> Sequence[float]:
        return in_world_order(self.spacing, self.codes)
