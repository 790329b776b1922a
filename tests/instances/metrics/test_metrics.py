"""What all metrics of instances share: overlaps, joined scores, examples that run, and time."""

from __future__ import annotations

import doctest
import importlib
import json
import pickle
import time
import tracemalloc

import numpy as np
import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.metrics import AveragePrecision, InstanceMetrics, overlaps
from maskmed_nnu.instances.metrics.comparison import compare
from maskmed_nnu.instances.metrics.overlaps import box_pairs, label_overlaps, mask_overlaps
from tests.instances.metrics.random_objects import full_masks, perturbed, random_truth

MODULES = """overlaps comparison average_precision detection_sensitivity matching aggregated_jaccard panoptic_quality
lesion_dice instance_metrics"""


@pytest.mark.parametrize("name", MODULES.split())
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"maskmed_nnu.instances.metrics.{name}"))
    assert result.attempted and not result.failed


def dense(found: overlaps.Overlaps) -> np.ndarray:
    table = np.zeros((len(found.prediction_area), len(found.truth_area)), dtype=int)
    table[found.prediction, found.truth] = found.intersection
    return table


@pytest.mark.parametrize("chunk", [7, 2**22])
def test_overlaps_of_masks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaps, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    one, other = random_truth(rng, 30, shape=(60, 70)), random_truth(rng, 25, shape=(60, 70))
    sides = [(d.boxes, [mask >= 128 for mask in d.masks]) for d in (one, other)]
    found = mask_overlaps(*sides[0], *sides[1])
    a, b = (full_masks(d).reshape(len(d), -1).astype(int) for d in (one, other))
    np.testing.assert_array_equal(dense(found), a @ b.T)
    np.testing.assert_array_equal(found.prediction_area, a.sum(axis=1))
    assert (found.intersection > 0).all()
    assert len(box_pairs(one.boxes, other.boxes[:0])[0]) == 0


@pytest.mark.parametrize("chunk", [7, 2**22])
def test_overlaps_of_layers(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaps, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    one = np.where(
        rng.random((2, 4, 5, 6)) < 0.7, np.arange(2)[:, None, None, None] * 4 + rng.integers(1, 5, (2, 4, 5, 6)), 0
    )
    other = rng.integers(0, 4, (1, 4, 5, 6))
    found = label_overlaps(one, other, counts=(9, 3))
    expected = [[((one == i).any(axis=0) & (other[0] == j)).sum() for j in range(1, 4)] for i in range(1, 10)]
    np.testing.assert_array_equal(dense(found), expected)
    assert found.prediction_area[8] == 0  # an id without a pixel


def test_the_overlaps_of_a_volume_take_less_memory_than_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaps, "CHUNK", 2**14)
    ids = np.ones((1, 16, 128, 256), np.int32)
    tracemalloc.start()
    found = label_overlaps(ids, ids)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.intersection.tolist() == [ids.size]
    assert peak < 0.5 * ids.nbytes


def test_objects_without_a_pixel_do_not_count() -> None:
    ids = np.array([[[1, 1, 0]]], np.int32)
    truth = InstanceMap(ids, np.array([1]), np.zeros((1, 3), np.int32))
    prediction = InstanceMap(ids, np.array([1, 1]), np.zeros((1, 3), np.int32))
    metrics = InstanceMetrics()
    metrics.update(prediction, truth)
    scores = metrics.compute()
    assert scores["F1@0.5"] == scores["PQ"] == 1


def test_sizes_that_differ_are_told() -> None:
    with pytest.raises(InputError, match="4 × 4 pixels and the truth 4 × 5"):
        compare(np.zeros((1, 4, 4), int), np.zeros((1, 4, 5), int))


def test_all_metrics_at_once_and_from_several_processes() -> None:
    rng = np.random.default_rng(0)
    truths = [random_truth(rng, 20, classes=2) for _ in range(4)]
    predictions = [perturbed(rng, truth, classes=2) for truth in truths]
    whole, first, second = InstanceMetrics(), InstanceMetrics(), InstanceMetrics()
    for index, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        whole.update(prediction, truth)
        (first, second)[index // 2].update(prediction, truth)
    first.merge(pickle.loads(pickle.dumps(second)))
    scores = whole.compute()
    assert json.dumps(scores) == json.dumps(first.compute())  # NaN is not equal to itself
    names = {"AP", "AP50", "AP75", "F1@0.5", "F1@0.75", "DSB AP", "AJI", "PQ", "SQ", "RQ"}
    assert names <= scores.keys()
    assert all(names <= scores["per_class"][number].keys() for number in (1, 2))
    average_precision = AveragePrecision()
    for prediction, truth in zip(predictions, truths, strict=True):
        average_precision.update(prediction, truth)
    assert scores["per_class"][2]["AP"] == average_precision.compute()["per_class"][2]["AP"]


def test_state_holds_no_masks() -> None:
    rng = np.random.default_rng(0)
    truth = random_truth(rng, 20, shape=(2000, 2000), largest=400)
    metrics = InstanceMetrics()
    metrics.update(perturbed(rng, truth), truth)
    assert len(pickle.dumps(metrics)) < 20_000


def test_a_thousand_objects_an_image() -> None:
    rng = np.random.default_rng(0)
    truth = random_truth(rng, 1000, shape=(1024, 1024))
    prediction = perturbed(rng, truth)
    start = time.process_time()
    InstanceMetrics().update(prediction, truth)
    assert time.process_time() - start < 1  # about 0.06 s; leaves room for a slow machine
