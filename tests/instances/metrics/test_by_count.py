"""Metrics in 2D and 3D against counts by hand: every pair of dense masks, every score, one loop after the other."""

from __future__ import annotations

import numpy as np
import pytest
from monai.metrics.froc import compute_froc_curve_data, compute_froc_score

from maskmed_nnu.instances.detections import Detections, concatenate, from_instance_map, make_detections
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.metrics import AveragePrecision, DetectionSensitivity, InstanceMetrics, LesionDice
from maskmed_nnu.instances.metrics.detection_sensitivity import RATES
from tests.instances.metrics.random_objects import full_masks, label_maps, perturbed, random_truth

SHAPES = [(60, 70), (18, 36, 40)]


def ious(prediction: Detections, truth: Detections) -> np.ndarray:
    table = np.zeros((len(prediction), len(truth)))
    for i, one in enumerate(full_masks(prediction)):
        for j, other in enumerate(full_masks(truth)):
            table[i, j] = (one & other).sum() / (one | other).sum()
    return table


def found_by_score(prediction: Detections, truth: Detections, threshold: float) -> list[tuple[float, bool]]:
    """Score of each detection, the best first, and whether it is the first to find an object."""
    table, free, outcome = ious(prediction, truth), set(range(len(truth))), []
    for i in sorted(range(len(prediction)), key=lambda i: -prediction.scores[i]):
        # of two equally good ones COCO takes the later
        best = max((j for j in free if table[i, j] >= threshold), key=lambda j: (table[i, j], j), default=None)
        free -= {best}
        outcome.append((float(prediction.scores[i]), best is not None))
    return outcome


def average_precision_by_count(images: list[tuple[Detections, Detections]]) -> float:
    objects = sum(len(truth) for _, truth in images)
    values = []
    for threshold in np.linspace(0.5, 0.95, 10):
        outcome = [pair for image in images for pair in found_by_score(*image, threshold)]
        outcome.sort(key=lambda pair: -pair[0])
        curve, hits = [], 0
        for rank, (_, hit) in enumerate(outcome, 1):
            hits += hit
            curve.append((hits / objects, hits / rank))
        for recall in np.linspace(0, 1, 101):
            values.append(max((precision for reached, precision in curve if reached >= recall), default=0.0))
    return float(np.mean(values))


def scene(seed: int, shape: tuple[int, ...], images: int = 3) -> list[tuple[Detections, Detections]]:
    """Predictions and truths; the last image has no true objects, the first no prediction."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(images):
        truth = random_truth(rng, 0 if index == images - 1 else 12, shape=shape, largest=20)
        prediction = perturbed(rng, truth)
        prediction.scores[:] += 0.05  # MONAI leaves out the lowest score, so that what is missed must be the only 0
        pairs.append((Detections.empty(shape) if index == 0 else prediction, truth))
    return pairs


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_average_precision(shape: tuple[int, ...], seed: int) -> None:
    images = scene(seed, shape, images=6)
    metric = AveragePrecision()
    for prediction, truth in images:
        metric.update(prediction, truth)
    expected = average_precision_by_count(images)
    assert metric.compute()["AP"] == pytest.approx(expected, abs=1e-9)
    assert 0.02 < expected < 0.95


def test_a_volume_may_have_as_many_objects_as_its_slices_together() -> None:
    ids = np.arange(1, 1 + 4 * 10 * 60, dtype=np.int32).reshape(1, 4, 10, 60)  # 2400
    for shape, expected in (((4, 10, 60), 1.0), ((40, 60), 0.42)):
        metric = AveragePrecision()
        metric.update(ids.reshape(1, *shape), ids.reshape(1, *shape))
        assert metric.compute()["AP"] == pytest.approx(expected, abs=0.01)


def test_sizes_of_objects_in_a_volume_are_cubes() -> None:
    edges = (31, 33, 97)
    boxes = [[0, 0, 100 * n, edge, edge, 100 * n + edge] for n, edge in enumerate(edges)]
    masks = [np.full((edge,) * 3, 255, np.uint8) for edge in edges]
    truth = make_detections((97, 97, 300), boxes, masks, np.ones(3), np.ones(3))
    for index, name in enumerate(("small", "medium", "large")):
        metric = AveragePrecision()
        metric.update(truth.select([index]), truth)
        scores = metric.compute()
        assert [scores[f"AR_{other}"] == 1 for other in ("small", "medium", "large")] == [
            other == name for other in ("small", "medium", "large")
        ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_sensitivity_at_false_positives_per_image(shape: tuple[int, ...], seed: int) -> None:
    images = scene(seed, shape, images=4)
    metric, half = DetectionSensitivity(), DetectionSensitivity()
    for index, (prediction, truth) in enumerate(images):
        (half if index % 2 else metric).update(prediction, truth)
    metric.merge(half)
    scores = metric.compute()
    outcome = [pair for image in images for pair in found_by_score(*image, 0.1)]
    objects = sum(len(truth) for _, truth in images)
    hits = np.array([score for score, hit in outcome if hit] + [0.0])  # MONAI counts what is missed with 0
    wrong = np.array([score for score, hit in outcome if not hit])
    curve = compute_froc_curve_data(wrong, hits, objects, len(images))
    assert scores["FROC"] == pytest.approx(compute_froc_score(*curve, RATES), abs=1e-9)
    for rate in RATES:
        assert scores[f"sensitivity@{rate:g}"] == pytest.approx(compute_froc_score(*curve, (rate,)), abs=1e-9)
    assert 0.02 < scores["FROC"] < 0.98


def test_an_object_found_twice_is_one_hit_and_one_false_positive() -> None:
    truth = np.zeros((1, 4, 4, 4), np.int32)
    truth[0, :2] = 1
    once = from_instance_map(truth, [1])
    twice = concatenate([once, once])
    metric = DetectionSensitivity()
    metric.update(make_detections(twice.shape, twice.boxes, twice.masks, [0.9, 0.8], [1, 1]), once)
    scores = metric.compute()
    assert (scores["sensitivity@0.125"], scores["FROC"]) == (1, 1)  # at 0.9 there is no false positive yet
    metric = DetectionSensitivity()
    other = make_detections(once.shape, [[3, 0, 0, 4, 4, 4]], [np.full((1, 4, 4), 255, np.uint8)], [0.95], [1])
    metric.update(concatenate([once.select([]), other]), once)
    assert metric.compute()["FROC"] == 0


def test_detections_of_the_lowest_score_count() -> None:
    truth = from_instance_map(np.array([[[[1, 1, 0, 2, 2]]]], np.int32), [1, 1])
    metric = DetectionSensitivity()
    metric.update(make_detections(truth.shape, truth.boxes, truth.masks, [0.5, 0.0], [1, 1]), truth)
    assert metric.compute()["FROC"] == 1


def lesion_dice_by_count(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, int]:
    """As the script of BraTS counts components: sum of Dice, and true and invented ones."""
    dices = []
    for number in np.unique(truth[truth > 0]):
        lesion = truth == number
        touching = np.setdiff1d(np.unique(prediction[lesion]), 0)
        found = np.isin(prediction, touching)
        dices.append(2 * (found & lesion).sum() / (found.sum() + lesion.sum()))
    invented = [n for n in np.unique(prediction[prediction > 0]) if not truth[prediction == n].any()]
    return float(np.sum(dices)), len(dices) + len(invented)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_lesion_wise_dice(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [label_maps(rng, 12, shape), label_maps(rng, 5, shape)]
    images[0][1][images[0][0] == 2] = 99  # one more that is found under another number
    images[1][1][0, -2:] = 100
    images[1][0][0, -2:] = 0  # and one that is invented
    metric = LesionDice()
    for truth, prediction in images:
        metric.update(prediction, truth)
    counted = [lesion_dice_by_count(prediction, truth) for truth, prediction in images]
    scores = metric.compute()
    assert scores["lesion Dice"] == pytest.approx(sum(s for s, _ in counted) / sum(n for _, n in counted), abs=1e-12)
    assert scores["image_mean"]["lesion Dice"] == pytest.approx(np.mean([s / n for s, n in counted]), abs=1e-12)
    assert 0.3 < scores["lesion Dice"] < 1


def test_nothing_and_nothing_found() -> None:
    full, nothing = label_maps(np.random.default_rng(0), 4, (8, 20, 20))[0], np.zeros((1, 8, 20, 20), np.int32)
    for prediction, truth, expected in ((nothing, full, 0.0), (full, nothing, np.nan), (nothing, nothing, np.nan)):
        metrics = InstanceMetrics()
        metrics.update(prediction, truth)
        scores = metrics.compute()
        assert [scores[name] for name in ("AP", "FROC")] == pytest.approx([expected] * 2, nan_ok=True)
        found = 0.0 if prediction.any() or truth.any() else np.nan
        assert scores["lesion Dice"] == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_volume_counts_as_the_same_voxels_in_a_plane(seed: int) -> None:
    """F1, AJI, panoptic quality … know pixels, not where they are."""
    truth, prediction = label_maps(np.random.default_rng(seed), 20, (12, 24, 26))
    in_space, in_plane, as_masks = InstanceMetrics(), InstanceMetrics(), InstanceMetrics()
    in_space.update(prediction, truth)
    in_plane.update(*(ids.reshape(1, -1, 26) for ids in (prediction, truth)))
    as_masks.update(*(from_instance_map(ids, np.ones(ids.max(), np.int64)) for ids in (prediction, truth)))
    scores = [metrics.compute() for metrics in (in_space, in_plane, as_masks)]
    names = ("AP", "AP50", "FROC", "F1@0.5", "F1@0.75", "DSB AP", "AJI", "PQ", "SQ", "RQ", "lesion Dice")
    assert [scores[0][name] for name in names] == [scores[1][name] for name in names]
    assert [scores[0][name] for name in names] == [scores[2][name] for name in names]
    assert 0.1 < scores[0]["F1@0.5"] < 1


def test_stuff_beside_objects_in_a_volume() -> None:
    ids, stuff = np.zeros((1, 4, 6, 6), np.int32), np.zeros((4, 6, 6), np.int32)
    ids[0, 1:3, :3, :3], stuff[:, 3:] = 1, 2
    truth = InstanceMap(ids, np.array([1]), stuff)
    masks = from_instance_map(ids, [1], stuff.astype(np.int16))
    for one in (truth, masks):
        metrics = InstanceMetrics(stuff_classes=[2])
        metrics.update(one, truth)
        assert {n: s["PQ"] for n, s in metrics.compute()["per_class"].items()} == {1: 1, 2: 1}
