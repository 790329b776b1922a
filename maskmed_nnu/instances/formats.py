"""PNG, TIFF and NIfTI files as arrays and back; a damaged file is refused, never read in part.

The libraries are more lenient: ITK gives zeros for what a truncated NIfTI lacks, tifffile fewer pages and a line in its
log.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError

NIFTI = (".nii.gz", ".nii")
TIFF = (".tif", ".tiff")
IMAGE_2D = (".png", ".bmp", ".jpg", ".jpeg")
ENDINGS = (*IMAGE_2D, *TIFF, *NIFTI)

_PNG_WITH_COLOUR, _PNG_GREY_WITH_ALPHA = (2, 6), 4  # the colour types in a PNG's header

Image.MAX_IMAGE_PIXELS = None  # whole slides are no attack


@dataclass(frozen=True)
class Geometry:
    """Where a NIfTI file's voxels lie, in ITK's terms (x, y, z): of as many dimensions as the file has."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @property
    def dimension(self) -> int:
        return len(self.spacing)

    def to(self, dimension: int) -> Geometry:
        """The same with axes of spacing 1 appended, or the last ones cut off."""
        n = min(self.dimension, dimension)
        direction = np.eye(dimension)
        direction[:n, :n] = np.reshape(self.direction, (self.dimension, self.dimension))[:n, :n]
        more = dimension - n
        return Geometry(
            self.spacing[:n] + (1.0,) * more, self.origin[:n] + (0.0,) * more, tuple(direction.ravel().tolist())
        )


@dataclass(frozen=True)
class Raster:
    """What a file holds: ``values [*axes]``, slowest axis first; with ``colour`` the last axis holds its samples."""

    values: NDArray[Any]
    colour: bool = False
    geometry: Geometry | None = None


def ending(path: Path | str) -> str | None:
    """The ending of ``path`` among ``ENDINGS``, in lower case; None where it is none of them."""
    name = Path(path).name.lower()
    return next((e for e in (*NIFTI, *ENDINGS) if name.endswith(e)), None)


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
        if kind in NIFTI:
            return _read_nifti(path)
        return _read_tiff(path) if kind in TIFF else _read_picture(path, indexed)
    except Exception as error:  # the decoders raise whatever they like at damaged files
        reason = " ".join(str(error).split("sitk::ERROR: ")[-1].split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be read ({reason}): it is truncated, damaged or no {kind} file; copy or write it again."
        ) from None


def write(path: Path | str, values: NDArray[Any], geometry: Geometry | None = None) -> None:
    """Write integers ``values [*axes]`` without loss, under a temporary name that is then renamed.

    PNG and BMP take two axes; ``geometry``, of as many dimensions as there are axes, is kept by NIfTI only.
    """
    path = Path(path)
    kind = ending(path)
    if kind in NIFTI:
        image: Any = sitk.GetImageFromArray(values, isVector=False)
        if geometry is not None:
            image.SetSpacing(geometry.spacing)
            image.SetOrigin(geometry.origin)
            image.SetDirection(geometry.direction)
        write_atomically(path, lambda partial: sitk.WriteImage(image, str(partial), True))
    elif kind in TIFF:
        write_atomically(
            path, lambda partial: tifffile.imwrite(partial, values, photometric="minisblack", compression="zlib")
        )
    else:
        write_atomically(path, lambda partial: Image.fromarray(values).save(partial))


def _read_nifti(path: Path) -> Raster:
    image: Any = nibabel.load(path)
    values = np.asanyarray(image.dataobj).T
    # SimpleITK ships py.typed, but its classes have no types
    reader: Any = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    geometry = Geometry(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()).to(values.ndim)
    if values.dtype.names:  # NIfTI's RGB
        return Raster(np.stack([values[name] for name in values.dtype.names], axis=-1), True, geometry)
    return Raster(values, False, geometry)


def _read_tiff(path: Path) -> Raster:
    complaints = _Complaints()
    log = logging.getLogger("tifffile")
    log.addHandler(complaints)
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series
            shapes = {s.shape for s in series}
            # Pages that were written one by one are series of their own; reading the first alone would lose the others.
            pages = [s.asarray() for s in (series if len(shapes) == 1 else series[:1])]
            values, axes = (pages[0], series[0].axes) if len(pages) == 1 else (np.stack(pages), "Q" + series[0].axes)
            colour = _is_coloured(series[0].keyframe) and "S" in axes
    finally:
        log.removeHandler(complaints)
    if complaints.errors:
        raise ValueError(complaints.errors[0])
    if len(shapes) > 1:
        raise ValueError("its pages have different sizes")
    if "S" in axes:  # a planar file has that axis in front
        values = np.moveaxis(values, axes.index("S"), -1 if colour else 0)
    image = values.shape[-3:] if colour else values.shape[-2:]
    return Raster(values.reshape([n for n in values.shape[: -len(image)] if n > 1] + list(image)), colour)


def _is_coloured(page: tifffile.TiffPage) -> bool:
    """Whether a pixel's samples are colours, or grey with transparency, rather than channels of a microscope."""
    alpha = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
    grey_with_alpha = page.samplesperpixel == 2 and any(extra in alpha for extra in page.extrasamples)
    return grey_with_alpha or (page.photometric == tifffile.PHOTOMETRIC.RGB and page.samplesperpixel in (3, 4))


class _Complaints(logging.Handler):
    """Collects what tifffile only logs: a page that lies beyond the file's end is one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(record.getMessage())


def _read_picture(path: Path, indexed: bool) -> Raster:
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
