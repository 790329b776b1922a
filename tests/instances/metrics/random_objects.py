"""Objects for tests of metrics: a random truth and a prediction that errs in every way there is."""

from __future__ import annotations

import numpy as np

from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.detections import Detections, concatenate, make_detections


def random_truth(
    rng: np.random.Generator, count: int, *, shape: tuple[int, ...] = (160, 200), classes: int = 1, largest: float = 24
) -> Detections:
    """Ellipses, in volumes ellipsoids, that overlap each other, small ones most."""
    boxes, masks = [], []
    for _ in range(count):
        radii = 2 + (largest - 2) * rng.random(len(shape)) ** 3
        centre = rng.uniform(0, shape)
        low = np.maximum(np.floor(centre - radii), 0).astype(int)
        high = np.minimum(np.ceil(centre + radii) + 1, shape).astype(int)
        axes = np.ogrid[tuple(map(slice, low, high))]
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)) <= 1
        if inside.any():
            boxes.append([*low, *high])
            masks.append(inside.astype(np.uint8) * 255)
    numbers = rng.integers(1, classes + 1, len(boxes))
    return make_detections(shape, boxes, masks, np.ones(len(boxes)), numbers)


def perturbed(rng: np.random.Generator, truth: Detections, *, classes: int = 1) -> Detections:
    """`truth` with objects moved, lost, doubled, put in another class and invented; scores with many ties."""
    if not len(truth):
        moved = truth
    else:
        parts = []
        for index in rng.choice(len(truth), len(truth)):  # some never, some more than once
            offset = rng.integers(-2, 3, len(truth.shape)) * (rng.random() < 0.7)
            parts.append(truth.select([index]).shift(offset.tolist(), truth.shape))
        moved = concatenate(parts)
    invented = random_truth(rng, 4, shape=truth.shape, classes=classes)
    everything = concatenate([moved, invented])
    numbers = np.where(
        rng.random(len(everything)) < 0.05, rng.integers(1, classes + 1, len(everything)), everything.classes
    )
    scores = rng.integers(0, 20, len(everything)) / 20
    return make_detections(truth.shape, everything.boxes, everything.masks, scores, numbers)


def full_masks(detections: Detections) -> np.ndarray:
    """bool [N, *spatial]."""
    masks = np.zeros((len(detections), *detections.shape), dtype=bool)
    for full, box, mask in zip(masks, detections.boxes, detections.masks, strict=True):
        full[box_slices(box)] = mask >= 128
    return masks


def label_maps(rng: np.random.Generator, count: int, shape: tuple[int, ...] = (120, 140)) -> list[np.ndarray]:
    """A truth and a prediction as plain id maps [1, *spatial]: two drawings of much the same blobs."""
    centres, radii = rng.uniform(0, shape, (count, len(shape))), rng.uniform(3, 12, count)
    grid = np.indices(shape)
    maps = []
    for jitter in (0.0, 1.5):
        ids = np.zeros((1, *shape), dtype=np.int32)
        for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), 1):
            moved = centre + jitter * rng.standard_normal(len(shape))
            if jitter and rng.random() < 0.15:
                continue
            distance = sum((axis - position) ** 2 for axis, position in zip(grid, moved, strict=True))
            ids[0][distance < radius**2] = number
        maps.append(ids)
    return maps
