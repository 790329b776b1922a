"""Microscope images and photographs as arrays, whatever of PNG, JPEG, BMP, TIFF or NIfTI they are stored in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import tifffile
from PIL import Image

from maskmed_nnu.errors import InputError

NIFTI = (".nii.gz", ".nii")
TIFF = (".tif", ".tiff")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", *TIFF, *NIFTI)
PNG_WITH_COLOUR = (2, 6)  # the colour types RGB and RGBA in a PNG's header

Image.MAX_IMAGE_PIXELS = None  # whole slides are no attack


@dataclass(frozen=True)
class Picture:
    """An image as channels [C, *spatial]; `colour` where the channels are red, green and blue."""

    channels: np.ndarray
    colour: bool


def ending(path: Path) -> str | None:
    """The file ending of `path` among `ENDINGS`, lower case; None where it is not a picture."""
    name = path.name.lower()
    return next((e for e in (*NIFTI, *ENDINGS) if name.endswith(e)), None)


def stem(path: Path) -> str:
    """The name of the file without its ending."""
    return path.name[: -len(ending(path) or path.suffix) or None]


def files(folder: Path) -> list[Path]:
    """The pictures in `folder`, sorted by name; hidden files and other ones are left out."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the folder that holds the pictures.")
    return sorted(p for p in folder.iterdir() if ending(p) and not p.name.startswith(".") and p.is_file())


def read(path: Path, *, axes: int) -> Picture:
    """Read `path` as an image with `axes` spatial axes (2, or 3 for a stack); transparency is dropped.

    Raises:
        InputError: where the file is damaged, is no image of that many axes, or holds NaN or infinity.
    """
    array, colour = _load(path)
    if colour and array.shape[-1] in (2, 4):  # grey and RGB with transparency
        array = array[..., :-1]
    if colour:
        array = np.moveaxis(array, -1, 0)
    elif array.ndim == axes:
        array = array[None]
    if array.ndim != axes + 1 or (not colour and array.shape[0] > 16):
        raise InputError(
            f"{path} has the shape {' × '.join(map(str, array.shape))}; an image of {axes} axes (and channels) is needed."
        )
    if array.dtype.kind not in "buif":
        raise InputError(f"{path} holds values of the type {array.dtype}; integers or real numbers are needed.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path} holds NaN or infinite values; replace them.")
    return Picture(array, colour and len(array) == 3)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask or label map [*spatial] of non-negative integers.

    Raises:
        InputError: where the file is damaged, or holds colours, fractions or negative values.
    """
    array, colour = _load(path, indexed=True)
    if colour:
        array = array[..., :-1] if array.shape[-1] in (2, 4) else array
        if (array != array[..., :1]).any():
            raise InputError(f"{path} is a picture in colour; a mask holds one integer for each pixel.")
        array = array[..., 0]
    if array.dtype.kind == "f":
        raise InputError(f"{path} is a mask of floating-point values ({array.dtype}); save it as integers.")
    if array.dtype.kind not in "bui":
        raise InputError(f"{path} holds values of the type {array.dtype}; a mask holds integers.")
    if array.dtype.kind == "i" and array.min(initial=0) < 0:
        raise InputError(f"{path} holds negative values (down to {array.min()}); ids start at 1, background is 0.")
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def _load(path: Path, *, indexed: bool = False) -> tuple[np.ndarray, bool]:
    """The file as an array, and whether its last axis holds colours; `indexed` keeps the numbers of palette colours."""
    try:
        if ending(path) in NIFTI:
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path))), False
        if ending(path) in TIFF:
            return _load_tiff(path)
        return _load_picture(path, indexed)
    except InputError:
        raise
    except Exception as error:  # the decoders raise whatever they like at damaged files
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); it is damaged or no {ending(path)} file.") from None


def _load_tiff(path: Path) -> tuple[np.ndarray, bool]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array, axes = series.asarray(), series.axes
    # Samples of a pixel are colours only where the file says so; a planar file has that axis in front.
    colour = "S" in axes and array.shape[axes.index("S")] in (2, 3, 4)
    if colour:
        array = np.moveaxis(array, axes.index("S"), -1)
    image = array.shape[-3:] if colour else array.shape[-2:]
    return array.reshape([n for n in array.shape[: -len(image)] if n > 1] + list(image)), colour


def _load_picture(path: Path, indexed: bool) -> tuple[np.ndarray, bool]:
    if ending(path) == ".png":
        with path.open("rb") as file:
            head = file.read(26)
        if len(head) == 26 and head[24] == 16 and head[25] in PNG_WITH_COLOUR:  # pillow would cut it to 8 bits
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path))), True
    with Image.open(path) as image:
        image.load()
        if image.mode == "P" and not indexed:
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            image = image.convert("RGB")
        array = np.asarray(image)
        if image.mode == "I" and array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max:
            array = array.astype(np.uint16)  # what older releases of pillow make of a grey PNG of 16 bits
        return array, array.ndim == 3
