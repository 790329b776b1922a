"""Panoptic quality against panoptica, and what the panoptic evaluation says of stuff and crowd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from panoptica import InputType, Metric, NaiveThresholdMatching, Panoptica_Evaluator
from scipy import ndimage

from maskmed_nnu.instances.detections import from_instance_map
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.metrics import PanopticQuality, panoptic_quality
from tests.instances.metrics.random_objects import label_maps


def by_panoptica(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.UNMATCHED_INSTANCE,
        instance_matcher=NaiveThresholdMatching(matching_threshold=np.nextafter(0.5, 1)),
        instance_metrics=[Metric.IOU],
        global_metrics=[],
        log_times=False,
    )
    result = evaluator.evaluate(prediction[0].astype(np.uint16), truth[0].astype(np.uint16), verbose=False)
    result = result["ungrouped"]
    # Where nothing matches, panoptica's mean IoU depends on which of the two is empty; ours is 0.
    sq = result.sq if result.tp else (0.0 if result.fp + result.fn else float("nan"))
    return {"PQ": float(result.pq), "SQ": float(sq), "RQ": float(result.rq)}


def check(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    ours = panoptic_quality(prediction, truth)
    assert ours == pytest.approx(by_panoptica(prediction, truth), abs=1e-9, nan_ok=True)
    return ours


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("shape", "least"), [((120, 140), 0.2), ((20, 56, 60), 0.1)])
def test_random_label_maps(seed: int, shape: tuple[int, ...], least: float) -> None:
    truth, prediction = label_maps(np.random.default_rng(seed), 40, shape)
    scores = check(prediction, truth)
    assert least < scores["PQ"] < 1


@pytest.mark.parametrize("shape", [(120, 140), (10, 20, 24)])
def test_empty_truth_and_empty_prediction(shape: tuple[int, ...]) -> None:
    full, nothing = label_maps(np.random.default_rng(0), 5, shape)[0], np.zeros((1, *shape), np.int32)
    assert check(full, full) == {"PQ": 1, "SQ": 1, "RQ": 1}
    assert check(nothing, full) == {"PQ": 0, "SQ": 0, "RQ": 0}
    assert check(full, nothing) == {"PQ": 0, "SQ": 0, "RQ": 0}
    assert np.isnan(list(check(nothing, nothing).values())).all()


def test_an_iou_of_one_half_is_no_match() -> None:
    truth, prediction = np.zeros((2, 1, 4, 4), np.int32)
    truth[0, :2], prediction[0, :1] = 1, 1
    assert check(prediction, truth)["PQ"] == 0
    prediction[0, 1, 0] = 1
    assert check(prediction, truth)["PQ"] == 5 / 8


@pytest.mark.real_data
def test_nuclei(real_data: Path) -> None:
    rng = np.random.default_rng(0)
    for path in sorted((real_data / "dsb2018" / "masks").glob("*.tif"))[:8]:
        truth = tifffile.imread(path)[None].astype(np.int32)
        prediction = truth.copy()
        for index, where in enumerate(ndimage.find_objects(truth[0]), 1):
            kind, part = rng.random(), prediction[0][where]
            mine = truth[0][where] == index
            if kind < 0.2:
                part[mine] = 0
            elif kind < 0.6:
                part[mine & ~ndimage.binary_erosion(mine)] = 0
            elif kind < 0.7:
                part[mine & (np.arange(mine.shape[1]) > mine.shape[1] / 2)] = truth.max() + index
        assert 0.3 < check(prediction, truth)["PQ"] < 1
        check(truth, prediction)


def scene(things: list[tuple[int, slice]], stuff: list[tuple[int, slice]] = ()) -> InstanceMap:
    """A row of 24 pixels."""
    ids, region = np.zeros((1, 1, 24), np.int32), np.zeros((1, 24), np.int32)
    for index, (_, where) in enumerate(things, 1):
        ids[0, 0, where] = index
    for number, where in stuff:
        region[0, where] = number
    return InstanceMap(ids, np.array([number for number, _ in things], np.int64), region)


def detections(objects: InstanceMap):
    return from_instance_map(objects.ids, objects.classes, objects.stuff.astype(np.int16))


@pytest.mark.parametrize("form", [lambda objects: objects, detections])
def test_stuff_is_one_segment_of_an_image(form) -> None:
    truth = scene([(1, slice(0, 4))], [(2, slice(10, 14)), (2, slice(16, 20))])
    prediction = scene([(1, slice(0, 3))], [(2, slice(10, 20))])
    metric = PanopticQuality(stuff_classes=[2])
    metric.update(form(prediction), form(truth))
    scores = metric.compute()
    assert {n: s["PQ"] for n, s in scores["per_class"].items()} == {1: 0.75, 2: 0.8}
    assert scores["PQ"] == pytest.approx(0.775)


@pytest.mark.parametrize("form", [lambda objects: objects, detections])
def test_things_win_where_they_cover_stuff(form) -> None:
    truth = scene([(1, slice(0, 4))], [(2, slice(4, 12))])
    prediction = scene([(1, slice(0, 4))], [(2, slice(0, 12))])
    metric = PanopticQuality(stuff_classes=[2])
    metric.update(form(prediction), form(truth))
    assert metric.compute()["PQ"] == 1


@pytest.mark.parametrize("form", [lambda objects: objects, detections])
def test_a_prediction_in_a_crowd_of_its_class_is_no_error(form) -> None:
    truth = scene([(1, slice(0, 4))], [(1, slice(8, 16))])
    hit, in_crowd, half, other = (1, slice(0, 4)), (1, slice(8, 11)), (1, slice(14, 18)), (2, slice(12, 14))
    metric = PanopticQuality()
    metric.update(form(scene([hit, in_crowd])), form(truth))
    assert metric.compute()["PQ"] == 1
    metric = PanopticQuality()
    metric.update(form(scene([hit, in_crowd, half, other])), form(truth))
    per_class = metric.compute()["per_class"]
    assert per_class[1]["RQ"] == pytest.approx(1 / 1.5)
    assert per_class[2]["RQ"] == 0


def test_sums_over_images_differ_from_the_mean_of_images() -> None:
    metric, one = PanopticQuality(), PanopticQuality()
    truth = scene([(1, slice(0, 4)), (1, slice(6, 10)), (1, slice(12, 16))])
    metric.update(truth, truth)
    one.update(scene([]), scene([(1, slice(0, 4))]))
    metric.merge(one)
    scores = metric.compute()
    assert scores["PQ"] == pytest.approx(3 / 3.5)
    assert scores["image_mean"]["PQ"] == 0.5
