"""Dense images of discs that overlap, and predictions that move every one and invent a tenth more: AP by pycocotools
and by our metrics."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmed_nnu.instances.detections import Detections, make_detections
from maskmed_nnu.instances.metrics import AveragePrecision, InstanceMetrics


def draw(rng: np.random.Generator, count: int, size: int) -> tuple[Detections, Detections]:
    """Prediction and truth, with discs of radius 4 to 15."""
    centres, radii = rng.uniform(15, size - 15, (count + count // 10, 2)), rng.uniform(4, 15, count + count // 10)
    moved = centres + rng.normal(0, 1.5, centres.shape)

    def discs(centres: np.ndarray, scores: np.ndarray) -> Detections:
        low = np.maximum(np.floor(centres - radii[: len(centres), None]), 0).astype(int)
        high = np.minimum(np.ceil(centres + radii[: len(centres), None]) + 1, size).astype(int)
        masks = []
        for centre, radius, (y0, x0), (y1, x1) in zip(centres, radii, low, high, strict=False):
            y, x = np.ogrid[y0:y1, x0:x1]
            masks.append((np.hypot(y - centre[0], x - centre[1]) <= radius) * np.uint8(255))
        return make_detections((size, size), np.concatenate([low, high], 1), masks, scores, np.ones(len(centres)))

    return discs(moved, rng.random(len(moved))), discs(centres[:count], np.ones(count))


def encode(detections: Detections) -> COCO:
    """The same objects as pycocotools takes them."""
    entries = []
    for index, ((y0, x0, y1, x1), mask) in enumerate(zip(detections.boxes, detections.masks, strict=True)):
        full = np.zeros(detections.shape, np.uint8, order="F")
        full[y0:y1, x0:x1] = mask > 0
        entry = {"id": index + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "score": detections.scores[index]}
        entries.append({**entry, "segmentation": coco_mask.encode(full), "area": int(np.count_nonzero(mask))})
    coco = COCO()
    height, width = detections.shape
    images = [{"id": 1, "height": height, "width": width}]
    coco.dataset = {"images": images, "annotations": entries, "categories": [{"id": 1}]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def pycocotools_ap(prediction: COCO, truth: COCO, cap: int) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, prediction, "segm")
        evaluation.params.maxDets = [cap]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"][:, :, 0, 0, 0].mean())


def our_ap(prediction: Detections, truth: Detections, cap: int) -> float:
    metric = AveragePrecision(cap)
    metric.update(prediction, truth)
    return metric.compute()["AP"]


def all_metrics(prediction: Detections, truth: Detections, cap: int) -> float:
    metrics = InstanceMetrics(max_detections=cap)
    metrics.update(prediction, truth)
    return metrics.compute()["AP"]
