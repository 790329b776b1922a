"""Means over cases and classes with confidence intervals over cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.semantic.case_scores import ABSENT, FOUND, INVENTED, METRICS, MISSED, CaseScores

VOLUMES = ("volume_difference", "relative_volume_difference")
STATES = (FOUND, MISSED, INVENTED, ABSENT)
RESAMPLES = 2000
CONFIDENCE = 0.95
MEAN = "mean"
"""What the mean over the classes is called among them."""


@dataclass(frozen=True)
class Mean:
    """A mean over ``cases``, and the ends of its confidence interval of 95 %; NaN for fewer than two cases."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    cases: int = 0


@dataclass(frozen=True)
class ClassSummary:
    """A class over all cases, or the mean over the classes.

    ``counts``: cases in which it was found, missed, invented, not applicable. ``found``: means of each metric over the
    cases in which it was found. ``worst_case``: means over all but those where it is not applicable, with missed and
    invented as the worst. ``volume_difference`` and ``relative_volume_difference``: means where they are defined.
    """

    name: str
    counts: dict[str, int]
    found: dict[str, Mean]
    worst_case: dict[str, Mean]
    volume_difference: Mean
    relative_volume_difference: Mean


def summarize(cases: Sequence[CaseScores], names: Sequence[str], *, seed: int = 0) -> list[ClassSummary]:
    """One for each class in ``names``, and last the mean over them; the samples of the intervals start at ``seed``."""
    states = np.array([[case.scores[name].state for name in names] for case in cases]).reshape(-1, len(names))
    tables = {
        (metric, worst): values(cases, names, metric, worst=worst) for metric in METRICS for worst in (True, False)
    }
    volumes = {
        one: np.array([[getattr(case.scores[name], one) for name in names] for case in cases]).reshape(-1, len(names))
        for one in VOLUMES
    }

    def summary(name: str, columns: slice) -> ClassSummary:
        return ClassSummary(
            name,
            {state: int((states[:, columns] == state).sum()) for state in STATES},
            {metric: mean(tables[metric, False][:, columns], seed=seed) for metric in METRICS},
            {metric: mean(tables[metric, True][:, columns], seed=seed) for metric in METRICS},
            *(mean(volumes[one][:, columns], seed=seed) for one in VOLUMES),
        )

    rows = [summary(name, slice(index, index + 1)) for index, name in enumerate(names)]
    return [*rows, summary(MEAN, slice(None))]


def values(cases: Sequence[CaseScores], names: Sequence[str], metric: str, *, worst: bool) -> NDArray[np.float64]:
    """``[cases, classes]``; NaN where the metric is not defined."""
    table = [[case.scores[name].value(metric, worst=worst) for name in names] for case in cases]
    return np.array(table, dtype=np.float64).reshape(len(cases), len(names))


def mean(table: NDArray[np.float64], *, seed: int = 0) -> Mean:
    """The mean over classes of their means over cases ``[cases, classes]``, where they are defined.

    The interval is that of the percentile bootstrap: whole cases are drawn with replacement, 2000 times, so that the
    classes of a case stay together.

    >>> mean(np.array([[0.0], [1.0], [np.nan]]))
    Mean(mean=0.5, low=0.0, high=1.0, cases=2)
    """
    table = table[np.isfinite(table).any(axis=1)]
    n = len(table)
    if not n:
        return Mean(math.nan)
    found = float(_class_means(np.ones((1, n)), table)[0])
    if n == 1:
        return Mean(found, cases=n)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(_class_means(weights.astype(np.float64), table), [tail, 100 - tail]).tolist()
    return Mean(found, low, high, n)


def _class_means(weights: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[samples]``, of ``weights [samples, cases]``: how often each case counts. A class without value is left out."""
    defined = np.isfinite(table)
    counts = weights @ defined
    sums = weights @ np.where(defined, table, 0)
    means: NDArray[np.float64] = np.sum(sums / np.maximum(counts, 1), axis=1) / (counts > 0).sum(axis=1)
    return means
