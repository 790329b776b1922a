"""Scores of one case against MONAI on whole images, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from maskmed_nnu.semantic.case_scores import case_scores
from maskmed_nnu.semantic.classes import Classes

SPACINGS = {2: (0.7, 1.9), 3: (2.5, 0.8, 1.1)}


def blobs(rng: np.random.Generator, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Boxes of each class, some of which touch the border or are cut by others."""
    labels = np.zeros(shape, np.uint8)
    for label in range(1, classes + 1):
        low = [int(rng.integers(0, n - 2)) for n in shape]
        labels[tuple(slice(one, one + int(rng.integers(1, n))) for one, n in zip(low, shape, strict=True))] = label
    labels[rng.random(shape) < 0.05] = 0
    return labels


def one_hot(labels: np.ndarray, classes: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == label for label in range(1, classes + 1)]))[None]


@pytest.mark.parametrize("shape", [(17, 23), (7, 19, 16)])
@pytest.mark.parametrize("seed", range(5))
def test_as_monai_says_of_the_whole_image(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = blobs(rng, shape, 4), blobs(rng, shape, 4)
    spacing, tolerance = SPACINGS[len(shape)], float(rng.choice([0.8, 1.0, 2.5]))
    scores = case_scores(truth, prediction, spacing=spacing, tolerance=tolerance).scores
    y, y_pred = one_hot(truth, 4), one_hot(prediction, 4)
    hd95 = compute_hausdorff_distance(y_pred, y, include_background=True, percentile=95, spacing=list(spacing))[0]
    nsd = compute_surface_dice(y_pred, y, [tolerance] * 4, include_background=True, spacing=list(spacing))[0]
    dice = DiceMetric(include_background=True, reduction="none")(y_pred.float(), y.float())[0]
    found = [int(name) - 1 for name, one in scores.items() if one.state == "found"]
    assert len(found) >= 2
    for index in found:
        one = scores[str(index + 1)]
        assert one.hd95 == pytest.approx(hd95[index].item(), abs=1e-6)
        assert one.nsd == pytest.approx(nsd[index].item(), abs=1e-6)
        assert one.dice == pytest.approx(dice[index].item(), abs=1e-6)


def test_as_brute_force_says() -> None:
    rng = np.random.default_rng(7)
    spacing = (2.0, 1.0, 0.5)
    truth, prediction = (blobs(rng, (6, 9, 9), 1) for _ in range(2))
    edges = [np.argwhere(m & ~binary_erosion(m)) * spacing for m in (truth > 0, prediction > 0)]
    distances = cdist(*edges)
    nearest = [distances.min(axis=1), distances.min(axis=0)]
    one = case_scores(truth, prediction, spacing=spacing, tolerance=1.0).scores["1"]
    assert one.hd95 == pytest.approx(max(np.percentile(d, 95) for d in nearest), abs=1e-4)
    assert one.nsd == pytest.approx(np.mean(np.concatenate(nearest) <= 1), abs=1e-12)


def test_missed_invented_and_absent_by_hand() -> None:
    truth, prediction = np.zeros((2, 3, 4), np.uint8)
    truth[0, :3] = 1
    truth[1, 0] = 2
    prediction[0, 1:4] = 1
    prediction[2, :2] = 3
    classes = Classes.from_labels([1, 2, 3, 4])
    scores = case_scores(truth, prediction, spacing=(3, 2), classes=classes).scores
    diagonal = math.hypot(9, 8)
    assert scores["1"].state == "found"
    assert (scores["1"].dice, scores["1"].iou) == (pytest.approx(4 / 6), 0.5)
    assert scores["1"].hd95 == pytest.approx(1.8)  # of 0, 0, 2 between which MONAI interpolates
    assert scores["1"].nsd == pytest.approx(4 / 6)
    for name, state, volumes in (("2", "missed", (6, 0, -6)), ("3", "invented", (0, 12, 12))):
        one = scores[name]
        assert (one.state, one.dice, one.iou, one.nsd, one.hd95_worst) == (state, 0, 0, 0, diagonal)
        assert math.isnan(one.hd95)
        assert (one.volume_truth, one.volume_prediction, one.volume_difference) == volumes
    assert scores["2"].relative_volume_difference == -1
    assert math.isnan(scores["3"].relative_volume_difference)
    assert scores["4"].state == "not applicable"
    assert all(math.isnan(scores["4"].value(m, worst=w)) for m in ("dice", "iou", "hd95", "nsd") for w in (True, False))


def test_regions_and_the_ignore_label() -> None:
    dataset = {
        "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
        "regions_class_order": [1, 2],
    }
    truth, prediction = np.array([[1, 1, 2, 2, 3, 3, 0, 9]]), np.array([[1, 2, 2, 0, 1, 2, 3, 7]])
    case = case_scores(truth, prediction, spacing=(1, 1), classes=Classes.from_dataset_json(dataset))
    assert case.scores["whole"].dice == 2 * 3 / (4 + 3)
    assert case.scores["core"].dice == 2 * 1 / (2 + 2)
    assert case.unknown == (frozenset({9}), frozenset({7, 3}))


def test_partners_on_the_wrong_side() -> None:
    truth, prediction = np.array([[1, 1, 2, 2, 0]]), np.array([[1, 2, 2, 0, 1]])
    case = case_scores(truth, prediction, spacing=(1, 1), partners=[(1, 2)])
    assert case.wrong_side == {(1, 2): (1, 4)}


def test_one_slice_is_an_image() -> None:
    truth, prediction = np.zeros((2, 1, 6, 6), np.uint8)
    truth[0, 1:5, 1:5] = prediction[0, 1:5, 2:6] = 1
    assert case_scores(truth, prediction, spacing=(5, 1, 2)) == case_scores(truth[0], prediction[0], spacing=(1, 2))


def test_labels_beyond_a_table() -> None:
    truth = np.array([[0, 70_000, 3]], np.uint32)
    scores = case_scores(truth, truth, spacing=(1, 1)).scores
    assert [(name, one.dice) for name, one in scores.items()] == [("3", 1), ("70000", 1)]
    classes = Classes.from_labels([3])
    assert case_scores(truth, truth, spacing=(1, 1), classes=classes).unknown[0] == {70_000}
