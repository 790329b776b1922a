"""QuPath's GeoJSON: objects as detections, classes as annotations.

Written like QuPath 0.4 and later do (``qupath.lib.io.QuPathTypeAdapters``): coordinates in pixels from the upper left
corner of the image, ``properties`` with ``objectType``, ``classification`` and ``measurements``, and of a volume the
slice as ``plane`` beside the geometry.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.instances.tool_files.findings import Area, Findings
from maskmed_nnu.instances.tool_files.polygons import Ring


def write_geojson(path: Path, found: Findings) -> None:
    """A FeatureCollection with a feature for each area, of a volume for each slice of each area."""
    features = [_feature(found, area, z, pixels, pieces) for area in found.areas for z, pixels, pieces in area.planes()]
    document = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, allow_nan=False)
    write_atomically(path, lambda partial: partial.write_text(document, encoding="utf-8"))


def _feature(found: Findings, area: Area, z: int, pixels: int, pieces: list[list[Ring]]) -> dict[str, Any]:
    coordinates = [[_closed(ring) for ring in piece] for piece in pieces]
    single = len(coordinates) == 1
    geometry: dict[str, Any] = {
        "type": "Polygon" if single else "MultiPolygon",
        "coordinates": coordinates[0] if single else coordinates,
    }
    if found.volume:
        geometry["plane"] = {"c": -1, "z": z, "t": 0}  # -1: all channels
    measurements: dict[str, float] = {"Area px^2": pixels}
    if found.spacing is not None:
        measurements["Area µm^2"] = pixels * found.spacing[1] * found.spacing[2] * 1e6
    if area.score is not None:
        measurements["Score"] = area.score
    return {
        "type": "Feature",
        "id": str(uuid5(NAMESPACE_URL, f"{found.name}/{area.name}/{z}")),  # the same whenever it is written
        "geometry": geometry,
        "properties": {
            "objectType": "annotation" if area.score is None else "detection",
            "name": area.name,
            "classification": {"name": area.class_name, "color": list(area.colour)},
            "measurements": measurements,
        },
    }


def _closed(ring: Ring) -> list[list[int]]:
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]
