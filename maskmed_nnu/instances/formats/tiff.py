"""TIFF files: pages, planes and colours."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import tifffile

from maskmed_nnu.instances.formats.raster import Raster


def read_tiff(path: Path) -> Raster:
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
