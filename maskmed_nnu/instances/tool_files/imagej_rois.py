"""ROIs of ImageJ and Fiji in a zip file, as its ROI Manager opens and saves them.

An area with one outline becomes a traced ROI, which is what ImageJ's own wand makes; one with holes or several pieces a
composite ROI, whose path is filled by the even-odd rule.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.instances.tool_files.findings import Area, Findings
from maskmed_nnu.instances.tool_files.polygons import Ring

LARGEST = 2**15 - 1
"""Of coordinates and their number in a traced ROI; composite ones have no such limit."""
MOVE, LINE, CLOSE = 0.0, 1.0, 4.0
"""Steps of a composite ROI's path, those of ``java.awt.geom.PathIterator``."""


def write_rois(path: Path, found: Findings) -> None:
    """A ROI for each area, of a volume for each slice of each area; see the module."""
    write_atomically(path, lambda partial: _write(partial, found))


def _write(path: Path, found: Findings) -> None:
    used: Counter[str] = Counter()
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for area in found.areas:
            for z, _, pieces in area.planes():
                name = _name(area, z if found.volume else None)
                used[name] += 1
                if used[name] > 1:  # names that were different before characters were replaced
                    name = f"{name} ({used[name]})"
                entry = ZipInfo(f"{name}.roi")  # without a time: the same whenever it is written
                entry.compress_type = ZIP_DEFLATED
                archive.writestr(entry, _roi(name, area, z, pieces, found))


def _name(area: Area, z: int | None) -> str:
    """What the ROI Manager lists, which is the entry's name: no separators of folders, nor what Windows refuses."""
    parts = [area.name, *([] if z is None else [f"z{z + 1}"]), *([] if area.score is None else [f"{area.score:.2f}"])]
    return "".join("_" if c in '/\\:*?"<>|' or not " " <= c <= "\uffff" else c for c in " ".join(parts))


def _roi(name: str, area: Area, z: int, pieces: list[list[Ring]], found: Findings) -> bytes:
    from roifile import ROI_TYPE, ImagejRoi

    rings = [ring for piece in pieces for ring in piece]
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
    roi = ImagejRoi(name=name, version=228, stroke_color=bytes([255, *area.colour]))
    if len(rings) == 1 and max(right, bottom, len(corners)) <= LARGEST:
        roi.roitype = ROI_TYPE.TRACED
        roi.n_coordinates = len(corners)
        roi.integer_coordinates = (corners - (left, top)).astype(np.int32)
    else:
        roi.roitype = ROI_TYPE.RECT
        roi.multi_coordinates = np.concatenate([_path(ring) for ring in rings])
        roi.shape_roi_size = len(roi.multi_coordinates)
        left, top, right, bottom = (min(value, LARGEST) for value in (left, top, right, bottom))
    roi.left, roi.top, roi.right, roi.bottom = left, top, right, bottom
    if found.volume and found.channels_in_stack:
        roi.z_position = z + 1  # on all channels
    elif found.volume:
        roi.position = z + 1
    return bytes(roi.tobytes())


def _path(ring: Ring) -> NDArray[np.float32]:
    steps = np.full((len(ring), 3), LINE, np.float32)
    steps[0, 0] = MOVE
    steps[:, 1:] = ring
    return np.append(steps, np.float32(CLOSE))
