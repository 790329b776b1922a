"""The resolution and unit of a TIFF, for label maps that keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.formats.tiff_spacing import MICROMETRES, factor, micrometres, ratio

NO_UNIT, CENTIMETRE = 1, 3
"""Values of the tag ResolutionUnit."""
IMAGEJ_TYPES = (np.uint8, np.uint16)
IMAGEJ_BYTES = 2**32 - 2**20
"""ImageJ's own TIFFs are no BigTIFFs."""


@dataclass(frozen=True)
class TiffScale:
    """What a TIFF says of the size of its pixels; where only tags say it, they are kept and not understood."""

    resolution: tuple[float, float]
    """Pixels for a unit along x and y"""
    resolution_unit: int
    """The tag ResolutionUnit"""
    unit: str = ""
    """ImageJ's, as "um"; empty where there are tags only"""
    distance: float | None = None
    """Between slices, in ImageJ's unit"""

    @classmethod
    def of_spacing(cls, spacing: Sequence[float]) -> TiffScale:
        """Of pixels of ``spacing`` (z,) y, x in mm.

        >>> TiffScale.of_spacing((0.002, 0.0005, 0.0005))
        TiffScale(resolution=(2.0, 2.0), resolution_unit=1, unit='um', distance=2.0)
        """
        unit = "um" if min(spacing) < 0.1 else "mm"
        *z, y, x = (round(value / (MICROMETRES["µm" if unit == "um" else unit] / 1000), 12) for value in spacing)
        return cls((1 / x, 1 / y), NO_UNIT, unit, z[0] if z else None)

    @classmethod
    def of_file(cls, file: Any, series: Any, *, turned: bool) -> TiffScale | None:
        """What the open TIFF tells of ``series``; ``turned`` says that its rows are columns of the picture."""
        tags = series.keyframe.tags
        found = None
        try:
            if series.kind == "ome":
                lengths = micrometres(file, series)
                found = None if lengths is None else cls.of_spacing([v / 1000 for v in lengths[::-1] if v is not None])
            elif "XResolution" in tags and "YResolution" in tags:
                told = (file.imagej_metadata or {}) if series.kind == "imagej" else {}
                x, y = (ratio(tags[name].value) for name in ("XResolution", "YResolution"))
                tag = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 2
                distance = abs(float(told.get("spacing", 1))) if told.get("unit") else None
                found = cls((x, y), tag, str(told.get("unit", "")).replace("\\u00B5", "µ"), distance)
        except (ValueError, TypeError, ZeroDivisionError):
            return None
        if (
            found is None
            or found == cls((1.0, 1.0), NO_UNIT)
            or not all(0 < v < float("inf") for v in found.resolution)
        ):
            return None
        return replace(found, resolution=found.resolution[::-1]) if turned else found

    def millimetres(self, *, volume: bool) -> tuple[float, ...] | None:
        """(z,) y, x; None where one is not told, the unit is none of length, or is told by tags only."""
        length = factor(self.unit)
        if length is None or (volume and self.distance is None):
            return None
        plane = (length / self.resolution[1] / 1000, length / self.resolution[0] / 1000)
        return (self.distance * length / 1000, *plane) if volume and self.distance is not None else plane

    def plain(self) -> TiffScale:
        """The same by tags only, for files that ImageJ's metadata cannot describe."""
        length = factor(self.unit)
        if not self.unit:
            return self
        if length is None:
            return TiffScale(self.resolution, self.resolution_unit)
        x, y = (value * 1e4 / length for value in self.resolution)
        return TiffScale((x, y), CENTIMETRE)

    def options(self, values: NDArray[Any]) -> dict[str, Any]:
        """For ``tifffile.imwrite`` of ``values [(z,) y, x]``: as ImageJ writes where it can hold them."""
        volume = values.ndim == 3
        if not self.unit or values.ndim > 3 or values.dtype.type not in IMAGEJ_TYPES or values.nbytes > IMAGEJ_BYTES:
            plain = self.plain()
            return {"resolution": plain.resolution, "resolutionunit": plain.resolution_unit}
        metadata: dict[str, Any] = {"axes": "ZYX" if volume else "YX", "unit": _in_ascii(self.unit)}
        if volume and self.distance is not None:
            metadata["spacing"] = self.distance
        # ImageJ takes the slices of its own stacks for uncompressed
        compression = {"compression": None} if volume else {}
        return {"imagej": True, "resolution": self.resolution, "metadata": metadata, **compression}


def _in_ascii(unit: str) -> str:
    """As ImageJ's metadata have it: um, and other letters as Java's properties write them."""
    plain = unit.replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
    return "".join(letter if letter.isascii() else f"\\u{ord(letter):04X}" for letter in plain)
