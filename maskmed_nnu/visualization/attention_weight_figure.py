"""What one place attends to in each attention module of MaskAttn-UNet, over the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maskmed_nnu.analysis.attention_weights import AttentionWeights
from maskmed_nnu.visualization.panels import cross, grey_picture, new_figure, panel_size, show

COLUMNS = 6


def attention_weight_figure(
    image: NDArray[Any], modules: Mapping[str, AttentionWeights], *, aspect: float, title: str
) -> Figure:
    """A column for each module: what the cross attends to, and below it which keys the mask lets in; means over heads.

    ``image [C, H, W]``. Attention is drawn from 0 to the largest of its panel, since its sum is one whatever the keys.
    """
    masked = any(weights.mask is not None for weights in modules.values())
    width, height = panel_size(image.shape[1:], aspect, within=2.6)
    blocks = -(-len(modules) // COLUMNS)
    columns = -(-len(modules) // blocks)
    rows = (1 + masked) * blocks
    figure = new_figure(columns * max(width, 1.5) + 1.4, rows * (height + 0.3) + 0.5 * blocks + 0.4, title)
    axes = figure.subplots(rows, columns, squeeze=False)
    grey = grey_picture(image)
    for axis in axes.flat:
        axis.set_visible(False)
    for index, (name, weights) in enumerate(modules.items()):
        row, column = index // columns * (1 + masked), index % columns
        panels: list[tuple[Any, NDArray[Any], float | None]] = [(axes[row][column], weights.attention.mean(0), None)]
        if masked and weights.mask is not None:
            panels.append((axes[row + 1][column], weights.mask.mean(0), 1.0))
        for axis, values, most in panels:
            axis.set_visible(True)
            size = "×".join(map(str, values.shape))
            show(axis, grey, aspect=aspect, title=f"{name}\n{size} keys" if most is None else "")
            limits = axis.get_xlim(), axis.get_ylim()
            top, left = -0.5 - weights.offset
            bottom, right = (top, left) + np.array(values.shape) * weights.cell
            drawn = axis.imshow(
                values,
                aspect=aspect,
                extent=(left, right, bottom, top),
                cmap="inferno",
                vmin=0,
                vmax=most,
                alpha=0.65,
                interpolation="nearest",
            )
            axis.set(xlim=limits[0], ylim=limits[1])
            if most is None:
                cross(axis, weights.asked_at)
            if most is not None and column == columns - 1:
                figure.colorbar(drawn, ax=axis, shrink=0.8)
    for row in range(rows):
        axes[row][0].set_ylabel("mask of the keys" if masked and row % 2 else "attention", fontsize=10)
    return figure
