"""Smooth outlines of masks on a figure's axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.ndimage import zoom

# Okabe and Ito's colours, which colour-blind readers can tell apart
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#F0E442", "#0072B2", "#999999")
POINTS = 400
"""How many positions outlines are computed at, along the longer side of the image."""


def draw_outline(axis: Axes, mask: NDArray[Any], colour: str, *, opacity: float) -> None:
    """Tint a mask [y, x] and draw its outline, smoothly between the pixels, each of which stays on its side of it."""
    axis.autoscale(False)
    rows, columns = (np.flatnonzero(mask.any(along)) for along in (1, 0))
    if not len(rows):
        return
    y0, x0 = rows[0] - 1, columns[0] - 1
    piece = np.pad(mask[y0 + 1 : rows[-1] + 1, x0 + 1 : columns[-1] + 1] > 0, 1).astype(np.float32)
    smooth = zoom(piece, max(1, round(POINTS / max(mask.shape))), order=3)
    y, x = (
        np.linspace(start, start + length - 1, points)
        for start, length, points in zip((y0, x0), piece.shape, smooth.shape, strict=True)
    )
    axis.contourf(x, y, smooth, levels=(0.5, 9), colors=[colour], alpha=opacity)
    axis.contour(x, y, smooth, levels=(0.5,), colors=[colour], linewidths=1.3)
