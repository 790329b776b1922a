"""What a file holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from maskmed_nnu.instances.formats.geometry import Geometry


@dataclass(frozen=True)
class Raster:
    """What a file holds: ``values [*axes]``, slowest axis first; with ``colour`` the last axis holds its samples."""

    values: NDArray[Any]
    colour: bool = False
    geometry: Geometry | None = None
