"""What an evaluation of class maps found: a table of all cases, and a summary."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.semantic.case_scores import ABSENT, COLUMNS, FOUND, INVENTED, MISSED, NOT_APPLICABLE, CaseScores
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.semantic.saving import Result
from maskmed_nnu.semantic.summary import STATES, ClassSummary, summarize

if TYPE_CHECKING:
    from pandas import DataFrame

MISSING = "–"
MOST_NOTES = 5
FEW_CASES = 10
"""Below it a bootstrap interval of 95 % covers the mean in clearly less than 95 % of samples."""
SHOWN = {"dice": 3, "iou": 3, "nsd": 3, "hd95": 1}
"""Digits behind the point."""


@dataclass(frozen=True)
class SemanticEvaluation(Result):
    """Scores of class maps, of one case or many.

    ``notes`` name what a reader of the figures should know: labels that stand for no class, classes that no file has,
    files without a spacing.
    """

    cases: Sequence[CaseScores]
    classes: tuple[str, ...]
    tolerance: float
    notes: tuple[str, ...] = ()
    partners: Mapping[tuple[int, int], tuple[str, str]] = field(default_factory=dict)
    seed: int = 0

    @cached_property
    def summary(self) -> list[ClassSummary]:
        """Of each class, and last of their mean."""
        return summarize(self.cases, self.classes, seed=self.seed)

    def to_table(self) -> DataFrame:
        """A pandas table with a row for each case and class; the columns are those of `ClassScores`."""
        from pandas import DataFrame

        rows = [(case.name, name, *astuple(case.scores[name])) for case in self.cases for name in self.classes]
        return DataFrame(rows, columns=["case", "class", *COLUMNS])

    def summary_table(self) -> DataFrame:
        """A pandas table with a row for each class and one for their mean.

        ``dice`` and so on count missed and invented as the worst case; ``dice_low`` and ``dice_high`` are the ends of
        the interval of 95 %, and ``dice_found`` is the mean over the cases in which the class was found.
        """
        from pandas import DataFrame

        rows = []
        for one in self.summary:
            row: dict[str, Any] = {"class": one.name, **one.counts}
            for metric, worst in one.worst_case.items():
                row |= {metric: worst.mean, f"{metric}_low": worst.low, f"{metric}_high": worst.high}
                row[f"{metric}_found"] = one.found[metric].mean
            row["volume_difference"] = one.volume_difference.mean
            row["relative_volume_difference"] = one.relative_volume_difference.mean
            rows.append(row)
        return DataFrame(rows).set_index("class")

    def wrong_side_table(self) -> DataFrame:
        """A pandas table of partners, as left and right kidney, in each case: voxels that were given the other's label,
        true voxels of both, and the share."""
        from pandas import DataFrame

        rows = [
            (case.name, *self.partners[pair], wrong, true, wrong / true if true else math.nan)
            for case in self.cases
            for pair, (wrong, true) in (case.wrong_side or {}).items()
        ]
        return DataFrame(rows, columns=["case", "first", "second", "wrong_side", "true_voxels", "share"])

    def to_json(self) -> dict[str, Any]:
        """Everything, as `json.dump` takes it: NaN is None."""
        content: dict[str, Any] = {
            "kind": "semantic",
            "tolerance": self.tolerance,
            "notes": list(self.notes),
            "summary": {
                one.name: {
                    **one.counts,
                    "worst_case": {metric: asdict(mean) for metric, mean in one.worst_case.items()},
                    "found_only": {metric: asdict(mean) for metric, mean in one.found.items()},
                    "volume_difference": asdict(one.volume_difference),
                    "relative_volume_difference": asdict(one.relative_volume_difference),
                }
                for one in self.summary
            },
            "cases": {case.name: {name: asdict(case.scores[name]) for name in self.classes} for case in self.cases},
        }
        if self.partners:
            content["wrong_side"] = self.wrong_side_table().to_dict("records")
        content = without_nan(content)
        return content

    def __repr__(self) -> str:
        notes = "".join(f"\nNote: {note}" for note in self.notes)
        return f"{self.title()}\n{self._shown_table().to_string(index=False)}{notes}"

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>Note: {escape(note)}</p>" for note in self.notes)
        return f"<p>{escape(self.title())}</p>{self._shown_table().to_html(index=False)}{notes}"

    def title(self) -> str:
        """What the table is about."""
        classes = f"{len(self.classes)} class" + ("es" if len(self.classes) != 1 else "")
        return f"{count(len(self.cases), 'case')}, {classes}, NSD at {self.tolerance:g} mm, HD95 in mm"

    def shown_rows(self) -> list[dict[str, str]]:
        """The summary, rounded: means of the worst case, and beside them those of what was found."""
        rows = []
        for one in self.summary:
            row = {"class": one.name} | {state: str(one.counts[state]) for state in STATES}
            for metric, digits in SHOWN.items():
                worst = one.worst_case[metric]
                row[shown_name(metric)] = _number(worst.mean, digits)
                if metric == "dice":
                    ends = f"{_number(worst.low, digits)}–{_number(worst.high, digits)}"
                    row["95 % CI"] = ends if math.isfinite(worst.low) else MISSING
                if metric in ("dice", "hd95"):
                    row[f"{shown_name(metric)} if found"] = _number(one.found[metric].mean, digits)
            relative = one.relative_volume_difference.mean
            row["volume diff."] = MISSING if math.isnan(relative) else f"{relative:+.1%}"
            rows.append(row)
        return rows

    def _shown_table(self) -> DataFrame:
        from pandas import DataFrame

        return DataFrame(self.shown_rows())


def build(
    cases: Sequence[CaseScores],
    classes: Classes | None,
    *,
    tolerance: float,
    spaceless: Sequence[str] = (),
    partners: Sequence[tuple[int, int]] = (),
    seed: int = 0,
    notes: Sequence[str] = (),
) -> SemanticEvaluation:
    """The evaluation of ``cases``; without ``classes`` they are the labels of all of them.

    ``notes`` on where the cases come from stand before those on what they hold.
    """
    if classes is None:
        found = {int(name) for case in cases for name in case.scores}
        classes = Classes.from_labels(found)
    names = tuple(classes.labels)
    filled = [replace(case, scores={name: case.scores.get(name, NOT_APPLICABLE) for name in names}) for case in cases]
    return SemanticEvaluation(
        filled,
        names,
        tolerance,
        (*notes, *_notes(filled, classes, spaceless)),
        {pair: (classes.name(pair[0]), classes.name(pair[1])) for pair in partners},
        seed,
    )


def _notes(cases: Sequence[CaseScores], classes: Classes, spaceless: Sequence[str]) -> Iterator[str]:
    for side, what in enumerate(("truth", "prediction")):
        unknown: dict[int, list[str]] = {}
        for case in cases:
            for label in case.unknown[side]:
                unknown.setdefault(label, []).append(case.name)
        for label, names in sorted(unknown.items())[:MOST_NOTES]:
            meaning = "the ignore label" if label == classes.ignore else "no class of dataset.json"
            yield (
                f"the label {label} in the {what} of {count(len(names), 'case')} ({format_list(names, 3)}) is "
                f"{meaning} and counts as background"
            )
        if len(unknown) > MOST_NOTES:
            yield f"{len(unknown) - MOST_NOTES} more labels in the {what} are no classes and count as background"
    nowhere = [name for name in classes.labels if all(case.scores[name].state == ABSENT for case in cases)]
    if nowhere:
        yield f"no file has {format_list(nowhere)}, in the truth or in the prediction, so that nothing is known of it"
    states = [case.scores[name].state for case in cases for name in classes.labels]
    if MISSED in states and not {FOUND, INVENTED} & set(states) and not any(case.unknown[1] for case in cases):
        yield "every prediction is background only; was the network trained long enough?"
    if 1 < len(cases) < FEW_CASES:
        yield (
            f"confidence intervals of {len(cases)} cases are rough, and mostly too narrow; from {FEW_CASES} cases on "
            "they can be relied upon"
        )
    if spaceless:
        yield (
            f"{count(len(spaceless), 'case')} ({format_list(spaceless, 3)}) without a spacing: distances, volumes and "
            "the tolerance are in pixels"
        )


def without_nan(content: Any) -> Any:
    """``content`` of JSON with None for NaN."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def shown_name(metric: str) -> str:
    """How a metric is written in tables.

    >>> shown_name("iou"), shown_name("hd95")
    ('IoU', 'HD95')
    """
    return {"dice": "Dice", "iou": "IoU"}.get(metric, metric.upper())


def _number(value: float, digits: int) -> str:
    return MISSING if math.isnan(value) else f"{value:.{digits}f}"
