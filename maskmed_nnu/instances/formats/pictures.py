"""Pictures that are no TIFF: PNG, BMP, JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from maskmed_nnu.instances.formats.endings import ending
from maskmed_nnu.instances.formats.raster import Raster

_PNG_WITH_COLOUR, _PNG_GREY_WITH_ALPHA = (2, 6), 4  # the colour types in a PNG's header

Image.MAX_IMAGE_PIXELS = None  # whole slides are no attack


def read_picture(path: Path, indexed: bool) -> Raster:
    if ending(path) == ".png":
        with path.open("rb") as file:
            head = file.read(26)
        if len(head) == 26 and head[24] == 16:  # pillow would cut these to 8 bits
            if head[25] == _PNG_GREY_WITH_ALPHA:
                raise ValueError("16 bits of grey beside transparency, which neither ITK nor pillow reads whole")
            if head[25] in _PNG_WITH_COLOUR:
                _load_whole(path)
                return Raster(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), True)
    image = _load_whole(path)
    if image.mode == "P" and not indexed:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    values = np.asarray(image)
    if image.mode == "I" and values.min(initial=0) >= 0 and values.max(initial=0) <= np.iinfo(np.uint16).max:
        values = values.astype(np.uint16)  # what older releases of pillow make of a grey PNG of 16 bits
    return Raster(values, values.ndim == 3)


def _load_whole(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image
