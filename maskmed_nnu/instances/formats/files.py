"""One way to read a file of any format, and one to write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.endings import ENDINGS, NIFTI, TIFF, VOLUMES, ending
from maskmed_nnu.instances.formats.geometry import Geometry
from maskmed_nnu.instances.formats.pictures import read_picture
from maskmed_nnu.instances.formats.raster import Raster
from maskmed_nnu.instances.formats.tiff import read_tiff
from maskmed_nnu.instances.formats.volumes import read_volume, write_nifti


def read(path: Path | str, *, indexed: bool = False) -> Raster:
    """Read a file; ``indexed`` keeps the numbers of palette colours.

    Raises:
        InputError: where the file is missing, of another format, truncated or damaged.
    """
    path = Path(path)
    kind = ending(path)
    if kind is None:
        raise InputError(f"{path} is of no format that is read here; legal endings are {', '.join(ENDINGS)}.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the name and the folder.")
    try:
        if kind in VOLUMES:
            return read_volume(path)
        return read_tiff(path) if kind in TIFF else read_picture(path, indexed)
    except InputError:
        raise
    except Exception as error:  # the decoders raise whatever they like at damaged files
        reason = " ".join(str(error).split("sitk::ERROR: ")[-1].split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be read ({reason}): it is truncated, damaged or no {kind} file; copy or write it again."
        ) from None


def write(path: Path | str, values: NDArray[Any], geometry: Geometry | None = None) -> None:
    """Write integers ``values [*axes]`` without loss, under a temporary name that is then renamed.

    PNG and BMP take two axes; ``geometry`` is kept by NIfTI only, which then has as many axes at least.
    """
    path = Path(path)
    kind = ending(path)
    if kind in NIFTI:
        write_atomically(path, lambda partial: write_nifti(partial, values, geometry))
    elif kind in TIFF:
        write_atomically(
            path, lambda partial: tifffile.imwrite(partial, values, photometric="minisblack", compression="zlib")
        )
    else:
        write_atomically(path, lambda partial: Image.fromarray(values).save(partial))
