"""How long it takes to stitch a big image or volume full of objects, and in how much memory.

    python benchmarks/stitching.py --dims 2
    python benchmarks/stitching.py --dims 3 --times 1 2 4

The scene: discs (in a volume balls) of 16 to 50 pixels on a jittered grid, many of them touching, and fibres longer
than three tiles. Every tile has the true masks as detections, cut off at its borders, and with scores of its own. The
result must be the truth. With ``--times`` the image is so much longer along its first axis, and has so many times the
objects. Nothing of ``[objects, *spatial]`` is ever built, here neither.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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
        return Setting(
            **{
                **vars(self),
                "objects": self.objects * factor,
                "fibres": self.fibres * factor,
                "shape": (self.shape[0] * factor, *self.shape[1:]),
            }
        )


SETTINGS = {
    2: Setting(20_000, 50, (8192, 8192), (512, 512), (128, 128), (1600, 2400), 400),
    # as nnU-Net predicts volumes: tiles that share one half, each place seen by eight
    3: Setting(2_000, 20, (256, 1024, 1024), (64, 192, 192), (32, 96, 96), (500, 900), 40),
}


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


def measure(setting: Setting) -> dict[str, str]:
    """The rows of the table for one scene, whose last one says whether the result is right."""
    rng = np.random.default_rng(0)
    truth = draw_scene(rng, setting)
    tiles = plan_tiles(truth.shape, setting.tile, setting.overlap)
    detections = tile_detections(rng, truth, tiles)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall, cpu = time.perf_counter(), time.process_time()
    result = stitch(tiles, detections, truth.shape)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    moved = [part.boxes + np.array(tile.start * 2) for tile, part in zip(tiles, detections, strict=True)]
    source = np.repeat(np.arange(len(tiles)), [len(part) for part in moved])
    pairs = overlapping_box_pairs(np.concatenate(moved))
    across = int((source[pairs[:, 0]] != source[pairs[:, 1]]).sum())
    total = len(source)
    exact = len(result) == len(truth) and fingerprints(result) == fingerprints(truth)
    return {
        "objects": f"{len(truth):,}",
        "image": by(setting.shape),
        f"tiles of {by(setting.tile)} that share {by(setting.overlap)}": f"{len(tiles):,}",
        "detections of all tiles": f"{total:,}",
        "pixels of their masks": f"{sum(mask.size for part in detections for mask in part.masks) / 1e6:,.0f} million",
        "their pairs": f"{total * (total - 1) // 2:,}",
        "pairs whose boxes meet": f"{len(pairs):,}",
        "of different tiles (masks are compared)": f"{across:,}",
        "wall time": f"{wall:.1f} s",
        "time of one core": f"{cpu:.1f} s",
        "peak memory": f"{peak:.2f} GiB ({before:.2f} before, scene and answers included)",
        "result": f"{len(result):,} objects, {'equal' if exact else 'NOT EQUAL'} to the truth",
    }


def by(numbers: tuple[int, ...]) -> str:
    return " × ".join(map(str, numbers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, choices=(2, 3), default=2)
    parser.add_argument("--objects", type=int)
    parser.add_argument("--fibres", type=int)
    parser.add_argument("--times", type=int, nargs="+", default=[1])
    args = parser.parse_args()

    given = {name: value for name, value in vars(args).items() if name in ("objects", "fibres") and value is not None}
    setting = Setting(**{**vars(SETTINGS[args.dims]), **given})
    # a process for each scene, as peak memory is the process's
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        columns = pool.map(measure, [setting.times(factor) for factor in args.times], chunksize=1)
    print("| |" + " |" * len(columns) + "\n|" + " --- |" * (1 + len(columns)))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")
    if any("NOT EQUAL" in column["result"] for column in columns):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
