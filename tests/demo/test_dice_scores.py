"""Dice from nnU-Net's summary, and the table."""

from __future__ import annotations

import numpy as np
import pytest

from maskmed_nnu.demo.dice_scores import dice_scores, dice_table, label_names, mean_dice, worst_to_best


def summary(*cases):
    return {"metric_per_case": [{"metrics": {k: {"Dice": v} for k, v in case.items()}} for case in cases]}


def test_scores_come_by_name_and_the_background_is_left_out():
    scores = dice_scores(summary({"1": 0.8, "2": 0.5}, {"1": 0.6, "2": 0.9}), {"background": 0, "a": 1, "b": 2})
    assert list(scores) == ["a", "b"]
    assert scores["a"].tolist() == [0.8, 0.6]
    assert mean_dice(scores) == pytest.approx(0.7)


def test_regions_are_found_under_nnunets_keys():
    scores = dice_scores(summary({"(1, 2)": 0.8, "2": 0.5}), {"background": 0, "whole": [1, 2], "core": 2})
    assert {name: values.tolist() for name, values in scores.items()} == {"whole": [0.8], "core": [0.5]}


def test_absent_structures_count_as_neither_hit_nor_miss():
    scores = {"a": np.array([0.5, np.nan]), "b": np.array([np.nan, np.nan])}
    assert mean_dice(scores) == pytest.approx(0.5)
    assert np.isnan(mean_dice({"b": scores["b"]}))


def test_table_has_mean_worst_best_and_number_of_cases():
    lines = dice_table({"liver": np.array([0.9, 0.7, np.nan]), "left kidney": np.array([np.nan] * 3)}).splitlines()
    assert lines[0].split() == ["mean", "worst", "best", "cases"]
    assert lines[1].split() == ["liver", "0.800", "0.700", "0.900", "2"]
    assert lines[2].split() == ["left", "kidney", "nan", "nan", "nan", "0"]
    assert len({len(line) for line in lines}) == 1


def test_names_of_label_values():
    labels = {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    assert label_names({"labels": labels}) == {1: "liver", 2: "spleen"}
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}
    description = {"labels": regions, "regions_class_order": [1, 2, 3]}
    assert label_names(description) == {1: "whole", 2: "core", 3: "active"}


def test_the_worst_the_middle_and_the_best_case_are_shown():
    nan = float("nan")
    cases = summary({"1": 0.8, "2": 0.6}, {"1": nan}, {"1": 0.9}, {"1": 0.2, "2": nan}, {"1": 0.3})
    for index, case in enumerate(cases["metric_per_case"]):
        case["reference_file"] = f"labels/c{index}.nii.gz"
    ranked = worst_to_best(cases, ending=".nii.gz")
    assert [name for name, _ in ranked] == ["c3", "c4", "c2"]
    assert [dice for _, dice in ranked] == [0.2, 0.3, 0.9]
    empty = {"metric_per_case": cases["metric_per_case"][1:2]}
    assert [name for name, _ in worst_to_best(empty, ending=".nii.gz")] == ["c1"]
