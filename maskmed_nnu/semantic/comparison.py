"""Two predictions of the same cases compared: Wilcoxon's signed-rank test of the differences, per class and metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.semantic.case_scores import METRICS, NOT_APPLICABLE, CaseScores
from maskmed_nnu.semantic.evaluation import MISSING, SemanticEvaluation, shown_name, without_nan
from maskmed_nnu.semantic.saving import Result
from maskmed_nnu.semantic.summary import MEAN, mean, values

if TYPE_CHECKING:
    from pandas import DataFrame

SIGNIFICANT = 0.05
FEWEST = 6
"""Cases that differ, below which the test of two sides cannot give a p below 0.05."""


@dataclass(frozen=True)
class PairedTest:
    """One metric of one class in ``cases`` that both predictions can be scored on.

    ``difference`` is the mean of ``b - a``, with the interval of 95 %; ``differing`` are the cases in which it is not
    0; ``better`` of them are those in which b is better. ``p`` is that of Wilcoxon's signed-rank test of two sides, 1
    where no case differs, NaN without a case.
    """

    name: str
    metric: str
    cases: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    differing: int
    better: int
    p: float


@dataclass(frozen=True)
class SemanticComparison(Result):
    """``b`` against ``a``: tests, and the difference in each case; what is missed or invented counts as the worst."""

    a: SemanticEvaluation
    b: SemanticEvaluation
    tests: tuple[PairedTest, ...]
    names: tuple[str, str] = ("a", "b")
    notes: tuple[str, ...] = ()

    def to_table(self) -> DataFrame:
        """A pandas table with a row for each class (last: their mean) and metric."""
        from pandas import DataFrame

        return DataFrame([asdict(test) for test in self.tests]).rename(columns={"name": "class"})

    def differences(self, metric: str = "dice") -> DataFrame:
        """A pandas table of each case and class that both can be scored on, those that differ most first.

        Raises
        ------
        InputError
            For an unknown metric.
        """
        from pandas import DataFrame

        if metric not in METRICS:
            raise InputError(f"There is no metric {metric!r}; there are {format_list(METRICS)}.")
        tables = [_table(one, metric) for one in (self.a, self.b)]
        rows = [
            (case.name, name, first, second, second - first)
            for case, *sides in zip(self.a.cases, *tables, strict=True)
            for name, first, second in zip(self.a.classes, *(side.tolist() for side in sides), strict=True)
            if math.isfinite(first - second)
        ]
        rows.sort(key=lambda row: -abs(row[-1]))
        return DataFrame(rows, columns=["case", "class", "a", "b", "difference"])

    def to_json(self) -> dict[str, Any]:
        """Everything, as `json.dump` takes it: NaN is None."""
        content = {
            "kind": "comparison",
            "tolerance": self.a.tolerance,
            "a": self.names[0],
            "b": self.names[1],
            "notes": list(self.notes),
            "tests": [asdict(test) for test in self.tests],
            "differences": {metric: self.differences(metric).to_dict("records") for metric in METRICS},
        }
        without: dict[str, Any] = without_nan(content)
        return without

    def shown_rows(self) -> list[dict[str, str]]:
        """The tests as a reader wants them, rounded."""
        return [
            {
                "class": test.name,
                "metric": shown_name(test.metric),
                "cases": str(test.cases),
                "A": _number(test.a),
                "B": _number(test.b),
                "B − A": _number(test.difference, signed=True),
                "95 % CI": MISSING if math.isnan(test.low) else f"{test.low:+.3f} to {test.high:+.3f}",
                "B better": f"{test.better} of {test.differing}",
                "p": MISSING if math.isnan(test.p) else f"{test.p:.2g}",
            }
            for test in self.tests
        ]

    def __repr__(self) -> str:
        from pandas import DataFrame

        notes = "".join(f"\nNote: {note}" for note in self.notes)
        return f"{self.title()}\n{DataFrame(self.shown_rows()).to_string(index=False)}\n{self.conclusion()}{notes}"

    def _repr_html_(self) -> str:
        from pandas import DataFrame

        notes = "".join(f"<p>Note: {escape(note)}</p>" for note in self.notes)
        title, end = (f"<p>{escape(text)}</p>".replace("\n", "<br>") for text in (self.title(), self.conclusion()))
        return f"{title}{DataFrame(self.shown_rows()).to_html(index=False)}{end}{notes}"

    def title(self) -> str:
        """What the table is about."""
        return (
            f"{count(len(self.a.cases), 'case')}, missed and invented count as the worst case, HD95 in mm\n"
            f"A  {self.names[0]}\nB  {self.names[1]}"
        )

    def conclusion(self) -> str:
        """The mean Dice in words."""
        test = next(one for one in self.tests if (one.name, one.metric) == (MEAN, "dice"))
        if not test.cases:
            return "No case can be scored on both."
        if not test.differing:
            return f"A and B have the same mean Dice in {count(test.cases, 'case')}."
        better, wins = ("B", test.better) if test.difference > 0 else ("A", test.differing - test.better)
        chance = (
            f"such a difference is unlikely to be chance (p = {test.p:.2g})"
            if test.p < SIGNIFICANT
            else f"such a difference may well be chance (p = {test.p:.2g})"
        )
        return (
            f"The mean Dice is {_number(test.a)} of A and {_number(test.b)} of B: {better} is better by "
            f"{_number(abs(test.difference))} on average, and in {wins} of {count(test.cases, 'case')}; {chance}."
        )


def compare_evaluations(
    a: SemanticEvaluation, b: SemanticEvaluation, *, names: tuple[str, str] = ("a", "b"), seed: int = 0
) -> SemanticComparison:
    """Two evaluations of the same cases against the same truth.

    A case counts for a class where both predictions can be scored: a class that the truth lacks and one prediction
    invented has no score in the other one.

    Raises:
        InputError: where cases or tolerances are not the same.
    """
    cases = [[case.name for case in one.cases] for one in (a, b)]
    if cases[0] != cases[1]:
        different = sorted(set(cases[0]) ^ set(cases[1]))
        raise InputError(f"The two predictions are not of the same cases: only one has {format_list(different)}.")
    every = dict.fromkeys((*a.classes, *b.classes))
    a, b = (replace(one, classes=tuple(every), cases=[_filled(case, every) for case in one.cases]) for one in (a, b))
    if a.tolerance != b.tolerance:
        raise InputError(
            f"The tolerances are {a.tolerance:g} and {b.tolerance:g} mm; evaluate both predictions with the same one."
        )
    tests = []
    one_sided = set()
    for metric in METRICS:
        first, second = _table(a, metric), _table(b, metric)
        one_sided |= {a.classes[i] for i in np.flatnonzero((np.isnan(first) != np.isnan(second)).any(axis=0))}
        both = np.isfinite(first) & np.isfinite(second)
        first, second = (np.where(both, side, np.nan) for side in (first, second))
        for index, name in enumerate((*a.classes, MEAN)):
            columns = slice(index, index + 1) if index < len(a.classes) else slice(None)
            tests.append(paired_test(name, metric, first[:, columns], second[:, columns], seed=seed))
    tests.sort(key=lambda test: (*a.classes, MEAN).index(test.name))
    notes = dict.fromkeys(note for one in (a, b) for note in one.notes)
    return SemanticComparison(a, b, tuple(tests), names, (*notes, *_notes(tests, one_sided)))


def _filled(case: CaseScores, classes: Iterable[str]) -> CaseScores:
    return replace(case, scores={name: case.scores.get(name, NOT_APPLICABLE) for name in classes})


def _table(one: SemanticEvaluation, metric: str) -> NDArray[np.float64]:
    return values(one.cases, one.classes, metric, worst=True)


def paired_test(
    name: str, metric: str, first: NDArray[np.float64], second: NDArray[np.float64], *, seed: int = 0
) -> PairedTest:
    """Scores ``[cases, classes]`` of two predictions of the same cases, NaN where either has none."""
    difference = mean(second - first, seed=seed)
    scored = np.isfinite(first).any(axis=1)
    # over the classes; rounded, so that what is equal but for the last bits is a tie or no difference
    of_cases = np.nanmean((second - first)[scored], axis=1).round(9)
    differing = of_cases[of_cases != 0]
    better = differing < 0 if metric == "hd95" else differing > 0
    return PairedTest(
        name,
        metric,
        cases=difference.cases,
        a=mean(first).mean,
        b=mean(second).mean,
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        differing=len(differing),
        better=int(better.sum()),
        p=_wilcoxon(differing) if scored.any() else math.nan,
    )


def _wilcoxon(differing: NDArray[np.float64]) -> float:
    if not len(differing):
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(differing).pvalue)


def _notes(tests: Sequence[PairedTest], one_sided: set[str]) -> list[str]:
    notes = []
    same = sorted({test.name for test in tests if test.cases and not test.differing and test.name != MEAN})
    few = sorted({test.name for test in tests if 0 < test.differing < FEWEST})
    if same:
        notes.append(f"A and B have the same scores of {format_list(same)} in every case")
    if few:
        notes.append(
            f"fewer than {FEWEST} cases differ in {format_list(few)}, too few for any p below 0.05: nothing follows "
            "from a large one"
        )
    if one_sided:
        notes.append(
            f"cases in which only one prediction invented {format_list(sorted(one_sided))} are left out of its tests; "
            "see the column invented of either evaluation"
        )
    if len(tests) > 1:
        notes.append(
            f"p is that of Wilcoxon's signed-rank test of each row by itself, not corrected for {len(tests)} tests"
        )
    return notes


def _number(value: float, *, signed: bool = False) -> str:
    return MISSING if math.isnan(value) else f"{value:+.3f}" if signed else f"{value:.3f}"
