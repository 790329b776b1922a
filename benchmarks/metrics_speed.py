"""How long the metrics take on dense images, beside pycocotools' AP of the same objects in the same run.

Discs that overlap each other, and a prediction that moves every one and invents a tenth more. The two take turns;
processor time, without pycocotools' encoding of the masks, which is shown beside it. Both must give the same AP::

    python benchmarks/metrics_speed.py
    python benchmarks/metrics_speed.py --objects 5000 --size 4096
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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
    coco.createIndex()
    return coco


def pycocotools_ap(prediction: COCO, truth: COCO, cap: int) -> float:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1000, help="true objects in the image (default: 1000)")
    parser.add_argument("--size", type=int, default=1024, help="side of the image (default: 1024)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    cap = 2 * options.objects
    seconds: dict[str, list[float]] = {
        "pycocotools, encoding": [],
        "pycocotools, AP": [],
        "ours, AP": [],
        "ours, all": [],
    }

    def timed(name: str, function, *arguments):
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            result = function(*arguments)
        seconds[name].append(time.process_time() - start)
        return result

    for repeat in range(options.repeats):
        sides = draw(np.random.default_rng(repeat), options.objects, options.size)
        encoded = timed("pycocotools, encoding", lambda sides=sides: [encode(side) for side in sides])
        scores = [
            timed("pycocotools, AP", pycocotools_ap, *encoded, cap),
            timed("ours, AP", our_ap, *sides, cap),
            timed("ours, all", all_metrics, *sides, cap),
        ]
        assert np.ptp(scores) < 1e-9, scores
    base = statistics.median(seconds["pycocotools, AP"])
    print(f"{options.objects} objects in {options.size}×{options.size} pixels, AP {scores[0]:.3f}\n")
    print("| | CPU s an image | ratio |\n| --- | --- | --- |")
    for name, values in seconds.items():
        print(f"| {name} | {statistics.median(values):.3f} | {statistics.median(values) / base:.4f} |")


if __name__ == "__main__":
    main()
