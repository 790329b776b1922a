"""Pictures of objects side by side: the image, the true outlines and the found ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections
from maskmed_nnu.visualization.map_figure import plain
from maskmed_nnu.visualization.outlines import COLOURS, draw_outline


def object_figure(cases: Sequence[tuple[str, NDArray[Any], Detections, Detections]]) -> Figure:
    """A row per case: caption, image ``[y, x]``, true and found objects.

    A found object has the colour of the true one that it shares most of its area with, or white.
    """
    figure = _figure(0.4 + 3.15 * len(cases))
    for row, (caption, image, truth, found) in zip(figure.subplots(len(cases), 3, squeeze=False), cases, strict=True):
        true, others = _masks(truth), _masks(found)
        colours = [COLOURS[index % len(COLOURS)] for index in range(len(true))]
        matched = [_partner(mask, true) for mask in others]
        found_colours = ["white" if index is None else colours[index] for index in matched]
        _draw_row(row, caption, image, [([], []), (true, colours), (others, found_colours)])
    return _finished(figure)


def stack_figure(
    image: NDArray[Any], truth: Integers, found: Integers, *, spacing: tuple[float, float, float]
) -> Figure:
    """A row for each of the planes z, y and x of an image ``[Z, Y, X]`` with true and found ids: of those that show the
    most true objects the one nearest to the middle.

    A found object has the colour of the true one that it shares most of its volume with, or white.
    """
    colours = {number: COLOURS[index % len(COLOURS)] for index, number in enumerate(_numbers(truth))}
    found_colours = {number: colours.get(_true_id(found == number, truth), "white") for number in _numbers(found)}
    lengths = [n * length for n, length in zip(image.shape, spacing, strict=True)]
    down = [lengths[1], lengths[0], lengths[0]]
    across = [lengths[2], lengths[2], lengths[1]]
    heights = [3.15 * a / b for a, b in zip(down, across, strict=True)]
    figure = _figure(0.4 + sum(heights))
    rows = figure.subplots(3, 3, gridspec_kw={"height_ratios": heights})
    for axis, (row, caption) in enumerate(zip(rows, ("z", "y", "x"), strict=True)):
        index = _fullest(truth, axis)
        plane, true, other = (np.take(values, index, axis) for values in (image, truth, found))
        drawn: list[tuple[list[NDArray[np.bool_]], list[str]]] = [([], [])]
        for ids, of_id in ((true, colours), (other, found_colours)):
            drawn.append(([ids == number for number in _numbers(ids)], [of_id[number] for number in _numbers(ids)]))
        rest = [length for other_axis, length in enumerate(spacing) if other_axis != axis]
        _draw_row(row, f"{caption} = {index}", plane, drawn, aspect=rest[0] / rest[1], clim=(image.min(), image.max()))
    return _finished(figure)


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(9.6, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _draw_row(
    row: Sequence[Axes],
    caption: str,
    image: NDArray[Any],
    drawn: Sequence[tuple[list[NDArray[np.bool_]], list[str]]],
    *,
    aspect: float = 1.0,
    clim: tuple[float | None, float | None] = (None, None),
) -> None:
    for axis, objects in zip(row, drawn, strict=True):
        axis.imshow(image, cmap="gray", interpolation="bicubic", aspect=aspect, vmin=clim[0], vmax=clim[1])
        for mask, colour in zip(*objects, strict=True):
            draw_outline(axis, mask, colour, opacity=0.15)
        axis.set_xticks([])
        axis.set_yticks([])
    row[0].set_ylabel(plain(caption), fontsize=9, color="#333333")


def _finished(figure: Figure) -> Figure:
    for axis, title in zip(figure.axes, ("image", "truth", "found"), strict=False):
        axis.set_title(title, fontsize=11)
    figure.tight_layout(pad=0.4)
    return figure


def _numbers(ids: Integers) -> list[int]:
    return [int(number) for number in np.unique(ids) if number]


def _fullest(ids: Integers, axis: int) -> int:
    counts = [len(_numbers(plane)) for plane in np.moveaxis(ids, axis, 0)]
    return max(range(len(counts)), key=lambda index: (counts[index], -abs(index - len(counts) // 2)))


def _true_id(mask: NDArray[np.bool_], truth: Integers) -> int:
    """The id that most of ``mask`` lies in, 0 where it meets none."""
    counts = np.bincount(truth[mask])
    counts[:1] = 0
    return int(np.argmax(counts)) if counts.any() else 0


def _masks(objects: Detections) -> list[NDArray[np.bool_]]:
    masks: list[NDArray[np.bool_]] = [np.zeros(objects.shape, bool) for _ in objects.masks]
    for whole, (y0, x0, y1, x1), mask in zip(masks, objects.boxes, objects.masks, strict=True):
        whole[y0:y1, x0:x1] = mask >= MASK_THRESHOLD
    return masks


def _partner(mask: NDArray[np.bool_], others: Sequence[NDArray[np.bool_]]) -> int | None:
    """Which of `others` overlaps most with `mask`, by intersection over union."""
    overlaps = [(mask & other).sum() / max(1, (mask | other).sum()) for other in others]
    return int(np.argmax(overlaps)) if max(overlaps, default=0) > 0 else None
