"""Images and masks of a source of any style, read as arrays; images written as nnU-Net reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.instance_map import check_values
from maskmed_nnu.instances.text import format_shape

MAX_CHANNELS = 16  # a TIFF of more pages, beside a flat mask, is a stack or a series rather than an image


@dataclass(frozen=True)
class SourceImage:
    """An image as channels [C, *spatial]; `colour` where they are red, green and blue; `geometry` of a volume."""

    channels: NDArray[Any]
    colour: bool
    geometry: formats.Geometry | None = None


def stem(path: Path) -> str:
    """The name of the file without its ending."""
    return path.name[: -len(formats.ending(path) or path.suffix) or None]


def files(folder: Path) -> list[Path]:
    """The pictures in `folder`, sorted by name; hidden files and other ones are left out."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the folder that holds the pictures.")
    return sorted(p for p in folder.iterdir() if formats.ending(p) and not p.name.startswith(".") and p.is_file())


def read(path: Path, *, axes: int) -> SourceImage:
    """Read `path` as an image with `axes` spatial axes (2, or 3 for a stack); transparency is dropped.

    Raises:
        InputError: where the file is damaged, is no image of that many axes, or holds NaN or infinity.
    """
    raster = formats.read(path)
    values, geometry = _opaque(raster.values) if raster.colour else raster.values, raster.geometry
    if raster.colour:
        values = np.moveaxis(values, -1, 0)
    elif values.ndim == axes:
        values = values[None]
    else:
        if values.ndim == axes + 2 and values.shape[1] == 1:  # channels of an image that is one slice
            values = values[:, 0]
        geometry = geometry and geometry.to(axes)
    if values.ndim != axes + 1 or len(values) > MAX_CHANNELS:
        raise InputError(
            f"{path} has the shape {format_shape(raster.values.shape)}; an image of {axes} axes, and up to "
            f"{MAX_CHANNELS} channels before them, is needed."
        )
    if values.dtype.kind not in "buif":
        raise InputError(f"{path} holds values of the type {values.dtype}; integers or real numbers are needed.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{path} holds NaN or infinite values; replace them.")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return SourceImage(values, raster.colour and len(values) == 3, geometry)


def read_mask(path: Path) -> tuple[Integers, formats.Geometry | None]:
    """Read a mask or label map [*spatial] of non-negative integers, and a volume's geometry.

    A grey picture stored as RGB is a mask too.

    Raises:
        InputError: where the file is damaged, or holds colours, fractions or negative values.
    """
    raster = formats.read(path, indexed=True)
    values = raster.values
    if raster.colour:
        colours = _opaque(values)
        if (colours != colours[..., :1]).any():
            raise InputError(f"{path} is a picture in colour; a mask holds one whole number for each pixel.")
        values = colours[..., 0]
    if values.dtype.kind == "b":
        return values.astype(np.uint8), raster.geometry
    try:
        check_values(np.unique(values))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return values.astype(np.int64) if values.dtype.kind == "f" else values, raster.geometry


def write(path: Path, picture: SourceImage) -> None:
    """Write a picture of one channel, or in colour, as PNG (2D, 8 bits or grey 16) or TIFF.

    Truth values become 0 and 1; integers beyond 16 bits, and double precision, become single precision.
    """
    values = np.moveaxis(picture.channels, 0, -1) if picture.colour else picture.channels[0]
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    elif values.dtype not in (np.uint8, np.uint16):
        values = values.astype(np.float32)
    if formats.ending(path) == ".png":
        Image.fromarray(np.ascontiguousarray(values)).save(path, format="PNG")
    else:
        kind = "rgb" if picture.colour else "minisblack"
        tifffile.imwrite(path, np.ascontiguousarray(values), photometric=kind, compression="zlib")


def _opaque(values: NDArray[Any]) -> NDArray[Any]:
    """Samples in the last axis without transparency: grey and RGB have one or three."""
    return values[..., :-1] if values.shape[-1] in (2, 4) else values
