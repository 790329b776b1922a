"""How large images are, from their headers: no voxel is read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.instances.formats import IMAGE_2D, NIFTI, TIFF, ending

BY_ITK = (".nrrd", ".mha", ".gipl")
THREADS = 8  # a header waits for the disk, or for a drive on the network, longer than it computes


class Header(NamedTuple):
    """``values``: how many numbers a file holds, those of all its channels; None where that is not known.

    ``max_channels``: as many as the file can be read as.
    """

    values: int | None = None
    max_channels: int | None = None
    damaged: bool = False


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """One header for each file, in the same order."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read_header, paths))


def read_header(path: Path) -> Header:
    """Never raises: what cannot be read is ``damaged``, what is of a format that is not known here says nothing."""
    kind = ending(path)
    try:
        if path.suffix.lower() in BY_ITK:
            return _itk(path)
        if kind in NIFTI:
            return _nifti(path)
        if kind in TIFF:
            return _tiff(path)
        return _picture(path) if kind in IMAGE_2D else Header()
    except Exception:  # the libraries raise whatever they like at damaged files
        return Header(damaged=True)


def _nifti(path: Path) -> Header:
    import nibabel

    try:
        image: Any = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError:
        return _itk(path)  # an uncompressed file called .nii.gz is one to ITK
    colours = len(image.get_data_dtype().names or "1")  # of a NIfTI of RGB
    return Header(prod(image.shape) * colours, prod(image.shape[3:]) * colours)


def _tiff(path: Path) -> Header:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page, pages = file.pages.first, len(file.pages)
        return Header(pages * prod(page.shape), pages * page.samplesperpixel)


def _picture(path: Path) -> Header:
    from maskmed_nnu.instances.formats.pictures import open_picture

    with open_picture(path) as image:
        channels = 4 if image.mode == "P" else len(image.getbands())
        return Header(prod(image.size) * min(channels, 3), channels)


def _itk(path: Path) -> Header:
    from maskmed_nnu.itk import sitk

    reader: Any = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size, channels = reader.GetSize(), reader.GetNumberOfComponents()
    return Header(prod(size) * channels, prod(size[3:]) * channels)
