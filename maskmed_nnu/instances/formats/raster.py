"""What a file holds: values, and where its voxels lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """Where a NIfTI file's voxels lie, in ITK's terms (x, y, z): of as many dimensions as the file has."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @property
    def dimension(self) -> int:
        return len(self.spacing)

    def to(self, dimension: int) -> Geometry:
        """The same with axes of spacing 1 appended, or the last ones cut off."""
        n = min(self.dimension, dimension)
        direction = np.eye(dimension)
        direction[:n, :n] = np.reshape(self.direction, (self.dimension, self.dimension))[:n, :n]
        more = dimension - n
        return Geometry(
            self.spacing[:n] + (1.0,) * more, self.origin[:n] + (0.0,) * more, tuple(direction.ravel().tolist())
        )


@dataclass(frozen=True)
class Raster:
    """What a file holds: ``values [*axes]``, slowest axis first; with ``colour`` the last axis holds its samples."""

    values: NDArray[Any]
    colour: bool = False
    geometry: Geometry | None = None
