"""A big image or volume full of objects, as the detections of tiles, to be stitched.

The scene: discs (in a volume balls) of 16 to 50 pixels on a jittered grid, many of them touching, and fibres longer
than three tiles. Every tile has the true masks as detections, cut off at its borders, and with scores of its own. The
result must be the truth. Nothing of ``[objects, *spatial]`` is ever built, here neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.harness.case import Run
from maskmed_nnu.instances.detections import Detections, make_detections
from maskmed_nnu.instances.stitching.cropped_masks import overlapping_box_pairs
from maskmed_nnu.instances.stitching.stitch import stitch
from maskmed_nnu.instances.stitching.tiles import Tile, plan_tiles


@dataclass(frozen=True)
class Setting:
    """A scene and the tiles over it."""

    objects: int
    fibres: int
    """How many of the objects are longer than three tiles."""
    shape: tuple[int, ...]
    tile: tuple[int, ...]
    overlap: tuple[int, ...]
    fibre_length: tuple[int, int]
    fibre_height: int
    """Along the other axes; a fibre winds within."""

    def times(self, factor: int) -> Setting:
        return replace(
            self,
            objects=self.objects * factor,
            fibres=self.fibres * factor,
            shape=(self.shape[0] * factor, *self.shape[1:]),
        )


SETTINGS = {
    2: Setting(20_000, 50, (8192, 8192), (512, 512), (128, 128), (1600, 2400), 400),
    # as nnU-Net predicts volumes: tiles that share one half, each place seen by eight
    3: Setting(2_000, 20, (256, 1024, 1024), (64, 192, 192), (32, 96, 96), (500, 900), 40),
}
SMOKE = Setting(20, 1, (200, 200), (80, 80), (40, 40), (130, 150), 40)


def draw_scene(rng: np.random.Generator, setting: Setting) -> Detections:
    """Cropped masks of all objects."""
    boxes, masks = [], []
    count, shape = setting.objects - setting.fibres, np.array(setting.shape)
    cells = np.ceil(shape / (shape.prod() / count) ** (1 / len(shape))).astype(int)
    pitch = shape / cells
    for n in rng.permutation(cells.prod())[:count]:
        radius = rng.uniform(8, 25) * min(pitch.min() / 50, 1)
        centre = (np.array(np.unravel_index(n, cells)) + rng.uniform(0.2, 0.8, len(shape))) * pitch
        low = np.maximum(np.floor(centre - radius), 0).astype(int)
        high = np.minimum(np.ceil(centre + radius) + 1, shape).astype(int)
        inside = distance(low, high, centre) <= radius
        boxes.append((*low, *high))
        masks.append(inside.astype(np.uint8) * 255)
    for _ in range(setting.fibres):
        length, width = rng.integers(*setting.fibre_length), rng.integers(3, 8)
        size = np.minimum([setting.fibre_height] * (len(shape) - 1) + [length], shape)
        low = rng.integers(0, np.maximum(shape - size, 1))
        middle = size[0] / 2 + (size[0] / 2 - width) * np.sin(np.arange(size[-1]) / rng.uniform(150, 400))
        inside = distance(np.zeros_like(size), size, [middle] * (len(shape) - 1)) <= width
        boxes.append((*low, *(low + size)))
        masks.append(inside.astype(np.uint8) * 255)
    return make_detections(shape, boxes, masks, np.ones(len(boxes)), rng.integers(1, 3, len(boxes)))


def distance(low: np.ndarray, high: np.ndarray, centre: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """Of the pixels of a box from a centre; where this has an axis less than the box, from a line along the last."""
    grid = np.ogrid[tuple(map(slice, low, high))]
    return np.sqrt(sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=False)))


def tile_detections(rng: np.random.Generator, truth: Detections, tiles: list[Tile]) -> list[Detections]:
    """The truth as each tile sees it."""
    detections = []
    for tile in tiles:
        meet = ((truth.boxes[:, : truth.dim] < tile.stop) & (truth.boxes[:, truth.dim :] > tile.start)).all(1)
        seen = truth.select(meet).shift(np.negative(tile.start), tile.size)
        scores = rng.uniform(0.6, 1, len(seen))
        # as a network's answers, no two tiles' masks share memory
        masks = [mask.copy() for mask in seen.masks]
        detections.append(make_detections(seen.shape, seen.boxes, masks, scores, seen.classes))
    return detections


def fingerprints(detections: Detections) -> set[tuple[int, ...]]:
    """Of each object: class, smallest box's corner, area, and a checksum of where its pixels are."""
    prints = set()
    factors = np.array([524287, 8191, 127])[-detections.dim :]
    for box, mask, number in zip(detections.boxes, detections.masks, detections.classes.tolist(), strict=True):
        places = np.argwhere(mask >= 128) + box[: detections.dim]
        checksum = int((places @ factors + places.prod(1) % 8209).sum())
        prints.add((number, *places.min(0).tolist(), len(places), checksum))
    return prints


def stitching(setting: Setting) -> Run:
    """Stitches the scene; its call returns the result and the truth."""
    rng = np.random.default_rng(0)
    truth = draw_scene(rng, setting)
    tiles = plan_tiles(truth.shape, setting.tile, setting.overlap)
    detections = tile_detections(rng, truth, tiles)
    moved = [part.boxes + np.array(tile.start * 2) for tile, part in zip(tiles, detections, strict=True)]
    source = np.repeat(np.arange(len(tiles)), [len(part) for part in moved])
    pairs = overlapping_box_pairs(np.concatenate(moved))
    total = len(source)
    notes = {
        "objects": len(truth),
        "image": by(setting.shape),
        "tiles": f"{len(tiles):,} of {by(setting.tile)} that share {by(setting.overlap)}",
        "detections of all tiles": total,
        "pixels of their masks": sum(mask.size for part in detections for mask in part.masks),
        "their pairs": total * (total - 1) // 2,
        "pairs whose boxes meet": len(pairs),
        "of different tiles (masks are compared)": int((source[pairs[:, 0]] != source[pairs[:, 1]]).sum()),
    }
    return Run(lambda: (stitch(tiles, detections, truth.shape), truth), counted=False, notes=notes)


def check(results: dict[str, tuple[Detections, Detections]]) -> None:
    """Every object was found again."""
    for name, (result, truth) in results.items():
        assert len(result) == len(truth) and fingerprints(result) == fingerprints(truth), f"{name}: not the truth"


def by(numbers: tuple[int, ...]) -> str:
    return "×".join(map(str, numbers))
