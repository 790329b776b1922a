"""The queries of IAUNet: heatmap, peaks and votes, and the masks of the likeliest ones; of a volume in one slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maskmed_nnu.analysis.object_queries import ObjectQueries
from maskmed_nnu.visualization.outlines import draw_outline
from maskmed_nnu.visualization.panels import GREY, Colour, grey_picture, legend_of, new_figure, panel_size, show, tint

FOUND, LEFT_OUT = "#E69F00", "#56B4E9"
VOTES = 90
"""How many votes are drawn along the longer side of the image."""
SHOWN = 17
"""Queries whose masks are drawn."""
MARGIN = 6
"""Pixels around an object."""


def centres_figure(
    image: NDArray[Any],
    queries: ObjectQueries,
    things: Sequence[str],
    colours: Sequence[Colour],
    *,
    threshold: float,
    aspect: float,
    title: str,
) -> Figure:
    """Image and peaks, heatmap, votes, and outlines of what was found; of image queries only.

    ``image [C, H, W]``; ``things`` are the names of the heatmap's classes, ``threshold`` is the plans' least score.
    """
    assert queries.heat is not None and queries.peaks is not None
    shape = image.shape[1:]
    width, height = panel_size(shape, aspect, within=4.6)
    figure = new_figure(2 * width + 0.8, 2 * height + 1.4, title)
    axes = figure.subplots(2, 2).ravel()
    grey = grey_picture(image)
    found = queries.scores >= threshold
    for axis, heading in zip(
        axes,
        (
            f"peaks: {found.sum()} of {len(found)} predict an object (orange)",
            "heatmap of centres, 0 (black) to 1",
            "votes: lines from pixels of objects to the centre that they vote for",
            "predicted objects, each with its peak",
        ),
        strict=True,
    ):
        show(axis, np.zeros_like(grey) if axis is axes[1] else grey, aspect=aspect, title=heading)
    for wanted, colour, size in ((~found, LEFT_OUT, 9), (found, FOUND, 28)):
        places = queries.peaks[wanted]
        axes[0].scatter(places[:, 1], places[:, 0], s=size, color=colour, edgecolors="black", linewidths=0.4)
    limits = axes[1].get_xlim(), axes[1].get_ylim()
    coloured = (queries.heat[..., None] * np.array(colours, np.float32)[:, None, None]).max(0)
    extent = _extent(coloured.shape[:2], queries.heat_stride, queries.offset)
    axes[1].imshow(coloured, aspect=aspect, extent=extent, interpolation="nearest")
    axes[1].set(xlim=limits[0], ylim=limits[1])
    if len(things) > 1:
        legend_of(figure, zip(things, colours, strict=True))
    inside = np.zeros(shape, bool)
    for index in np.flatnonzero(found)[::-1]:
        (y0, x0, y1, x1), mask = queries.boxes[index], queries.masks[index] >= 0.5
        inside[y0:y1, x0:x1] |= mask
        whole = np.zeros(shape, bool)
        whole[y0:y1, x0:x1] = mask
        colour = colours[queries.classes[index]]
        draw_outline(axes[3], whole, to_hex(colour), opacity=0.2)
        axes[3].plot(queries.peaks[index, 1], queries.peaks[index, 0], ".", color=FOUND, markersize=5)
    _votes(axes[2], queries, inside)
    return figure


def query_masks_figure(
    image: NDArray[Any],
    queries: ObjectQueries,
    things: Sequence[str],
    colours: Sequence[Colour],
    *,
    aspect: float,
    title: str,
) -> Figure:
    """The masks of the likeliest queries, each with what is around it."""
    chosen = [index for index in range(len(queries.masks)) if queries.masks[index].size][:SHOWN]
    columns = min(6, max(len(chosen), 1))
    rows = -(-max(len(chosen), 1) // columns)
    figure = new_figure(columns * 1.9 + 0.3, rows * 2.2 + 0.8, title)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    grey = grey_picture(image)
    edges = queries.boxes[chosen, 2:] - queries.boxes[chosen, :2]
    half = edges.max(initial=1) / 2 + MARGIN
    for axis, index in zip(axes, chosen, strict=False):
        y0, x0, y1, x1 = queries.boxes[index].tolist()
        number = int(queries.classes[index])
        show(axis, grey, aspect=aspect, title=f"query {index}\n{things[number]} {queries.scores[index]:.2f}")
        soft = np.zeros(grey.shape[:2], np.float32)
        soft[y0:y1, x0:x1] = queries.masks[index]
        tint(axis, soft, colours[number], aspect=aspect, interpolation="nearest")
        y, x = (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2
        axis.set(xlim=(x - half, x + half), ylim=(y + half, y - half))
        if queries.peaks is not None:
            y, x = queries.peaks[index]
            axis.plot(x, y, "+", color="black", markersize=8, markeredgewidth=1.5)
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    if not chosen:
        axes[0].text(0.5, 0.5, "no query has a mask in this patch", ha="center", color=GREY)
    return figure


def _extent(
    shape: tuple[int, ...], stride: tuple[int, ...], offset: tuple[int, ...]
) -> tuple[float, float, float, float]:
    """Where matplotlib draws a grid whose cells are ``stride`` pixels: left, right, bottom, top."""
    top, left = (-0.5 - start for start in offset)
    return left, left + shape[1] * stride[1], top + shape[0] * stride[0], top


def _votes(axis: Any, queries: ObjectQueries, inside: NDArray[np.bool_]) -> None:
    if queries.votes is None:
        axis.set_visible(False)
        return
    down, across = (max(1, round(max(inside.shape) / VOTES / edge)) for edge in queries.vote_stride)
    rows, columns = np.mgrid[down // 2 : queries.votes.shape[1] : down, across // 2 : queries.votes.shape[2] : across]
    # a cell's truth is that of its pixel number stride // 2
    y, x = (
        cells * edge + edge // 2 - before
        for cells, edge, before in zip((rows, columns), queries.vote_stride, queries.offset, strict=True)
    )
    valid = (y >= 0) & (x >= 0) & (y < inside.shape[0]) & (x < inside.shape[1])
    valid[valid] = inside[y[valid], x[valid]]
    dy, dx = queries.votes[:, rows[valid], columns[valid]]
    start, end = np.stack((x[valid], y[valid]), 1), np.stack((x[valid] + dx, y[valid] + dy), 1)
    limits = axis.get_xlim(), axis.get_ylim()
    axis.add_collection(LineCollection(list(np.stack((start, end), 1)), colors=LEFT_OUT, linewidths=0.5, alpha=0.7))
    axis.plot(*end.T, ".", color=FOUND, markersize=2.5)
    axis.set(xlim=limits[0], ylim=limits[1])
