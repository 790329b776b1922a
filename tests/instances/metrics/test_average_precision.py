"""Average precision against pycocotools, whose COCOeval defines it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmed_nnu.instances.detections import Detections, from_instance_map, make_detections
from maskmed_nnu.instances.metrics import AveragePrecision
from tests.instances.metrics.random_objects import full_masks, perturbed, random_truth

AREAS = ("all", "small", "medium", "large")


def annotations(images: list[Detections], crowds: list[np.ndarray] | None = None) -> COCO:
    entries = []
    for image, detections in enumerate(images, 1):
        for index, mask in enumerate(full_masks(detections)):
            entry = {"id": len(entries) + 1, "image_id": image, "category_id": int(detections.classes[index])}
            entry |= {"segmentation": coco_mask.encode(np.asfortranarray(mask)), "area": int(mask.sum())}
            entry |= {
                "score": float(detections.scores[index]),
                "iscrowd": int(crowds is not None and crowds[image - 1][index]),
            }
            entries.append(entry)
    coco = COCO()
    sizes = [{"id": i, "height": d.shape[0], "width": d.shape[1]} for i, d in enumerate(images, 1)]
    coco.dataset = {"images": sizes, "annotations": entries, "categories": [{"id": n} for n in (1, 2, 3)]}
    coco.createIndex()
    return coco


def coco_scores(predictions: list[Detections], truths: list[Detections], crowds=None, *, cap: int) -> dict:
    """The keys of ``AveragePrecision.compute``, from COCOeval's arrays."""
    evaluation = COCOeval(annotations(truths, crowds), annotations(predictions), "segm")
    evaluation.params.maxDets = [*(n for n in (1, 10, 100) if n < cap), cap]
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]

    def mean(values: np.ndarray) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else float("nan")

    def of(classes: slice) -> dict:
        scores = {"AP": mean(precision[:, :, classes, 0, -1])}
        scores |= {name: mean(precision[t, :, classes, 0, -1]) for name, t in (("AP50", 0), ("AP75", 5))}
        for index, area in enumerate(AREAS[1:], 1):
            scores[f"AP_{area}"] = mean(precision[:, :, classes, index, -1])
            scores[f"AR_{area}"] = mean(recall[:, classes, index, -1])
        return scores | {f"AR@{n}": mean(recall[:, classes, 0, m]) for m, n in enumerate(evaluation.params.maxDets)}

    present = [k for k in range(3) if (precision[:, :, k, 0, -1] > -1).any()]
    return {**of(slice(None)), "per_class": {k + 1: of(slice(k, k + 1)) for k in present}}


def check(predictions: list[Detections], truths: list[Detections], crowds=None, *, cap: int = 1000) -> dict:
    metric = AveragePrecision(max_detections=cap)
    for index, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        metric.update(prediction, truth, crowd=None if crowds is None else crowds[index])
    ours, theirs = metric.compute(), coco_scores(predictions, truths, crowds, cap=cap)
    assert ours.keys() == theirs.keys()
    assert ours["per_class"].keys() == theirs["per_class"].keys()
    for one, other in ((ours, theirs), *zip(ours["per_class"].values(), theirs["per_class"].values(), strict=True)):
        names = [name for name in one if name != "per_class"]
        np.testing.assert_allclose([one[n] for n in names], [other[n] for n in names], atol=1e-9, err_msg=str(names))
    return ours


@pytest.mark.parametrize("seed", range(4))
def test_random_objects_of_several_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [random_truth(rng, 40, classes=3) for _ in range(3)]
    scores = check([perturbed(rng, truth, classes=3) for truth in truths], truths)
    assert 0.05 < scores["AP"] < 0.95
    assert np.isfinite(scores["AP_medium"])


@pytest.mark.parametrize("seed", range(3))
def test_all_area_ranges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [random_truth(rng, 12, shape=(300, 320), largest=110) for _ in range(3)]
    scores = check([perturbed(rng, truth) for truth in truths], truths)
    assert np.isfinite([scores[f"AP_{area}"] for area in AREAS[1:]]).all()


def test_objects_on_the_bounds_of_an_area_range() -> None:
    sizes = (31, 32, 33, 95, 96, 97)
    boxes = [[0, 100 * i, side, 100 * i + side] for i, side in enumerate(sizes)]
    masks = [np.full((side, side), 255, np.uint8) for side in sizes]
    truth = make_detections((100, 600), boxes, masks, np.ones(6), np.ones(6))
    scores = check([truth.select([0, 2, 4])], [truth])
    assert scores["AR_small"] == pytest.approx(0.5)  # 32² is small and medium


@pytest.mark.parametrize("seed", range(4))
def test_crowds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [random_truth(rng, 30, classes=2, largest=50) for _ in range(3)]
    crowds = [(rng.random(len(truth)) < 0.3) | (full_masks(truth).sum(axis=(1, 2)) > 3000) for truth in truths]
    predictions = [perturbed(rng, truth, classes=2) for truth in truths]
    assert check(predictions, truths, crowds) != check(predictions, truths)


@pytest.mark.parametrize("cap", [1, 5, 10, 100])
def test_detection_caps(cap: int) -> None:
    rng = np.random.default_rng(0)
    truths = [random_truth(rng, 60), random_truth(rng, 3)]
    scores = check([perturbed(rng, truth) for truth in truths], truths, cap=cap)
    assert scores[f"AR@{cap}"] == max(value for name, value in scores.items() if name.startswith("AR@"))


def test_empty_truth_and_empty_prediction() -> None:
    rng = np.random.default_rng(0)
    full, nothing = random_truth(rng, 20), Detections.empty((160, 200))
    assert check([nothing], [full])["AP"] == 0
    assert np.isnan(check([full], [nothing])["AP"])
    assert np.isnan(check([nothing], [nothing])["AP"])
    with_empty_images = check([full, full, nothing, nothing], [full, nothing, full, nothing])
    assert 0 < with_empty_images["AP"] < 1


def test_identical_detections_with_equal_scores() -> None:
    truth = random_truth(np.random.default_rng(1), 8)
    twice = make_detections(
        truth.shape, np.tile(truth.boxes, (2, 1)), truth.masks * 2, np.ones(2 * len(truth)), np.ones(2 * len(truth))
    )
    check([twice], [truth])
    check([twice], [twice])
    check([truth], [twice])


@pytest.mark.real_data
def test_nuclei(real_data: Path) -> None:
    rng = np.random.default_rng(0)
    truths = []
    for path in sorted((real_data / "dsb2018" / "masks").glob("*.tif"))[:6]:
        ids = tifffile.imread(path)
        numbers, index = np.unique(ids, return_inverse=True)
        truths.append(from_instance_map(index.reshape(1, *ids.shape), np.ones(len(numbers) - 1)))
    assert sum(map(len, truths)) > 50
    check([perturbed(rng, truth) for truth in truths], truths)
    check([perturbed(rng, truth) for truth in truths], truths, cap=10)


@pytest.mark.real_data
def test_overlapping_cells_with_nuclei(real_data: Path) -> None:
    rng = np.random.default_rng(0)
    content = json.loads((real_data / "isbi2014" / "instances.json").read_text())
    truths = []
    for image in content["images"][:4]:
        shape = (image["height"], image["width"])
        found = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        masks = []
        for annotation in found:
            encoded = annotation["segmentation"]
            if isinstance(encoded["counts"], list):
                encoded = coco_mask.frPyObjects(encoded, *shape)
            masks.append(coco_mask.decode(encoded) * np.uint8(255))
        boxes = [[0, 0, *shape]] * len(masks)
        truths.append(make_detections(shape, boxes, masks, np.ones(len(masks)), [a["category_id"] for a in found]))
    assert {1, 2} <= set(np.concatenate([t.classes for t in truths]))
    check([perturbed(rng, truth, classes=2) for truth in truths], truths)
