"""Where MaskMed's FSAD-Transformer samples, over the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maskmed_nnu.analysis.sampling_places import SamplingPlaces
from maskmed_nnu.visualization.outlines import COLOURS
from maskmed_nnu.visualization.panels import cross, grey_picture, legend_of, new_figure, show

LARGEST_AREA = 260.0
"""Points² of the dot of the largest weight."""


def sampling_figure(image: NDArray[Any], places: SamplingPlaces, spacing: tuple[float, ...], *, title: str) -> Figure:
    """A panel for each level that asks, of a volume a row with a panel for each pair of axes; all depths are shown.

    ``image [C, *spatial]``; a dot's area is its weight, its colour the level that is sampled.
    """
    dim = image.ndim - 1
    planes = [(0, 1)] if dim == 2 else [(1, 2), (0, 2), (0, 1)]
    edges = np.array(image.shape[1:]) * spacing
    sizes = [4.4 / edges.max() * edges[[across, down]] for down, across in planes]
    asking = len(places.asking_levels)
    rows, columns = (1, asking) if dim == 2 else (asking, len(planes))
    widths = [size[0] for size in sizes] * (columns // len(planes))
    height = max(size[1] for size in sizes) + 0.45
    figure = new_figure(sum(widths) + 0.35 * columns, rows * height + 1.2, title)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"width_ratios": widths})
    levels = places.weights.shape[2]
    largest = float(places.weights.max())
    for row, level in enumerate(places.asking_levels):
        asked, at = places.asked_at[row], places.positions[row]
        panels = axes[0, row : row + 1] if dim == 2 else axes[row]
        for axis, (down, across) in zip(panels, planes, strict=True):
            through = [
                slice(None),
                *(slice(None) if a in (down, across) else _index(asked, a, image) for a in range(dim)),
            ]
            name = f"asked by level {level}" + (f": {'zyx'[down]} down, {'zyx'[across]} across" if dim == 3 else "")
            show(axis, grey_picture(image[tuple(through)]), aspect=spacing[down] / spacing[across], title=name)
            for sampled in range(levels):
                dots = at[:, sampled].reshape(-1, dim)
                area = places.weights[row, :, sampled].ravel() / largest * LARGEST_AREA
                axis.scatter(
                    dots[:, across],
                    dots[:, down],
                    s=area,
                    color=COLOURS[sampled % len(COLOURS)],
                    alpha=0.7,
                    edgecolors="white",
                    linewidths=0.4,
                )
            cross(axis, (asked[down], asked[across]))
    legend_of(figure, [(f"samples of level {level}", COLOURS[level % len(COLOURS)]) for level in range(levels)])
    return figure


def _index(asked: NDArray[np.floating[Any]], axis: int, image: NDArray[Any]) -> int:
    return int(np.clip(round(float(asked[axis])), 0, image.shape[1 + axis] - 1))
