"""What the samples of a TIFF's pixels mean: its photometric interpretation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskmed_nnu.errors import InputError

_Photometric = tifffile.PHOTOMETRIC
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
COLOURFUL = (_Photometric.PALETTE, _Photometric.YCBCR, _Photometric.SEPARATED, _Photometric.CIELAB)
"""Become red, green and blue."""
_UNREAD = (_Photometric.ICCLAB, _Photometric.ITULAB, _Photometric.CFA, _Photometric.LOGL, _Photometric.LOGLUV)
_DECODED_TO_RGB = ("JP", "WEBP")  # in the names of compressions: JPEG, JPEG2000, APERIO_JP2000_YCBC …


class Decoded(NamedTuple):
    """``values [*axes]``, with colours red, green, blue and perhaps transparency in the last axis, S."""

    values: NDArray[Any]
    axes: str
    colour: bool


def decode(path: Path, series: Any, indexed: bool) -> Decoded:
    """The values that viewers show; ``indexed``, for masks, keeps the numbers of a palette.

    Grey that is min-is-white is turned round, but for two cases: masks of more than 1 bit, in which ImageJ marks
    so that objects are drawn in black on white, and truth values from tifffile, which marks all of them so.

    Raises:
        InputError: for complex numbers, and colours that cannot be read.
    """
    page, axes = series.keyframe, series.axes
    photometric, bits = page.photometric, page.bitspersample
    if series.dtype is not None and series.dtype.kind == "c":
        raise InputError(f"{path} holds values of the type {series.dtype}; integers or real numbers are needed.")
    raw_colour = photometric in (_Photometric.SEPARATED, _Photometric.CIELAB) or (
        photometric == _Photometric.YCBCR and not any(word in page.compression.name for word in _DECODED_TO_RGB)
    )
    if photometric in _UNREAD:
        raise _unread(path, page)
    if raw_colour:
        return _rgb(path, series)
    values = series.asarray()
    if photometric == _Photometric.PALETTE and not indexed:
        colours = np.asarray(page.colormap)
        colours = colours >> 8 if colours.max() > 255 else colours  # some programs write 8 bits
        return Decoded(colours.T.astype(np.uint8)[values], f"{axes}S", True)
    as_stored = page.software == "tifffile.py" if bits == 1 else indexed
    if photometric == _Photometric.MINISWHITE and not as_stored:
        values = _inverted(path, values, bits)
    colour = "S" in axes and has_colours(page)
    if "S" in axes:  # a planar file has that axis in front
        values = np.moveaxis(values, axes.index("S"), -1 if colour else 0)
        axes = axes.replace("S", "")
        axes = f"{axes}S" if colour else f"C{axes}"
    return Decoded(values, axes, colour)


def has_colours(page: Any) -> bool:
    """Whether a pixel's samples are colours, or grey with transparency, rather than channels of a microscope."""
    extra = tuple(page.extrasamples)
    with_alpha = len(extra) == 1 and extra[0] in _ALPHA
    if page.photometric in (_Photometric.RGB, _Photometric.YCBCR):
        return page.samplesperpixel == 3 or (page.samplesperpixel == 4 and (with_alpha or not extra))
    return bool(page.samplesperpixel == 2 and with_alpha)


def _inverted(path: Path, values: NDArray[Any], bits: int) -> NDArray[Any]:
    if values.dtype.kind not in "bu":
        raise InputError(
            f"{path} declares that its smallest value is white, which is undefined for the type {values.dtype}; save "
            "it with the photometric interpretation min-is-black."
        )
    return ~values if values.dtype.kind == "b" else values.dtype.type(2**bits - 1) - values


def _rgb(path: Path, series: Any) -> Decoded:
    """CMYK, L*a*b* and YCbCr of 8 bits as Pillow shows them."""
    page = series.keyframe
    mode = {_Photometric.SEPARATED: "CMYK", _Photometric.CIELAB: "LAB", _Photometric.YCBCR: "YCbCr"}[page.photometric]
    try:
        values = np.moveaxis(series.asarray(), series.axes.index("S"), -1)
    except (ValueError, NotImplementedError):  # with fewer samples of colour than of brightness, for example
        raise _unread(path, page) from None
    if values.dtype != np.uint8 or values.shape[-1] != len(mode.replace("YCbCr", "YCC")):
        raise _unread(path, page)
    plane = values.reshape(-1, *values.shape[-2:])
    picture = Image.frombytes(mode, (plane.shape[1], plane.shape[0]), plane.tobytes()).convert("RGB")
    return Decoded(np.asarray(picture).reshape(*values.shape[:-1], 3), series.axes.replace("S", "") + "S", True)


def _unread(path: Path, page: Any) -> InputError:
    return InputError(
        f"{path} stores colours as {page.photometric.name} with {page.bitspersample} bits and "
        f"{page.compression.name} compression, which cannot be read; save it as RGB."
    )
