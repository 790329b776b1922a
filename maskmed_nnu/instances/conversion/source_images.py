"""Images and masks of a source of any style, read as arrays; images written as nnU-Net reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.formats.geometry import difference, elsewhere_sentence
from maskmed_nnu.instances.formats.raster import MAX_CHANNELS
from maskmed_nnu.instances.label_values import whole_numbers
from maskmed_nnu.instances.text import format_shape

_NEEDED = {2: "its annotation is 2D and does not fit slices (Z)", 3: "its annotation is a stack of slices (Z)"}


@dataclass(frozen=True)
class SourceImage:
    """An image as channels [C, *spatial]; `colour` where they are red, green and blue; `geometry` of a volume.

    `spacing` is that of the spatial axes of a TIFF, in micrometres, where it tells it.
    """

    channels: NDArray[Any]
    colour: bool
    geometry: formats.Geometry | None = None
    spacing: tuple[float, ...] | None = None


def files(folder: Path) -> list[Path]:
    """The pictures in `folder`, sorted by name; hidden files and other ones are left out, links to nothing are not."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the folder that holds the images.")
    return sorted(p for p in folder.iterdir() if formats.ending(p) and not p.name.startswith(".") and not p.is_dir())


def read(path: Path, *, axes: int, order: str | None = None) -> SourceImage:
    """Read `path` as an image with `axes` spatial axes (2, or 3 for a stack); transparency is dropped.

    The pages of a TIFF that does not say what they are are slices of a stack, or else channels; `order` says what the
    axes of TIFFs are, as "ZCYX".

    Raises:
        InputError: where the file is damaged, is not an image of that many axes, or holds NaN or infinity.
    """
    raster = formats.read(path, axes=order)
    if raster.colour:
        raster = replace(raster, values=_opaque(raster.values))
    values, spatial = raster.channels_first(path, pages="Z" if axes == 3 else "C")
    if len(spatial) != axes or len(values) > MAX_CHANNELS:
        order = raster.suggestion()
        if order == raster.axes.rstrip("S"):  # the file's own names, which do not fit
            order = order.translate(str.maketrans("CZ", "ZC"))
        reason = f"no more than {MAX_CHANNELS} channels (C) are read" if len(spatial) == axes else _NEEDED[axes]
        told = f"; if they are other axes, name them, as in axes {order}" if set(raster.axes) - set("YXS") else ""
        if raster.geometry is not None and raster.values.ndim > 3:  # whose space is always named
            told = "; if the fourth axis is time, save each frame as a separate file"
        raise InputError(f"{path} has the axes {raster.described()}, but {reason}{told}.")
    if values.dtype.kind not in "buif":
        raise InputError(f"{path} holds values of the type {values.dtype}; integers or real numbers are needed.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{path} holds NaN or infinite values; replace them.")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return SourceImage(values, raster.colour and len(values) == 3, raster.geometry, raster.spacing)


def read_channels(paths: Sequence[Path], *, axes: int, order: str | None = None) -> SourceImage:
    """`read` of one file, or of a file for each channel of one image.

    Raises:
        InputError: where files of several hold more than a channel, or differ in size or place.
    """
    first, *others = (read(path, axes=axes, order=order) for path in paths)
    for path, picture in zip(paths[1:], others, strict=True):
        beside = f"{paths[0].name} of the same image"
        if len(picture.channels) != 1 or len(first.channels) != 1:
            raise InputError(f"{path} and {beside} hold several channels each; X_0000, X_0001 … are one channel each.")
        if picture.channels.shape != first.channels.shape:
            sizes = [format_shape(p.channels.shape[1:]) for p in (picture, first)]
            raise InputError(f"{path} has the size {sizes[0]}, but {beside} has {sizes[1]}; they must be equal.")
        if picture.geometry and first.geometry:
            found = difference(picture.geometry, first.geometry, first.channels.shape[:0:-1])
            if found:
                raise InputError(elsewhere_sentence(path, beside, found))
    return replace(first, channels=np.concatenate([first.channels, *(picture.channels for picture in others)]))


def voxel_size(picture: SourceImage) -> tuple[float, str]:
    """The volume of a voxel, or area of a pixel, and its unit; 1 if the file has no spacing.

    >>> voxel_size(SourceImage(np.zeros((1, 4, 5, 6)), False, spacing=(2000.0, 500.0, 500.0)))
    (0.5, 'mm³')
    >>> voxel_size(SourceImage(np.zeros((1, 5, 6)), False))
    (1.0, 'pixels')
    """
    dim = picture.channels.ndim - 1
    if picture.geometry is not None:
        lengths: Sequence[float] = picture.geometry.to(3).spacing[:dim]  # x, y, z
    elif picture.spacing is not None and len(picture.spacing) == dim:
        lengths = [length / 1000 for length in picture.spacing]
    else:
        return 1.0, "voxels" if dim == 3 else "pixels"
    return float(np.prod(lengths)), "mm³" if dim == 3 else "mm²"


def read_mask(path: Path, *, order: str | None = None) -> tuple[Integers, formats.Geometry | None]:
    """Read a mask or label map [*spatial] of non-negative integers, and a volume's geometry.

    A grey picture stored as RGB is a mask too. `order` is that of its image; a mask has no channels.

    Raises:
        InputError: where the file is damaged, or holds channels, colours, fractions or negative values.
    """
    raster = formats.read(path, indexed=True, axes=order and order.replace("C", ""))
    if raster.colour:
        colours = _opaque(raster.values)
        if (colours != colours[..., :1]).any():
            raise InputError(
                f"{path} is a colour image, but a mask holds one number for each pixel; convert the colours to ids."
            )
        raster = replace(raster, values=colours[..., 0], colour=False, axes=raster.axes.rstrip("S"))
    values, _ = raster.channels_first(path, pages="Z")
    if len(values) > 1:
        raise InputError(
            f"{path} has the axes {raster.described()}, which contain channels (C), but a mask holds one number "
            "for each pixel; if they are slices, give axes ZYX."
        )
    return whole_numbers(values[0], path), raster.geometry


def check_spacing(mask: Path, image: Path) -> None:
    """Refuse a mask whose voxels are not as large as its image's, where both are TIFFs that tell it.

    Raises:
        InputError: where they differ by a thousandth or more.
    """
    if formats.ending(mask) not in formats.TIFF or formats.ending(image) not in formats.TIFF:
        return
    own, of_image = formats.read_tiff_spacing(mask), formats.read_tiff_spacing(image)
    if not own or not of_image:
        return
    both = min(len(own), len(of_image))  # one may tell no distance between slices
    if not np.allclose(own[-both:], of_image[-both:], rtol=1e-3, atol=0):
        told = [" × ".join(f"{length:g}" for length in spacing) for spacing in (own, of_image)]
        raise InputError(
            f"{mask} has voxels of {told[0]} µm, but its image {image.name} of {told[1]}; resample or correct "
            "one of them."
        )


def turned_hint(annotated: Sequence[int], shape: Sequence[int]) -> str:
    """What to add to a sentence about two sizes of which one is the other turned."""
    if annotated[-1] == annotated[-2] or list(annotated[-2:]) != list(shape[:-3:-1]):
        return ""
    return (
        " (rows and columns are swapped: transpose one of the two; images with an EXIF orientation are rotated "
        "upright, as viewers do)"
    )


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
        image = Image.fromarray(np.ascontiguousarray(values))
        write_atomically(path, lambda partial: image.save(partial, format="PNG"))
    else:
        kind = "rgb" if picture.colour else "minisblack"
        axes = "ZYX"[-picture.channels.ndim + 1 :] + "S" * picture.colour
        write_atomically(
            path,
            lambda partial: tifffile.imwrite(
                partial, np.ascontiguousarray(values), photometric=kind, compression="zlib", metadata={"axes": axes}
            ),
        )


def _opaque(values: NDArray[Any]) -> NDArray[Any]:
    """Samples in the last axis without transparency: grey and RGB have one or three."""
    return values[..., :-1] if values.shape[-1] in (2, 4) else values
