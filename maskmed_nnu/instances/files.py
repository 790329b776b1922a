"""Label files of objects: raw values ``[L, *spatial]`` ⇄ PNG, TIFF, NIfTI, NRRD and MetaImage.

Layers of overlapping objects are a TIFF's pages or a volume's last axis (its third, for 2D images). What a format
cannot hold is refused before anything is written. :mod:`maskmed_nnu.instances.instance_map` says what values mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.formats import NIFTI, TIFF, WRITTEN_BY_ITK, Geometry, TiffScale
from maskmed_nnu.instances.label_values import MAX_ID, cast, whole_numbers
from maskmed_nnu.instances.text import format_shape

LABEL_ENDINGS = (".png", *TIFF, *NIFTI, *WRITTEN_BY_ITK)


def read_ids(path: Path | str, *, overlap_layers: bool) -> Integers:
    """Integers ``[L, Y, X]`` of an image or ``[L, Z, Y, X]`` of a volume; L = 1 without ``overlap_layers``.

    Raises:
        InputError: where the file is damaged, holds colours or fractions, or has an axis too many.
    """
    return read_ids_and_geometry(path, overlap_layers=overlap_layers)[0]


def read_ids_and_geometry(path: Path | str, *, overlap_layers: bool) -> tuple[Integers, Geometry | None]:
    """``read_ids`` and the file's geometry, which only volumes have."""
    raster = formats.read(path, indexed=True)
    if raster.colour:
        pages = '; if its planes are layers or slices, write them with photometric="minisblack"'
        raise InputError(
            f"{path} is a colour image, but a label file holds one id per pixel; convert the colours to ids"
            f"{pages if formats.ending(path) in TIFF else ''}."
        )
    values = _without_single_slices(raster.values)
    layered = overlap_layers and values.ndim > 2
    if values.ndim - layered not in (2, 3):
        raise InputError(
            f"{path} has the shape {format_shape(values.shape)}; a label file holds an image or a volume, with "
            'another axis for layers where dataset.json says "overlap_layers": true.'
        )
    others = {axis for axis, n in zip(raster.axes, raster.values.shape, strict=True) if n > 1} - set("QZYX")
    if others and not layered:
        raise InputError(
            f"{path} has the axes {raster.described()}, but a label file holds rows, columns and slices (ZYX); write "
            'slices with these axes, and where it holds layers, dataset.json needs "overlap_layers": true.'
        )
    integers = whole_numbers(values, path)
    return (integers if layered else integers[None]), raster.geometry


def write_ids(
    path: Path | str, raw: Integers, *, geometry: Geometry | None = None, scale: TiffScale | None = None
) -> None:
    """Write integers ``raw [L, *spatial]`` in the smallest type that fits, whole or not at all.

    ``geometry`` is that of the image, for volumes, ``scale`` for TIFF; a label file has as many axes as its image, or
    one more for layers.

    Raises:
        InputError: layers or a volume in a PNG, an id beyond the format's range, an unknown ending.
    """
    kind = formats.ending(path)
    if kind not in LABEL_ENDINGS:
        raise InputError(f"{path} cannot hold object ids; legal file endings are {', '.join(LABEL_ENDINGS)}.")
    highest = int(raw.max(initial=0))
    if raw.dtype.kind not in "ui" or raw.min(initial=0) < 0 or highest > MAX_ID:
        raise InputError(f"{path} cannot be written: ids must be whole numbers from 0 to {MAX_ID}.")
    values = _without_single_slices(raw)
    if kind == ".png":
        if values.ndim > 2:
            what = f"{len(raw)} layers of overlapping objects" if len(raw) > 1 else f"a volume of {len(values)} slices"
            raise InputError(
                f"{path} cannot hold {what}: a PNG is one plane; use the file_ending .tif or .nii.gz for the data set."
            )
        if highest > np.iinfo(np.uint16).max:
            raise InputError(
                f"{path} cannot hold the id {highest}: a PNG ends at {np.iinfo(np.uint16).max}; use the "
                "file_ending .tif or .nii.gz for the data set."
            )
        formats.write(path, cast(values, np.uint8 if highest <= 255 else np.uint16, path))
        return
    values = cast(values, np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32, path)
    if scale is not None and len(raw) > 1:
        scale = scale.plain()  # layers are no slices, for which ImageJ would take them
    formats.write(path, values, geometry, scale)


def _without_single_slices(values: NDArray[Any]) -> NDArray[Any]:
    """``values`` with the axes before the last two only where they are longer than one: an image is one slice."""
    return values.reshape([n for n in values.shape[:-2] if n > 1] + list(values.shape[-2:]))
