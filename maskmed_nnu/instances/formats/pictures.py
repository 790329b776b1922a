"""Pictures that are no TIFF: PNG, BMP, JPEG."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.endings import ending
from maskmed_nnu.instances.formats.orientation import TAG, upright
from maskmed_nnu.instances.formats.raster import Raster
from maskmed_nnu.itk import sitk

_PNG_WITH_COLOUR, _PNG_GREY_WITH_ALPHA = (2, 6), 4  # the colour types in a PNG's header
_FORMATS = ("PNG", "BMP", "DIB", "JPEG", "MPO")
_WITHOUT_COLOUR = ("1", "L", "LA", "I", "F")
# Of a camera's several pictures in one JPEG the first is the one to show; those beside it are previews or gain maps,
# unless they are said to be views of their own.
_ENTRIES = 0xB002

_LIMIT_LOCK = threading.Lock()


def open_picture(path: Path) -> Image.Image:
    """Pillow's picture of any size, for whole slides are no attack; the limit, which is the process's, stays."""
    with _LIMIT_LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def read_picture(path: Path, indexed: bool) -> Raster:
    """The picture upright; ``indexed`` keeps the numbers of palette colours.

    Raises:
        InputError: for several pictures in one file, or a file of another format.
    """
    image = _load_whole(path)
    orientation = int(image.getexif().get(TAG, 1))
    values = _values(path, image, indexed)
    colour = values.ndim == 3
    return Raster(upright(values, "YXS" if colour else "YX", orientation), colour)


def count_channels(path: Path) -> int:
    """Channels of a picture without its transparency, from its header: 1 or 3."""
    with open_picture(path) as image:
        return 1 if image.mode in _WITHOUT_COLOUR or image.mode.startswith("I;") else 3


def _values(path: Path, image: Image.Image, indexed: bool) -> NDArray[Any]:
    if ending(path) == ".png":
        with path.open("rb") as file:
            head = file.read(26)
        if len(head) == 26 and head[24] == 16:  # pillow would cut these to 8 bits
            if head[25] == _PNG_GREY_WITH_ALPHA:
                raise ValueError("16-bit grey with transparency, which neither ITK nor pillow reads completely")
            if head[25] in _PNG_WITH_COLOUR:
                return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    if image.mode == "P" and not indexed:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    values = np.asarray(image)
    if image.mode == "I" and values.min(initial=0) >= 0 and values.max(initial=0) <= np.iinfo(np.uint16).max:
        values = values.astype(np.uint16)  # what older releases of pillow make of a grey PNG of 16 bits
    return values


def _load_whole(path: Path) -> Image.Image:
    with open_picture(path) as image:
        kind = image.format
        if kind not in _FORMATS:
            raise InputError(f"{path} is a {kind} file with the wrong ending; rename it, or save it as PNG.")
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and (kind != "MPO" or _holds_views(image)):
            raise InputError(f"{path} holds {frames} images; save the one to use, or each as a separate file.")
        image.load()
        return image


def _holds_views(image: Image.Image) -> bool:
    entries = getattr(image, "mpinfo", {}).get(_ENTRIES, ())
    return any(str(entry.get("Attribute", {}).get("MPType")).startswith("Multi-Frame") for entry in entries)
