"""How long it takes to stitch a big image full of objects, and in how much memory.

    python benchmarks/stitching.py --objects 20000 --size 8192 --tile 512 --overlap 128

The scene: discs of 16 to 50 pixels on a jittered grid, many of them touching, and fibres longer than three tiles. Every
tile has the true masks as detections, cut off at its borders, and with scores of its own. The result must be the truth.
Nothing of ``[objects, height, width]`` is ever built, here neither.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskmed_nnu.instances.detections import Detections, make_detections
from maskmed_nnu.instances.stitching.cropped_masks import overlapping_box_pairs
from maskmed_nnu.instances.stitching.stitch import stitch
from maskmed_nnu.instances.stitching.tiles import Tile, plan_tiles


def draw_scene(rng: np.random.Generator, size: int, count: int, fibres: int) -> Detections:
    """Cropped masks of ``count`` objects, ``fibres`` of them long."""
    boxes, masks = [], []
    side = int(np.ceil(np.sqrt(count - fibres)))
    pitch = size / side
    for n in range(count - fibres):
        radius = rng.uniform(8, 25) * min(pitch / 50, 1)
        centre = (np.array([n // side, n % side]) + rng.uniform(0.2, 0.8, 2)) * pitch
        low = np.maximum(np.floor(centre - radius), 0).astype(int)
        high = np.minimum(np.ceil(centre + radius) + 1, size).astype(int)
        y, x = np.ogrid[low[0] : high[0], low[1] : high[1]]
        inside = np.hypot(y - centre[0], x - centre[1]) <= radius
        boxes.append((*low, *high))
        masks.append(inside.astype(np.uint8) * 255)
    for _ in range(fibres):
        length, width = rng.integers(1600, 2400), rng.integers(3, 8)
        y0, x0 = rng.integers(0, size - 400), rng.integers(0, max(size - length, 1))
        height, length = min(400, size - y0), min(length, size - x0)
        middle = height / 2 + (height / 2 - width) * np.sin(np.arange(length) / rng.uniform(150, 400))
        inside = np.abs(np.arange(height)[:, None] - middle) <= width
        boxes.append((y0, x0, y0 + height, x0 + length))
        masks.append(inside.astype(np.uint8) * 255)
    return make_detections((size, size), boxes, masks, np.ones(count), rng.integers(1, 3, count))


def tile_detections(rng: np.random.Generator, truth: Detections, tiles: list[Tile]) -> list[Detections]:
    """The truth as each tile sees it."""
    detections = []
    for tile in tiles:
        meet = ((truth.boxes[:, :2] < tile.stop) & (truth.boxes[:, 2:] > tile.start)).all(1)
        seen = truth.select(meet).shift(np.negative(tile.start), tile.size)
        scores = rng.uniform(0.6, 1, len(seen))
        detections.append(make_detections(seen.shape, seen.boxes, seen.masks, scores, seen.classes))
    return detections


def pixels(detections: Detections) -> set[tuple[int, int, int, int, int]]:
    """A fingerprint per object: class, smallest box's corner, area, and a checksum of where its pixels are."""
    prints = set()
    for box, mask, number in zip(detections.boxes.tolist(), detections.masks, detections.classes.tolist(), strict=True):
        y, x = np.nonzero(mask >= 128)
        y, x = y + box[0], x + box[1]
        prints.add((number, int(y.min()), int(x.min()), len(y), int((y * 8191 + x * 127 + y * x % 8209).sum())))
    return prints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--fibres", type=int, default=50, help="how many of the objects are longer than three tiles")
    parser.add_argument("--size", type=int, default=8192, help="the image's height and width")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=128)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    truth = draw_scene(rng, args.size, args.objects, args.fibres)
    tiles = plan_tiles(truth.shape, (args.tile, args.tile), args.overlap)
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
    exact = len(result) == len(truth) and pixels(result) == pixels(truth)
    rows = {
        "objects": f"{len(truth):,}",
        "image": f"{args.size} × {args.size}",
        f"tiles of {args.tile} that share {args.overlap}": f"{len(tiles):,}",
        "detections of all tiles": f"{total:,}",
        "their pairs": f"{total * (total - 1) // 2:,}",
        "pairs whose boxes meet": f"{len(pairs):,}",
        "of different tiles (masks are compared)": f"{across:,}",
        "wall time": f"{wall:.1f} s",
        "time of one core": f"{cpu:.1f} s",
        "peak memory": f"{peak:.2f} GiB ({before:.2f} before, scene and answers included)",
        "result": f"{len(result):,} objects, {'equal' if exact else 'NOT EQUAL'} to the truth",
    }
    print("| | |\n| --- | --- |")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    if not exact:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
