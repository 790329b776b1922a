"""TIFF files: which of their images is meant, and the axes that its metadata names (ImageJ, OME, tifffile, pages)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import tiff_colours, tiff_spacing
from maskmed_nnu.instances.formats.orientation import TAG, is_turned, upright
from maskmed_nnu.instances.formats.raster import AXES, Raster
from maskmed_nnu.instances.formats.tiff_scale import TiffScale
from maskmed_nnu.instances.formats.tiff_spacing import Distances
from maskmed_nnu.instances.text import format_list, format_shape

_GUESSED = ("generic", "uniform")  # kinds of series that tifffile makes of pages of one shape, without metadata
_PREVIEWS = ("thumbnail", "macro", "overview")  # names of such series in the files of slide scanners


def read_tiff(path: Path, indexed: bool, axes: str | None) -> Raster:
    """The image at full resolution, upright. ``indexed`` as in `tiff_colours.decode`; ``axes`` replaces the file's own.

    Raises:
        InputError: for several different images, or what `tiff_colours` and `renamed` refuse.
    """
    with _opened(path) as file:
        series = main_series(path, file)
        decoded = [tiff_colours.decode(path, s, indexed) for s in series]
        colour, names = decoded[0].colour, decoded[0].axes
        values = decoded[0].values
        if len(series) > 1:  # pages that were written one by one; the first alone would lose the others
            values, names = np.stack([d.values for d in decoded]), f"Q{names}"
        distances = tiff_spacing.micrometres(file, series[0])
        orientation = _orientation(series[0].keyframe)
        scale = TiffScale.of_file(file, series[0], turned=is_turned(orientation))
    values, names = _without_single_axes(values, names.replace("I", "Q"))
    if axes is not None:
        names = renamed(path, Raster(values, colour, axes=names), axes)
    if not set("YX") <= set(names):
        raise InputError(f"{path} has the axes {names}; an image has rows (Y) and columns (X), so write it again.")
    spacing = _along_axes(distances, names, orientation)
    return Raster(upright(values, names, orientation), colour, axes=names, spacing=spacing, scale=scale)


def read_tiff_spacing(path: Path) -> tuple[float, ...] | None:
    """`Raster.spacing` from the file's header."""
    with _opened(path) as file:
        series = main_series(path, file)[0]
        distances = tiff_spacing.micrometres(file, series)
        return _along_axes(distances, series.axes, _orientation(series.keyframe))


def read_tiff_scale(path: Path) -> TiffScale | None:
    """`Raster.scale` from the file's header."""
    with _opened(path) as file:
        series = main_series(path, file)[0]
        return TiffScale.of_file(file, series, turned=is_turned(_orientation(series.keyframe)))


def _along_axes(distances: Distances | None, axes: str, orientation: int) -> tuple[float, ...] | None:
    if distances is None:
        return None
    x, y, z = distances
    plane = (x, y) if is_turned(orientation) else (y, x)
    return (z, *plane) if z is not None and "Z" in axes else plane


def count_tiff_channels(path: Path) -> int:
    """Channels of an image without its transparency, from its header; pages of an unknown kind are none."""
    with _opened(path) as file:
        series = main_series(path, file)[0]
        if series.keyframe.photometric in tiff_colours.COLOURFUL:
            return 3
        if tiff_colours.has_colours(series.keyframe):
            return 3 if series.keyframe.samplesperpixel > 2 else 1
        lengths = dict(zip(series.axes, series.shape, strict=True))
        return int(lengths.get("C", 1) * lengths.get("S", 1))


def main_series(path: Path, file: Any) -> list[Any]:
    """The image of the file, or all of them where they are alike; previews and smaller versions are left out.

    Raises:
        InputError: where images are left that differ, or pages of an OME-TIFF lie in other files.
    """
    parts = [s for top in file.series for s in (top.levels if top.kind in _GUESSED else [top])]
    if any(s.is_multifile for s in parts):
        raise InputError(f"{path} is one of several files of an OME-TIFF; save the image as a single file.")
    full = [s for s in parts if not _is_secondary(s)] or parts
    if len({(s.shape, s.dtype, s.axes, s.keyframe.photometric) for s in full}) > 1:
        images = [f"{s.name or f'number {i}'} of {s.axes} ({format_shape(s.shape)})" for i, s in enumerate(full, 1)]
        raise InputError(
            f"{path} holds {len(full)} different images: {format_list(images)}; save the one to use as a "
            "separate file (smaller versions and previews are skipped if NewSubfileType marks them)."
        )
    return full


def _is_secondary(series: Any) -> bool:
    page = series.keyframe
    return bool(page.is_reduced or page.is_mask or page.is_subifd or series.name.lower().startswith(_PREVIEWS))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file; what tifffile logs about data that are missing is raised at the end."""
    complaints = _Complaints()
    log = logging.getLogger("tifffile")
    log.addHandler(complaints)
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    finally:
        log.removeHandler(complaints)
    if complaints.errors:
        raise ValueError(complaints.errors[0])


def _orientation(page: Any) -> int:
    tag = page.tags.get(TAG)
    return int(tag.value) if tag is not None else 1


def _without_single_axes(values: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    kept = [i for i, axis in enumerate(axes) if values.shape[i] > 1 or axis in "YXS"]
    return values.reshape([values.shape[i] for i in kept]), "".join(axes[i] for i in kept)


def renamed(path: Path, raster: Raster, axes: str) -> str:
    """The letters ``axes`` that the user gives, for the file's; S is added for colours."""
    axes += "S" * (raster.colour and "S" not in axes)
    if len(axes) != raster.values.ndim or len(set(axes)) < len(axes) or not set("YX") <= set(axes) <= set(f"{AXES}S"):
        raise InputError(
            f"{path} has the axes {raster.described()}, which axes {axes} does not describe; give a letter for each: "
            "Z, C, Y and X for slices, channels, rows and columns."
        )
    moved = [axes[i] for i, a in enumerate(raster.axes) if a in "YX"] != ["Y", "X"]
    untold = "Q" in raster.axes and raster.geometry is None  # an array [Y, X, C] is written as pages of C columns
    if raster.colour != axes.endswith("S") or (moved and not untold):
        raise InputError(
            f"{path} has the axes {raster.described()}, which axes {axes} contradicts; rows (Y), columns (X) and "
            "colours (S) keep their positions."
        )
    return axes


class _Complaints(logging.Handler):
    """Collects what tifffile only logs: a page beyond the file's end is an error, a missing one a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or "zeroed" in record.getMessage():
            self.errors.append(record.getMessage())
