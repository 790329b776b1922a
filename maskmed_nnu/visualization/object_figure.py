"""Pictures of objects side by side: the image, the true outlines and the found ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maskmed_nnu.instances.detections import Detections
from maskmed_nnu.visualization.overlay import draw_overlay

ENLARGED = 2


def object_figure(cases: Sequence[tuple[str, NDArray[Any], Detections, Detections]]) -> Figure:
    """A row per case: caption, image ``[y, x]``, true and found objects. Images are enlarged for thin outlines."""
    figure = Figure(figsize=(9.6, 0.4 + 3.15 * len(cases)), facecolor="white")
    FigureCanvasAgg(figure)
    for row, (caption, image, truth, found) in zip(figure.subplots(len(cases), 3, squeeze=False), cases, strict=True):
        large = image.repeat(ENLARGED, 0).repeat(ENLARGED, 1)
        for axis, objects in zip(row, (None, truth, found), strict=True):
            if objects is None:
                axis.imshow(image, cmap="gray", interpolation="bicubic")
            else:
                axis.imshow(
                    draw_overlay(large[None], objects.resize((large.shape[0], large.shape[1]))),
                    interpolation="bilinear",
                )
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(caption, fontsize=9, color="#333333")
    for axis, title in zip(figure.axes, ("image", "truth", "found"), strict=False):
        axis.set_title(title, fontsize=11)
    figure.tight_layout(pad=0.4)
    return figure
