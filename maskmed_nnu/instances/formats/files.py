"""One way to read a file of any format, and one to write it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import nibabel
import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.endings import ENDINGS, NIFTI, TIFF, VOLUMES, WRITTEN_BY_ITK, ending
from maskmed_nnu.instances.formats.geometry import Geometry
from maskmed_nnu.instances.formats.pictures import count_channels as count_picture_channels
from maskmed_nnu.instances.formats.pictures import read_picture
from maskmed_nnu.instances.formats.raster import Raster
from maskmed_nnu.instances.formats.tiff import count_tiff_channels, read_tiff, renamed
from maskmed_nnu.instances.formats.tiff_scale import TiffScale
from maskmed_nnu.instances.formats.volumes import read_header, read_volume, write_nifti, write_with_itk

_ITK_PREFIX = re.compile(r"Exception thrown in SimpleITK \S+ \S+\s|\S*(sitk::|ITK )ERROR: (\w+\(0x\w+\): )?")


def read(path: Path | str, *, indexed: bool = False, axes: str | None = None) -> Raster:
    """Read a file; ``indexed`` keeps the numbers of palette colours, ``axes`` says what those of a TIFF or a
    volume are, slowest first.

    Raises:
        InputError: where the file is missing, of another format, truncated, damaged, or of more than one image, or may
            not be read.
    """
    path = Path(path)
    kind = ending(path)
    if kind is None:
        raise InputError(f"{path} has an unsupported format; legal endings are {', '.join(ENDINGS)}.")
    try:
        with path.open("rb") as file:  # so that a file that is closed or gone is told alike for every library
            file.read(1)
    except (FileNotFoundError, NotADirectoryError):
        lost = "is a link to a missing file" if path.is_symlink() else "does not exist"
        raise InputError(f"{path} {lost}; check the name and the folder.") from None
    except OSError as error:
        raise _not_given(path, error) from None
    with damage_told(path):
        if kind in VOLUMES:
            return _with_axes(path, read_volume(path), axes)
        return read_tiff(path, indexed, axes) if kind in TIFF else read_picture(path, indexed)


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Whatever the libraries raise while they read ``path`` becomes a sentence.

    Raises:
        InputError: in the place of any other exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the decoders raise whatever they like at damaged files
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a damaged file's offset is invalid
            raise _not_given(path, error) from None
        reason = " ".join(_ITK_PREFIX.sub("", str(error)).split()) or type(error).__name__
        if "requires the 'imagecodecs' package" in reason:
            raise InputError(
                f"{path} is compressed with {reason.split(':')[0].rpartition('.')[2]}, which needs the package "
                "imagecodecs; install it (pip install imagecodecs), or save the file without compression."
            ) from None
        raise InputError(
            f"{path} cannot be read ({reason}): it is truncated, damaged or not a {ending(path)} file; copy or "
            "write it again."
        ) from None


def _not_given(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be read ({error.strerror}); check the path, its permissions and its disk.")


def _with_axes(path: Path, volume: Raster, axes: str | None) -> Raster:
    if axes is None:
        return volume
    geometry = volume.geometry if volume.geometry is None or "Z" in axes else volume.geometry.to(2)
    return replace(volume, axes=renamed(path, volume, axes), geometry=geometry)


def count_channels(path: Path) -> int:
    """The channels of a file, without its transparency, from its header; 1 where that cannot be read."""
    kind = ending(path)
    try:
        if kind in NIFTI:
            image: Any = nibabel.load(path)
            return int(len(image.get_data_dtype().names or "1") * prod(image.shape[3:]))
        if kind in VOLUMES:
            return read_header(path).components
        return count_tiff_channels(path) if kind in TIFF else count_picture_channels(path)
    except Exception:  # whoever reads the file will say what is wrong
        return 1


def write(
    path: Path | str, values: NDArray[Any], geometry: Geometry | None = None, scale: TiffScale | None = None
) -> None:
    """Write integers ``values [*axes]`` without loss, under a temporary name that is then renamed.

    PNG and BMP take two axes. ``geometry`` is kept by NIfTI, NRRD and MetaImage, which then have as many axes at least,
    ``scale`` by TIFF only.
    """
    path = Path(path)
    kind = ending(path)
    if kind in NIFTI:
        write_atomically(path, lambda partial: write_nifti(partial, values, geometry))
    elif kind in WRITTEN_BY_ITK:
        write_atomically(path, lambda partial: write_with_itk(partial, values, geometry))
    elif kind in TIFF:
        options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "ome": False}
        options |= scale.options(values) if scale is not None else {}
        write_atomically(path, lambda partial: tifffile.imwrite(partial, values, **options))
    else:
        write_atomically(path, lambda partial: Image.fromarray(values).save(partial))
