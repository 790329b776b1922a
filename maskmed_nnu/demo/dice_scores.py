"""Dice per structure and case, from nnU-Net's summary, and its table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np


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
    """Mean over the structures of their means over the cases; NaN if no structure occurs."""
    means = [float(np.nanmean(values)) for values in scores.values() if np.isfinite(values).any()]
    return float(np.mean(means)) if means else float("nan")


def dice_table(scores: Mapping[str, np.ndarray]) -> str:
    """One line per structure: mean, worst and best Dice over the cases that have it, and their number."""
    width = max(map(len, scores), default=0)
    lines = [f"{'':{width}}   mean  worst   best  cases"]
    for name, values in scores.items():
        defined = values[np.isfinite(values)]
        numbers = (defined.mean(), defined.min(), defined.max()) if len(defined) else (np.nan,) * 3
        lines.append(f"{name:{width}}  {'  '.join(f'{n:5.3f}' for n in numbers)}  {len(defined):5d}")
    return "\n".join(lines)


def worst_to_best(summary: Mapping, *, ending: str) -> list[tuple[str, float]]:
    """Name and mean Dice of up to three cases: the worst, the middle and the best; those without a Dice if all are."""
    means = []
    for case in summary["metric_per_case"]:
        values = [m["Dice"] for m in case["metrics"].values() if np.isfinite(m["Dice"])]
        means.append((Path(case["reference_file"]).name.removesuffix(ending), float(np.mean(values or [np.nan]))))
    ranked = sorted([case for case in means if np.isfinite(case[1])] or means, key=lambda case: case[1])
    return [ranked[index] for index in sorted({0, (len(ranked) - 1) // 2, len(ranked) - 1})]


def label_names(description: Mapping) -> dict[int, str]:
    """Name of every foreground value in a label map; for regions, of the value that a prediction writes for each."""
    foreground = {n: v for n, v in description["labels"].items() if v not in (0, [0]) and n != "ignore"}
    if "regions_class_order" in description:
        return dict(zip(description["regions_class_order"], foreground, strict=True))
    return {value: name for name, value in foreground.items()}
