"""What a run is worth: the table of Dice per structure, and the picture of image, truth and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

# Okabe and Ito's colours, which colour-blind readers can tell apart
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#F0E442", "#0072B2", "#999999")


def dice_scores(summary: Mapping, labels: Mapping[str, int | list[int]]) -> dict[str, np.ndarray]:
    """Dice per case of every foreground structure, from nnU-Net's ``summary.json`` and the labels of ``dataset.json``.

    A case in which a structure is neither present nor predicted counts as NaN, as in nnU-Net.
    """
    scores = {}
    for name, value in labels.items():
        key = str(value) if isinstance(value, int) else str(tuple(value))
        per_case = [case["metrics"][key]["Dice"] for case in summary["metric_per_case"] if key in case["metrics"]]
        if per_case:
            scores[name] = np.array(per_case, dtype=float)
    return scores


def mean_dice(scores: Mapping[str, np.ndarray]) -> float:
    """Mean over the structures of their means over the cases; NaN where nothing was there to be found."""
    means = [float(np.nanmean(values)) for values in scores.values() if np.isfinite(values).any()]
    return float(np.mean(means)) if means else float("nan")


def dice_table(scores: Mapping[str, np.ndarray]) -> str:
    """One line per structure: mean, worst and best Dice over the cases that have it, and their number."""
    width = max(map(len, scores), default=0)
    lines = [f"{'':{width}}   mean  worst   best  cases"]
    for name, values in scores.items():
        found = values[np.isfinite(values)]
        numbers = (found.mean(), found.min(), found.max()) if len(found) else (np.nan,) * 3
        lines.append(f"{name:{width}}  {'  '.join(f'{n:5.3f}' for n in numbers)}  {len(found):5d}")
    return "\n".join(lines)


def label_names(description: Mapping) -> dict[int, str]:
    """Name of every foreground value in a label map; for regions, of the value that a prediction writes for each."""
    foreground = {n: v for n, v in description["labels"].items() if v not in (0, [0]) and n != "ignore"}
    if "regions_class_order" in description:
        return dict(zip(description["regions_class_order"], foreground, strict=True))
    return {value: name for name, value in foreground.items()}


def draw(cases: Sequence[tuple[str, Path, Path, Path]], names: Mapping[int, str], path: Path) -> None:
    """Write a picture to `path`: a row per case (caption, image, truth and prediction file), structures in colour."""
    figure = Figure(figsize=(9.6, 0.75 + 2.42 * len(cases)), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(cases), 3, squeeze=False)
    colours = {value: COLOURS[i % len(COLOURS)] for i, value in enumerate(sorted(names))}
    for row, (caption, image_file, truth_file, prediction_file) in zip(axes, cases, strict=True):
        image, height_over_width = _read(image_file)
        truth, prediction = _read(truth_file)[0], _read(prediction_file)[0]
        index = _telling_slice(truth)
        low, high = _window(image, truth)
        for axis, overlay in zip(row, (None, truth, prediction), strict=True):
            aspect = height_over_width
            axis.imshow(image[index], cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="bicubic")
            if overlay is not None:
                axis.imshow(_paint(overlay[index], colours), aspect=aspect, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(caption, fontsize=9, color="#333333")
    for axis, title in zip(axes[0], ("image", "truth", "prediction"), strict=True):
        axis.set_title(title, fontsize=11)
    figure.legend(
        handles=[Patch(color=colours[value], label=names[value]) for value in sorted(names)],
        loc="lower center",
        ncols=min(len(names), 6),
        frameon=False,
        fontsize=10,
    )
    bottom = 0.42 * (1 + (len(names) - 1) // 6) / figure.get_figheight()
    figure.tight_layout(rect=(0, bottom, 1, 1), pad=0.4, w_pad=0.4, h_pad=0.4)
    figure.savefig(path, dpi=110)


def _read(file: Path) -> tuple[np.ndarray, float]:
    """First channel of an image file as [slice, y, x], seen as a radiologist does, and a voxel's height over width."""
    volume = sitk.ReadImage(str(file))
    if volume.GetNumberOfComponentsPerPixel() > 1:
        volume = sitk.VectorIndexSelectionCast(volume, 0)
    if volume.GetDimension() == 3 and min(volume.GetSize()) > 1:
        volume = sitk.DICOMOrient(volume, "LPS")
    array = sitk.GetArrayFromImage(volume)
    spacing = volume.GetSpacing()
    return array.reshape(-1, *array.shape[-2:]), spacing[1] / spacing[0]


def _telling_slice(label: np.ndarray) -> int:
    """The slice of [slice, y, x] that shows the most structures; among those, the one with the largest smallest one."""

    def key(plane: np.ndarray) -> tuple[int, int]:
        counts = np.unique(plane[plane > 0], return_counts=True)[1]
        return len(counts), counts.min(initial=np.iinfo(np.int64).max) if len(counts) else 0

    return max(range(len(label)), key=lambda index: key(label[index]))


def _window(image: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Grey values to show as black and white: the structures' own with a margin, or all where nothing is labelled."""
    values = image[label > 0] if (label > 0).any() else image
    low, high = np.percentile(values, (2, 98))
    margin = max(high - low, 1e-6)
    return low - 1.5 * margin, high + margin


def _paint(label: np.ndarray, colours: Mapping[int, str]) -> np.ndarray:
    """RGBA picture [y, x, 4] of a label map [y, x]."""
    picture = np.zeros((*label.shape, 4))
    for value, colour in colours.items():
        picture[label == value] = to_rgba(colour, alpha=0.62)
    return picture
