"""Image, truth and prediction of some cases side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from maskmed_nnu.itk import sitk
from maskmed_nnu.visualization.map_figure import plain
from maskmed_nnu.visualization.outlines import COLOURS, draw_outline

ROW_INCHES = 2.42


def prediction_figure(cases: Sequence[tuple[str, Path, Path, Path]], names: Mapping[int, str]) -> Figure:
    """A row per case (caption, image, truth and prediction file), structures in colour; ``names`` of their values."""
    image, height_over_width = _read(cases[0][1])
    panel = ROW_INCHES * image.shape[2] / (image.shape[1] * height_over_width)
    width = float(np.clip(0.4 + 3 * panel, 6.0, 9.6))
    figure = Figure(figsize=(width, 0.75 + ROW_INCHES * len(cases)), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(cases), 3, squeeze=False)
    colours = {value: COLOURS[i % len(COLOURS)] for i, value in enumerate(sorted(names))}
    for row, (caption, image_file, truth_file, prediction_file) in zip(axes, cases, strict=True):
        image, height_over_width = _read(image_file)
        truth, prediction = _read(truth_file)[0], _read(prediction_file)[0]
        index = _slice_with_most_labels(truth)
        low, high = intensity_window(image, truth)
        for axis, overlay in zip(row, (None, truth, prediction), strict=True):
            aspect = height_over_width
            axis.imshow(image[index], cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="bicubic")
            if overlay is not None:
                for value, colour in colours.items():
                    draw_outline(axis, overlay[index] == value, colour, opacity=0.35)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(plain(caption), fontsize=9, color="#333333")
    for axis, title in zip(axes[0], ("image", "truth", "prediction"), strict=True):
        axis.set_title(title, fontsize=11)
    figure.legend(
        handles=[Patch(color=colours[value], label=plain(names[value])) for value in sorted(names)],
        loc="lower center",
        ncols=min(len(names), 6),
        frameon=False,
        fontsize=10,
    )
    bottom = 0.42 * (1 + (len(names) - 1) // 6) / figure.get_figheight()
    figure.tight_layout(rect=(0, bottom, 1, 1), pad=0.4, w_pad=0.4, h_pad=0.4)
    return figure


def _read(file: Path) -> tuple[NDArray[Any], float]:
    """First channel of an image file as [slice, y, x], in radiological orientation, and a voxel's height over width."""
    volume: Any = sitk.ReadImage(str(file))
    if volume.GetNumberOfComponentsPerPixel() > 1:
        volume = sitk.VectorIndexSelectionCast(volume, 0)
    if volume.GetDimension() == 3 and min(volume.GetSize()) > 1:
        volume = sitk.DICOMOrient(volume, "LPS")
    array = sitk.GetArrayFromImage(volume)
    spacing = volume.GetSpacing()
    return array.reshape(-1, *array.shape[-2:]), spacing[1] / spacing[0]


def _slice_with_most_labels(label: NDArray[Any]) -> int:
    """The slice of [slice, y, x] with the most structures; among those, the one whose smallest structure is largest."""

    def key(plane: NDArray[Any]) -> tuple[int, int]:
        counts = np.unique(plane[plane > 0], return_counts=True)[1]
        return len(counts), counts.min(initial=np.iinfo(np.int64).max) if len(counts) else 0

    return max(range(len(label)), key=lambda index: key(label[index]))


def intensity_window(image: NDArray[Any], label: NDArray[Any]) -> tuple[float, float]:
    """The grey values of ``image [*spatial]`` that are shown as black and as white.

    The range is that of the labelled structures (``label [*spatial]``) with a margin; without labels, of the image.
    """
    values = image[label > 0] if (label > 0).any() else image
    low, high = np.percentile(values, (2, 98))
    margin = max(high - low, 1e-6)
    return max(low - 2 * margin, image.min()), high + margin
