"""Pictures of objects side by side: the image, the true outlines and the found ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections
from maskmed_nnu.visualization.map_figure import plain
from maskmed_nnu.visualization.outlines import COLOURS, draw_outline


def object_figure(cases: Sequence[tuple[str, NDArray[Any], Detections, Detections]]) -> Figure:
    """A row per case: caption, image ``[y, x]``, true and found objects.

    A found object has the colour of the true one that it shares most of its area with, or white.
    """
    figure = Figure(figsize=(9.6, 0.4 + 3.15 * len(cases)), facecolor="white")
    FigureCanvasAgg(figure)
    for row, (caption, image, truth, found) in zip(figure.subplots(len(cases), 3, squeeze=False), cases, strict=True):
        true, others = _masks(truth), _masks(found)
        colours = [COLOURS[index % len(COLOURS)] for index in range(len(true))]
        matched = [_partner(mask, true) for mask in others]
        found_colours = ["white" if index is None else colours[index] for index in matched]
        drawn: list[tuple[list[NDArray[np.bool_]], list[str]]] = [([], []), (true, colours), (others, found_colours)]
        for axis, objects in zip(row, drawn, strict=True):
            axis.imshow(image, cmap="gray", interpolation="bicubic")
            for mask, colour in zip(*objects, strict=True):
                draw_outline(axis, mask, colour, opacity=0.15)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(plain(caption), fontsize=9, color="#333333")
    for axis, title in zip(figure.axes, ("image", "truth", "found"), strict=False):
        axis.set_title(title, fontsize=11)
    figure.tight_layout(pad=0.4)
    return figure


def _masks(objects: Detections) -> list[NDArray[np.bool_]]:
    masks: list[NDArray[np.bool_]] = [np.zeros(objects.shape, bool) for _ in objects.masks]
    for whole, (y0, x0, y1, x1), mask in zip(masks, objects.boxes, objects.masks, strict=True):
        whole[y0:y1, x0:x1] = mask >= MASK_THRESHOLD
    return masks


def _partner(mask: NDArray[np.bool_], others: Sequence[NDArray[np.bool_]]) -> int | None:
    """Which of `others` overlaps most with `mask`, by intersection over union."""
    overlaps = [(mask & other).sum() / max(1, (mask | other).sum()) for other in others]
    return int(np.argmax(overlaps)) if max(overlaps, default=0) > 0 else None
