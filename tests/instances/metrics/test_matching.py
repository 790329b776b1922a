"""F1, the DSB average precision and AJI against slow loops over dense matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.optimize import linear_sum_assignment

from maskmed_nnu.instances.detections import Detections, from_instance_map, make_detections
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.metrics import AggregatedJaccard, MatchingScores, aggregated_jaccard, matching
from maskmed_nnu.instances.metrics.comparison import compare
from maskmed_nnu.instances.metrics.matching import match
from tests.instances.metrics.random_objects import full_masks, label_maps, perturbed, random_truth


def pixel_sets(detections: Detections) -> list[set[int]]:
    return [set(np.flatnonzero(mask).tolist()) for mask in full_masks(detections)]


def slow_iou(prediction: list[set], truth: list[set]) -> np.ndarray:
    return np.array([[len(p & t) / len(p | t) for t in truth] for p in prediction]).reshape(len(prediction), len(truth))


def slow_counts(prediction: list[set], truth: list[set], threshold: float) -> tuple[int, int, int]:
    iou = slow_iou(prediction, truth)
    value = np.where(iou >= threshold, 1 + iou / (2 * max(1, min(iou.shape))), 0)
    tp = int((iou[linear_sum_assignment(value, maximize=True)] >= threshold).sum())
    return tp, len(prediction) - tp, len(truth) - tp


def slow_aji(prediction: list[set], truth: list[set]) -> float:
    shared = union = 0
    used = set()
    for t in truth:
        best, best_iou = None, 0.0
        for index, p in enumerate(prediction):
            iou = len(p & t) / len(p | t)
            if iou > best_iou:
                best, best_iou = index, iou
        if best is None:
            union += len(t)
        else:
            shared += len(prediction[best] & t)
            union += len(prediction[best] | t)
            used.add(best)
    union += sum(len(p) for index, p in enumerate(prediction) if index not in used)
    return shared / union


def check(prediction: Detections, truth: Detections) -> None:
    """One image, one class."""
    predicted, true = pixel_sets(prediction), pixel_sets(truth)
    metric, ratios = MatchingScores(), []
    metric.update(prediction, truth)
    for threshold in np.linspace(0.5, 0.95, 10):
        tp, fp, fn = slow_counts(predicted, true, threshold)
        found = matching(prediction, truth, threshold)
        assert (found.tp, found.fp, found.fn) == (tp, fp, fn)
        assert found.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-12)
        ratios.append(tp / (tp + fp + fn))
    scores = metric.compute()
    assert scores["DSB AP"] == pytest.approx(np.mean(ratios), abs=1e-12)
    assert scores["F1@0.75"] == matching(prediction, truth, 0.75).f1
    assert scores["precision@0.5"] == matching(prediction, truth).precision
    assert scores["recall@0.5"] == matching(prediction, truth).recall
    assert aggregated_jaccard(prediction, truth) == pytest.approx(slow_aji(predicted, true), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_random_overlapping_objects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = random_truth(rng, 30, shape=(100, 120))
    check(perturbed(rng, truth), truth)


@pytest.mark.real_data
def test_nuclei(real_data: Path) -> None:
    rng = np.random.default_rng(0)
    for path in sorted((real_data / "dsb2018" / "masks").glob("*.tif"))[:2]:
        ids = tifffile.imread(path)
        numbers, index = np.unique(ids, return_inverse=True)
        truth = from_instance_map(index.reshape(1, *ids.shape), np.ones(len(numbers) - 1))
        check(perturbed(rng, truth), truth)


def test_the_most_pairs_win_over_the_highest_iou() -> None:
    """The prediction 1 fits truth 1 best, but then prediction 2 would have none."""
    rows = {"truth": [(0, 10), (4, 14)], "prediction": [(1, 11), (-3, 7)]}
    sides = []
    for spans in (rows["prediction"], rows["truth"]):
        boxes = [[0, a + 5, 1, b + 5] for a, b in spans]
        masks = [np.full((1, 10), 255, np.uint8)] * 2
        sides.append(make_detections((1, 30), boxes, masks, np.ones(2), np.ones(2)))
    objects = compare(*sides).of_class(1)
    assert objects.iou.round(3).tolist() == [0.818, 0.538, 0.538, 0.176]
    pairs = match(objects, objects.pairs_above(0.5))
    assert sorted(zip(objects.prediction[pairs], objects.truth[pairs], strict=True)) == [(0, 1), (1, 0)]
    assert matching(*sides, threshold=0.6).tp == 1


def test_one_to_one_below_one_half() -> None:
    """At a low threshold one prediction reaches two truths, and still counts once."""
    truth, prediction = np.array([[1, 1, 1, 2, 2, 2]]), np.array([[1, 1, 1, 1, 1, 1]])
    assert matching(prediction, truth, 0.5).tp == 1
    found = matching(prediction, truth, 0.3)
    assert (found.tp, found.fp, found.fn) == (1, 0, 1)


def test_empty_truth_and_empty_prediction() -> None:
    nothing, full = np.zeros((1, 8, 8), np.int32), np.ones((1, 8, 8), np.int32)
    for prediction, truth, expected in ((nothing, full, 0.0), (full, nothing, 0.0), (nothing, nothing, np.nan)):
        assert matching(prediction, truth).f1 == pytest.approx(expected, nan_ok=True)
        assert aggregated_jaccard(prediction, truth) == pytest.approx(expected, nan_ok=True)
    metric = MatchingScores()
    metric.update(nothing, nothing)
    metric.update(full, full)
    scores = metric.compute()
    assert scores["F1@0.5"] == scores["image_mean"]["F1@0.5"] == 1


def test_sums_over_the_set_and_means_over_images_and_classes() -> None:
    rng = np.random.default_rng(0)
    truths = [random_truth(rng, count, shape=(100, 120), classes=2) for count in (30, 5)]
    predictions = [perturbed(rng, truth, classes=2) for truth in truths]
    scores, jaccard = MatchingScores(), AggregatedJaccard()
    for prediction, truth in zip(predictions, truths, strict=True):
        scores.update(prediction, truth)
        jaccard.update(prediction, truth)
    summed, averaged, aji = [], [], []
    for number in (1, 2):
        sides = [
            (pixel_sets(p.select(p.classes == number)), pixel_sets(t.select(t.classes == number)))
            for p, t in zip(predictions, truths, strict=True)
        ]
        counts = np.array([slow_counts(p, t, 0.5) for p, t in sides])
        tp, fp, fn = counts.sum(axis=0)
        summed.append(2 * tp / (2 * tp + fp + fn))
        averaged.append(np.mean([2 * tp / (2 * tp + fp + fn) for tp, fp, fn in counts]))
        aji.append(np.mean([slow_aji(p, t) for p, t in sides]))
    result = scores.compute()
    assert result["F1@0.5"] == pytest.approx(np.mean(summed), abs=1e-12)
    assert result["image_mean"]["F1@0.5"] == pytest.approx(np.mean(averaged), abs=1e-12)
    assert [s["F1@0.5"] for s in result["per_class"].values()] == pytest.approx(summed, abs=1e-12)
    assert jaccard.compute()["image_mean"]["AJI"] == pytest.approx(np.mean(aji), abs=1e-12)


def test_crowds_are_neither_missed_nor_wrong() -> None:
    ids = np.zeros((1, 1, 20), np.int32)
    ids[0, 0, :4] = 1
    stuff = np.zeros((1, 20), np.int32)
    stuff[0, 8:16] = 1
    truth = InstanceMap(ids, np.array([1]), stuff)
    found = ids.copy()
    found[0, 0, 8:11] = 2
    prediction = InstanceMap(found, np.array([1, 1]), np.zeros((1, 20), np.int32))
    scores, jaccard = MatchingScores(), AggregatedJaccard()
    scores.update(prediction, truth)
    jaccard.update(prediction, truth)
    assert scores.compute()["F1@0.5"] == jaccard.compute()["AJI"] == 1


def test_label_maps_and_detections_say_the_same() -> None:
    truth, prediction = label_maps(np.random.default_rng(3), 30)
    as_maps = matching(prediction, truth, 0.6)
    cropped = [from_instance_map(ids, np.ones(ids.max())) for ids in (prediction, truth)]
    assert matching(*cropped, 0.6) == as_maps == matching(prediction, cropped[1], 0.6)
    assert aggregated_jaccard(*cropped) == aggregated_jaccard(prediction, truth)
