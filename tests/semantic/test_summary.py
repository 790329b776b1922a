"""Means, intervals and paired tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap, wilcoxon

from maskmed_nnu.semantic.case_scores import case_scores
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.semantic.comparison import compare_evaluations
from maskmed_nnu.semantic.evaluation import SemanticEvaluation, build
from maskmed_nnu.semantic.summary import mean


def evaluation(pairs: list[tuple[list[int], list[int]]], classes: int = 2) -> SemanticEvaluation:
    chosen = Classes.from_labels(range(1, classes + 1))
    cases = [
        case_scores(np.array([true]), np.array([predicted]), spacing=(1, 1), classes=chosen, name=f"case_{i}")
        for i, (true, predicted) in enumerate(pairs)
    ]
    return build(cases, chosen, tolerance=1.0)


def test_means_over_what_was_found_and_over_the_worst_case() -> None:
    pairs = [
        ([1, 1, 0, 0], [1, 0, 0, 0]),
        ([1, 1, 0, 0], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 1, 0, 0]),
        ([0] * 4, [0] * 4),
    ]
    result = evaluation(pairs)
    one, absent, over_classes = result.summary
    assert one.counts == {"found": 1, "missed": 1, "invented": 1, "not applicable": 1}
    assert one.found["dice"].mean == pytest.approx(2 / 3)
    assert one.worst_case["dice"].mean == pytest.approx(2 / 9)
    assert one.worst_case["hd95"].mean == pytest.approx((one.found["hd95"].mean + 2 * math.hypot(4, 1)) / 3)
    assert math.isnan(absent.worst_case["dice"].mean)
    assert over_classes.worst_case["dice"].mean == one.worst_case["dice"].mean
    assert "no file has 2" in result.notes[0]
    assert not any("background only" in note for note in result.notes)
    assert any("background only" in note for note in evaluation(pairs[1:2]).notes)
    assert not any("background only" in note for note in evaluation([([1, 1, 0, 0], [5, 5, 0, 0])]).notes)


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(3).beta(5, 2, 25)
    ours = mean(values[:, None])
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=9999).confidence_interval
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=0.01), pytest.approx(theirs.high, abs=0.01))
    state = np.random.get_state()[1].copy()
    assert mean(values[:, None]) == ours
    assert (np.random.get_state()[1] == state).all()


def test_paired_test_and_the_cases_that_differ_most() -> None:
    true = [1] * 10 + [0] * 10
    a = [[1] * (10 - i) + [0] * (10 + i) for i in range(8)]
    b = [[1] * (10 - i // 2) + [0] * (10 + i // 2) for i in range(8)]
    comparison = compare_evaluations(*(evaluation([(true, one) for one in side], 1) for side in (a, b)))
    test = next(test for test in comparison.tests if (test.name, test.metric) == ("1", "dice"))
    dice = [np.array([2 * sum(one) / (10 + sum(one)) for one in side]) for side in (a, b)]
    assert test.difference == pytest.approx((dice[1] - dice[0]).mean())
    assert test.p == pytest.approx(wilcoxon((dice[1] - dice[0]).round(9)[1:]).pvalue)
    assert (test.cases, test.differing, test.better) == (8, 7, 7)
    assert comparison.differences("dice")["case"].iloc[0] == "case_7"


def test_equal_predictions_and_few_cases_are_told() -> None:
    pairs = [([1, 1, 0], [1, 0, 0]), ([1, 1, 0], [1, 1, 0])]
    comparison = compare_evaluations(evaluation(pairs), evaluation(pairs))
    assert {test.p for test in comparison.tests if test.name == "1"} == {1.0}
    assert all(math.isnan(test.p) for test in comparison.tests if test.name == "2")
    assert any("same scores of 1" in note for note in comparison.notes)
    other = evaluation([([1, 1, 0], [0, 0, 0]), pairs[1]])
    comparison = compare_evaluations(evaluation(pairs), other)
    assert any("fewer than 6 cases differ in 1" in note for note in comparison.notes)
