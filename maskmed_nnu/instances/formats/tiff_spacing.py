"""How far the voxels of a TIFF lie apart, where ImageJ's or OME's metadata tell it.

The resolution tag alone is not believed: it is that of a printer (72 or 300 dots an inch) unless ImageJ says its unit.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from xml.etree import ElementTree

Distances: TypeAlias = tuple[float, float, float | None]

MICROMETRES = {"nm": 1e-3, "µm": 1.0, "mm": 1e3}
_NAMES = {
    "um": "µm",
    "μm": "µm",
    "micron": "µm",
    "microns": "µm",
    "micrometer": "µm",
    "micrometers": "µm",
    "nanometer": "nm",
}


def micrometres(file: Any, series: Any) -> Distances | None:
    """The spacing (x, y, z) of ``series``, z None where it is not told; None if the file has no spacing."""
    try:
        found = _of_ome(file, series) if series.kind == "ome" else _of_imagej(file, series)
    except (ValueError, KeyError, TypeError, ZeroDivisionError, ElementTree.ParseError):
        return None
    if found is None or not all(0 < length < float("inf") for length in found if length is not None):
        return None
    return found


def factor(unit: object) -> float | None:
    """Micrometres of a unit of length; None for others."""
    name = str(unit).strip().replace("\\u00B5", "µ").lower()
    return MICROMETRES.get(_NAMES.get(name, name))


def _of_imagej(file: Any, series: Any) -> Distances | None:
    told = file.imagej_metadata or {}
    length = factor(told.get("unit"))
    if series.kind != "imagej" or length is None:
        return None
    per_unit = [ratio(series.keyframe.tags[name].value) for name in ("XResolution", "YResolution")]
    # ImageJ leaves a distance between slices out that is 1
    return length / per_unit[0], length / per_unit[1], length * abs(float(told.get("spacing", 1)))


def ratio(value: Any) -> float:
    """A tag of two whole numbers."""
    return value[0] / value[1] if isinstance(value, tuple) else float(value)


def _of_ome(file: Any, series: Any) -> Distances | None:
    images = list(ElementTree.fromstring(file.ome_metadata).iterfind("{*}Image/{*}Pixels"))
    if len(images) != len(file.series):
        return None
    told = images[file.series.index(series)].attrib
    lengths = []
    for axis in "XYZ":
        unit = factor(told.get(f"PhysicalSize{axis}Unit", "µm"))
        size = told.get(f"PhysicalSize{axis}")
        lengths.append(None if size is None or unit is None else float(size) * unit)
    x, y, z = lengths
    return None if x is None or y is None else (x, y, z)
