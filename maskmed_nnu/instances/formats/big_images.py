"""Images larger than memory, of which only the requested parts are read: OME-Zarr, and TIFF by tifffile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.blocks import format_block
from maskmed_nnu.instances.formats.endings import TIFF, ending
from maskmed_nnu.instances.formats.files import damage_told
from maskmed_nnu.instances.formats.ome_zarr import open_image, zarr_module
from maskmed_nnu.instances.formats.tiff import main_series, read_tiff_scale


@dataclass(frozen=True, eq=False)
class BigImage:
    """An image of which nothing is read yet; as nnU-Net has it, it has channels and Z, Y, X."""

    path: Path
    array: Any
    """Of Zarr, ``[*axes]``"""
    axes: str
    """Of T, C, Z, Y, X"""
    spacing: tuple[float, ...] | None
    """In mm along those of Z, Y, X that it has; None where it tells none"""
    zarr_format: Literal[2, 3] = 2

    @property
    def spatial(self) -> str:
        """Those of Z, Y, X that it has."""
        return "".join(axis for axis in "ZYX" if axis in self.axes)

    @property
    def channels(self) -> int:
        """How many there are."""
        return int(self.array.shape[self.axes.index("C")]) if "C" in self.axes else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Along Z, Y, X."""
        z, y, x = (int(self.array.shape[self.axes.index(a)]) if a in self.axes else 1 for a in "ZYX")
        return z, y, x

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Along Z, Y, X: what is stored together."""
        z, y, x = (int(self.array.chunks[self.axes.index(a)]) if a in self.axes else 1 for a in "ZYX")
        return z, y, x

    def read(self, window: Sequence[slice]) -> NDArray[np.float32]:
        """float32 ``[C, *window]``, a copy; ``window`` along Z, Y, X.

        Raises:
            InputError: where it cannot be read.
        """
        along = dict(zip("ZYX", window, strict=True))
        index = tuple(along.get(axis, 0 if axis == "T" else slice(None)) for axis in self.axes)
        try:
            values = np.asarray(self.array[index])
        except Exception as error:  # zarr and the codecs raise whatever they like
            raise InputError(
                f"{self.path} cannot be read at {format_block(window)} ({error}); copy it again."
            ) from None
        left = [axis for axis in self.axes if axis != "T"]
        values = values.transpose([left.index(axis) for axis in "CZYX" if axis in left])
        lead = (self.channels, *(part.stop - part.start for part in window))
        return values.reshape(lead).astype(np.float32)


def open_big_image(path: Path) -> BigImage:
    """An OME-Zarr folder, or a TIFF; nothing but the metadata is read.

    Raises:
        InputError: where it is neither, or has several time points.
    """
    image = _open_tiff(path) if ending(path) in TIFF else _open_zarr(path)
    if "T" in image.axes and image.array.shape[image.axes.index("T")] > 1:
        times = image.array.shape[image.axes.index("T")]
        raise InputError(f"{path} has {times} time points; give an image of each.")
    return image


def _open_zarr(path: Path) -> BigImage:
    array, axes, spacing = open_image(path)
    return BigImage(path, array, axes, spacing, array.metadata.zarr_format)


def _open_tiff(path: Path) -> BigImage:
    import tifffile

    zarr = zarr_module()
    with damage_told(path), tifffile.TiffFile(path) as file:
        series, *others = main_series(path, file)
        axes, kind = series.axes.replace("S", "C"), series.keyframe.photometric.name
        legal = kind in ("MINISBLACK", "RGB", "YCBCR") and set("YX") <= set(axes) <= set("TCZYX")
        if others or not legal or len(set(axes)) < len(axes):
            raise InputError(
                f"{path} has the axes {series.axes} and the photometric interpretation {kind}, of {1 + len(others)} "
                "images; in parts are read single images, grey or RGB, with axes of T, C, Z, Y, X. Write it as "
                "OME-TIFF or OME-Zarr."
            )
        index = next(number for number, top in enumerate(file.series) if top is series or series in top.levels)
        level = file.series[index].levels.index(series)
    scale = read_tiff_scale(path)
    spacing = None if scale is None else scale.millimetres(volume="Z" in axes)
    array = zarr.open(tifffile.imread(path, aszarr=True, series=index, level=level), mode="r")
    return BigImage(path, array, axes, spacing)
