"""Overlapping cells with nuclei, drawn, not photographed: pictures and a COCO json, as annotation tools write it.

A cell is a translucent blob with a membrane and a grainy nucleus, so that two of them add up where they overlap. Their
true masks overlap as well, which no label map could hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from maskmed_nnu.instances.rle import encode

DATASET = "Dataset901_Cells"
CLASSES = ("cell", "nucleus")
SIZE = 128
CELLS = 10
TEST = 8
RADIUS = (13.0, 21.0)
JSON, IMAGES = "cells.json", "images"


class Picture(NamedTuple):
    """``image`` uint8 [y, x]; ``masks`` bool [objects, y, x] of ``classes``, 1 a cell and 2 a nucleus."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    classes: list[int]


def draw_cells(rng: np.random.Generator, *, size: int = SIZE) -> Picture:
    """Draw one picture of up to `CELLS` cells."""
    light = np.full((size, size), 18.0) + gaussian_filter(rng.normal(size=(size, size)), 25) * 120
    masks: list[NDArray[np.bool_]] = []
    classes: list[int] = []
    for centre, radius in _places(rng, size):
        depth = _blob(rng, size, centre, radius)  # 1 in the middle, 0 at the border
        inner = _blob(rng, size, centre + rng.uniform(-0.2, 0.2, 2) * radius, rng.uniform(0.36, 0.46) * radius)
        body, nucleus = depth > 0, (inner > 0) & (depth > 0)
        membrane = np.exp(-np.square(depth / 0.12)) * body
        light += rng.uniform(45, 70) * body * (0.55 + 0.45 * np.sqrt(depth.clip(0))) + 35 * membrane
        light += rng.uniform(60, 85) * nucleus * (1 + 0.25 * gaussian_filter(rng.normal(size=light.shape), 1.2) / 0.24)
        masks += [body, nucleus]
        classes += [1, 2]
    image = gaussian_filter(light, 0.8) + rng.normal(scale=3.5, size=light.shape)
    return Picture(image.clip(0, 255).astype(np.uint8), np.array(masks), classes)


def write_pictures(
    folder: Path,
    *,
    training: int = 40,
    test: int = TEST,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Write the pictures to ``images`` and all objects to ``cells.json``, the last `test` of them for testing.

    The same `seed` gives the same files. The json comes last: where it stands, all is complete.
    """
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(training + test):
        picture = draw_cells(np.random.default_rng([seed, index]))
        name = f"cells_{index:02d}.png"
        Image.fromarray(picture.image).save(folder / IMAGES / name)
        report(f"  {name}  {len(picture.classes) // 2} cells")
        images.append({"id": index, "file_name": name, "height": SIZE, "width": SIZE})
        for mask, number in zip(picture.masks, picture.classes, strict=True):
            if mask.any():
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": number,
                        "segmentation": encode(mask, (0, 0), mask.shape),
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / JSON).write_text(json.dumps(content) + "\n", encoding="utf-8")


def _places(rng: np.random.Generator, size: int) -> list[tuple[NDArray[np.float64], float]]:
    """Centres and radii: many cells overlap a neighbour, none lies on top of another."""
    places: list[tuple[NDArray[np.float64], float]] = []
    wanted = rng.integers(CELLS // 2, CELLS, endpoint=True)
    for _ in range(20 * CELLS):
        centre, radius = rng.uniform(6, size - 6, 2), rng.uniform(*RADIUS)
        apart = [np.linalg.norm(centre - other) / (radius + reach) for other, reach in places]
        if min(apart, default=1.0) > 0.62 and len(places) < wanted:
            places.append((centre, radius))
    return places


def _blob(rng: np.random.Generator, size: int, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """How far inside a bent ellipse around `centre` each pixel lies: 1 in its middle, 0 at its border."""
    y, x = np.indices((size, size)) - centre[:, None, None]
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.3)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    angle = np.arctan2(across, along)
    bends = sum(rng.normal(scale=0.05) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4))
    depth: NDArray[np.float64] = 1 - np.hypot(along / stretch, across * stretch) / (radius * (1 + bends))
    return depth
