"""``validation/summary.json`` of objects: nnU-Net's summary of classes, and the scores of ``instances.json`` beside it.

nnU-Net exports, compares and plots a training by the summary that its final validation leaves: of the classes of the
pixels, Dice and counts per case (``metric_per_case``), their mean per class (``mean``) and over classes
(``foreground_mean``). Of objects these keep their meaning; AP50, PQ and the others join ``mean`` and
``foreground_mean`` under their own names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json

SUMMARY, SCORES = "summary.json", "instances.json"


def summarize(scores: Mapping[str, Any], labels: Mapping[str, int], classes: Mapping[str, Any] | None = None) -> dict:
    """A summary as nnU-Net's functions return and save it; ``scores`` as in ``instances.json``, ``labels`` as in
    ``dataset.json``.

    Without ``classes``, nnU-Net's summary, it has the objects' scores only.
    """
    classes = classes or {"metric_per_case": [], "mean": {}, "foreground_mean": {}}
    per_class = scores.get("per_class", {})
    return {
        "metric_per_case": classes["metric_per_case"],
        "mean": {
            number: {**classes["mean"].get(number, {}), **_numbers(per_class.get(name, {}))}
            for name, number in labels.items()
            if number != 0
        },
        "foreground_mean": {**classes["foreground_mean"], **_numbers(scores)},
    }


def write_summary(folder: Path, summary: dict) -> None:
    """Write ``folder/summary.json`` as nnU-Net does, numbers of classes as text."""
    from nnunetv2.evaluation.evaluate_predictions import save_summary_json

    write_atomically(folder / SUMMARY, lambda partial: save_summary_json(summary, str(partial)))


def mean_scores(parts: Sequence[tuple[Mapping[str, Any], int]]) -> dict[str, Any]:
    """The mean of several folds' scores; each comes with its number of cases. A score that no fold has is None."""
    names = dict.fromkeys(name for scores, _ in parts for name in scores)
    mean: dict[str, Any] = {}
    for name in names:
        values = [(scores[name], cases) for scores, cases in parts if scores.get(name) is not None]
        if any(isinstance(value, Mapping) for value, _ in values):
            mean[name] = mean_scores([(value, cases) for value, cases in values if isinstance(value, Mapping)])
        else:
            total = sum(cases for _, cases in values)
            mean[name] = sum(value * cases for value, cases in values) / total if total else None
    return mean


def read_scores(fold: Path) -> dict[str, Any]:
    """What the final validation of a fold wrote to ``instances.json``.

    Raises:
        InputError: where it is missing or damaged.
    """
    scores = read_json(fold / "validation" / SCORES, expected="the scores of a final validation")
    if not isinstance(scores, dict) or not {"AP50", "PQ"} <= scores.keys():
        raise InputError(
            f"{fold / 'validation' / SCORES} holds no scores of objects; write it again with nnUNetv2_train and --val."
        )
    return scores


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """The scores that are single numbers; what nothing is known of is left out."""
    return {name: value for name, value in scores.items() if value is not None and not isinstance(value, Mapping)}
