"""The queries of MaskMed: their masks, which of them answers for which class, how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from maskmed_nnu.analysis.query_roles import principal_components, similarity
from maskmed_nnu.visualization.map_figure import plain
from maskmed_nnu.visualization.panels import (
    GREY,
    TEXT,
    Colour,
    grey_picture,
    legend_of,
    new_figure,
    panel_size,
    short,
    show,
    tint,
)

COLUMNS = 6


class QueryText(NamedTuple):
    """How a query is called in figures."""

    number: int
    class_name: str
    """The likeliest class, or "no object" """
    probability: float
    colour: Colour
    rank: int
    """By which queries of one class stand together"""
    remark: str = ""
    """What it answers for"""


def masks_figure(
    image: NDArray[Any],
    classes: NDArray[np.uint8],
    masks: NDArray[np.floating[Any]],
    queries: Sequence[QueryText],
    legend: Sequence[tuple[str, Colour]],
    *,
    aspect: float,
    title: str,
) -> Figure:
    """The image with the classes that the network sees (a picture ``[H, W, 3]``), then each of ``masks [Q, H, W]``.

    ``image [C, H, W]``; ``queries`` in the order of ``masks``.
    """
    panels = 1 + len(masks)
    columns = min(COLUMNS, panels)
    rows = -(-panels // columns)
    width, height = panel_size(classes.shape, aspect, within=2.3)
    figure = new_figure(columns * max(width, 1.9) + 0.3, rows * (height + 0.75) + 0.8, title)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    grey = grey_picture(image)
    show(axes[0], classes, aspect=aspect, title="all queries together\n")
    for axis, mask, query in zip(axes[1:], masks, queries, strict=False):
        name, remark = short(query.class_name, 14), short(query.remark, 28)
        heading = f"query {query.number}: {name} {query.probability:.2f}\n{remark}"
        show(axis, grey, aspect=aspect, title=heading)
        tint(axis, mask, query.colour, aspect=aspect, interpolation="nearest")
        if mask.min() < 0.5 <= mask.max():
            axis.contour(mask, (0.5,), colors=["white"], linewidths=2.2)
            axis.contour(mask, (0.5,), colors=[darker(query.colour)], linewidths=1.1)
    for axis in axes[panels:]:
        axis.set_visible(False)
    legend_of(figure, legend)
    return figure


def roles_figure(shares: NDArray[np.floating[Any]], names: Sequence[str], *, title: str) -> Figure:
    """Which query answers for which class: ``shares [Q, K]`` of each class's voxels, NaN where it has none."""
    queries, classes = shares.shape
    figure = new_figure(2.2 + 0.75 * classes, 1.9 + 0.32 * queries, title)
    axis = figure.subplots()
    axis.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for query, number in np.argwhere(shares >= 0.005):
        value = shares[query, number]
        colour = "white" if value > 0.6 else TEXT
        axis.text(number, query, f"{100 * value:.0f}", ha="center", va="center", color=colour, fontsize=9)
    for number in np.flatnonzero(np.isnan(shares).all(0)):
        axis.text(number, (queries - 1) / 2, "not in this patch", rotation=90, ha="center", va="center", color=GREY)
    axis.set_xticks(range(classes), [plain(name) for name in names], rotation=40, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(queries), [f"query {query}" for query in range(queries)])
    axis.set_title("% of a class's voxels where the query adds most to the score", fontsize=9, color=GREY)
    axis.tick_params(length=0, labelsize=9)
    return figure


def similarity_figure(
    class_embeddings: NDArray[np.floating[Any]],
    mask_embeddings: NDArray[np.floating[Any]],
    queries: Sequence[QueryText],
    *,
    title: str,
) -> Figure:
    """Cosines between the queries' embeddings, and the embeddings in the plane of their largest variance."""
    figure = new_figure(12, 10.5, title)
    axes = figure.subplots(2, 2)
    drawn: Any = None
    for (upper, lower), what, embeddings in zip(
        axes.T, ("class embeddings", "mask embeddings"), (class_embeddings, mask_embeddings), strict=True
    ):
        drawn = _cosines(upper, similarity(embeddings), queries)
        upper.set_title(f"{what}: cosine similarity", fontsize=10, color=TEXT)
        places, variance = principal_components(embeddings)
        _scatter(lower, places, queries)
        lower.set_title(f"{what}: principal components", fontsize=10, color=TEXT)
        for set_label, number in ((lower.set_xlabel, 0), (lower.set_ylabel, 1)):
            set_label(f"component {number + 1} ({100 * variance[number]:.0f}% of the variance)", fontsize=9)
    figure.colorbar(drawn, ax=axes[0], shrink=0.8, label="cosine")
    of_class = sorted(queries, key=lambda query: query.rank)
    legend_of(figure, dict.fromkeys((query.class_name, query.colour) for query in of_class))
    return figure


def _cosines(axis: Axes, cosines: NDArray[np.floating[Any]], queries: Sequence[QueryText]) -> Any:
    """The matrix, queries of one class side by side."""
    order = sorted(range(len(queries)), key=lambda index: (queries[index].rank, queries[index].number))
    ordered = cosines[np.ix_(order, order)]
    drawn = axis.imshow(ordered, cmap="RdBu_r", vmin=-1, vmax=1)
    if len(order) <= 12:
        for row, column in np.ndindex(ordered.shape):
            value = ordered[row, column]
            colour = "white" if abs(value) > 0.6 else TEXT
            axis.text(column, row, f"{round(value, 1) + 0:.1f}", ha="center", va="center", color=colour, fontsize=8)
    numbers = [queries[index].number for index in order]
    names = [plain(f"{short(queries[index].class_name, 22)} · query {queries[index].number}") for index in order]
    axis.set_xticks(range(len(order)), list(map(str, numbers)))
    axis.set_yticks(range(len(order)), names)
    for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
        for tick, index in zip(ticks, order, strict=True):
            tick.set_color(darker(queries[index].colour))
    axis.tick_params(length=0, labelsize=8 if len(order) <= 16 else 6.5)
    return drawn


def _scatter(axis: Axes, places: NDArray[np.floating[Any]], queries: Sequence[QueryText]) -> None:
    axis.axhline(0, color="#dddddd", linewidth=0.8, zorder=0)
    axis.axvline(0, color="#dddddd", linewidth=0.8, zorder=0)
    x, y = places.T
    axis.scatter(x, y, c=[query.colour for query in queries], s=130, edgecolors="white", linewidths=0.8)
    axis.set_aspect("equal", adjustable="datalim")  # distances in both directions mean the same
    for together in _close(places):
        axis.annotate(
            ", ".join(str(queries[index].number) for index in together),
            places[together].max(0),
            xytext=(7, 5),
            textcoords="offset points",
            fontsize=9,
            color=TEXT,
        )
    axis.margins(0.15)
    axis.tick_params(labelsize=8, colors=GREY)
    axis.spines[["top", "right"]].set_visible(False)


def _close(places: NDArray[np.floating[Any]]) -> list[list[int]]:
    """Indices of ``places [Q, 2]``, those together that are too close for labels of their own."""
    if len(places) == 1:
        return [[0]]
    extent = max(float(np.ptp(places, axis=0).max()), 1e-9)
    group = fcluster(linkage(places, "complete"), 0.07 * extent, "distance")
    return [np.flatnonzero(group == number).tolist() for number in np.unique(group)]


def darker(colour: Colour) -> Colour:
    """Readable as text on white."""
    red, green, blue = (0.65 * part for part in colour)
    return red, green, blue
