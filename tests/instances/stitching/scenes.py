"""Scenes of objects, layouts of tiles over them, and tiles' answers that know the truth or almost."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections, from_instance_map, make_detections
from maskmed_nnu.instances.stitching.tiles import Tile

KINDS = ("disc", "worm", "touching", "overlapping", "concave")


def random_scene(rng: np.random.Generator, shape: tuple[int, int], *, count: int, overlap: bool) -> Detections:
    """About ``count`` connected objects of two classes; with ``overlap`` they may cover each other anyhow."""
    masks, classes = [], []
    covered = np.zeros(shape, bool)
    for kind in rng.choice(KINDS, count):
        number = int(rng.integers(1, 3))
        for mask in _draw(rng, shape, kind):
            if not overlap:
                mask = mask & ~covered
            mask = largest_piece(mask)
            if mask.sum() >= 4:
                covered |= mask
                masks.append(mask)
                classes.append(number)
    return from_masks(masks, classes, shape)


def from_masks(masks: list[np.ndarray], classes: list[int], shape: tuple[int, int]) -> Detections:
    ids = np.zeros((max(len(masks), 1), *shape), np.int32)
    for i, mask in enumerate(masks):
        ids[i][mask] = i + 1
    return from_instance_map(ids, np.array(classes, np.int64))


def largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax() if count else mask


def _draw(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> list[np.ndarray]:
    grid = np.stack(np.mgrid[: shape[0], : shape[1]]).astype(float)
    centre, radius = rng.uniform((0, 0), shape), rng.uniform(2, 14)
    disc = np.hypot(*(grid - centre[:, None, None])) <= radius
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    if kind == "disc":
        return [disc]
    if kind == "touching":  # two halves
        side = np.tensordot(direction, grid - centre[:, None, None], 1) > rng.uniform(-0.5, 0.5) * radius
        return [disc & side, disc & ~side]
    if kind == "overlapping":
        other = centre + direction * radius * rng.uniform(0.1, 1.5)
        return [disc, np.hypot(*(grid - other[:, None, None])) <= radius * rng.uniform(0.7, 1.3)]
    if kind == "concave":  # a thick arc, open to one side
        return [draw_arc(grid, centre, 2 * radius, angle, rng.uniform(3, 6), rng.uniform(1, 4))]
    return [draw_worm(rng, grid, centre, direction, rng.uniform(1, 3))]


def draw_arc(
    grid: np.ndarray, centre: np.ndarray, radius: float, start: float, length: float, width: float
) -> np.ndarray:
    offset = grid - centre[:, None, None]
    around = (np.arctan2(*offset) - start) % (2 * np.pi)
    return (np.abs(np.hypot(*offset) - radius) <= width) & (around <= length)


def draw_worm(
    rng: np.random.Generator, grid: np.ndarray, start: np.ndarray, direction: np.ndarray, width: float
) -> np.ndarray:
    """A crooked line across the image, longer than most tiles."""
    path = np.ones((grid.shape[1], grid.shape[2]), bool)
    angle, at = np.arctan2(*direction), start - direction * 40
    for _ in range(60):
        angle += rng.normal(0, 0.3)
        at = at + 2 * np.array([np.sin(angle), np.cos(angle)])
        y, x = np.rint(at).astype(int)
        if 0 <= y < path.shape[0] and 0 <= x < path.shape[1]:
            path[y, x] = False
    return ~path if path.all() else ndimage.distance_transform_edt(path) <= width + 0.5


def random_tiles(rng: np.random.Generator, shape: tuple[int, int], overlap: int = 1) -> list[Tile]:
    """Tiles of all sizes in rows and columns that share ``overlap`` pixels or more; some are padded."""
    axes = [_cuts(rng, n, overlap) for n in shape]
    padding = rng.integers(0, 5, 2)
    tiles = []
    for y0, y1 in axes[0]:
        for x0, x1 in axes[1]:
            # Only at the image's end does a tile read padding.
            more = padding * [y1 == shape[0], x1 == shape[1]]
            tiles.append(Tile(y0, x0, y1, x1, (y1 - y0 + int(more[0]), x1 - x0 + int(more[1])), shape))
    return tiles


def _cuts(rng: np.random.Generator, length: int, overlap: int) -> list[tuple[int, int]]:
    cuts = [(0, min(int(rng.integers(overlap + 8, 60)), length))]
    while cuts[-1][1] < length:
        start = int(rng.integers(cuts[-1][0] + 1, cuts[-1][1] - overlap + 1))
        stop = int(rng.integers(cuts[-1][1] + 1, cuts[-1][1] + 50))
        cuts.append((start, min(stop, length)))
    return cuts


def crop(truth: Detections, tile: Tile) -> Detections:
    """What a tile that knows the truth answers: every object it sees a pixel of, cut off at its borders."""
    return truth.shift(-tile.y0, -tile.x0, (tile.y1 - tile.y0, tile.x1 - tile.x0)).shift(0, 0, tile.size)


def pieces(answer: Detections) -> Detections:
    """The same with each connected piece an object of its own, as a network sees the two legs of an arch."""
    boxes, masks, scores, classes = [], [], [], []
    for (y0, x0, _, _), mask, score, number in zip(
        answer.boxes.tolist(), answer.masks, answer.scores, answer.classes, strict=True
    ):
        labels, _ = ndimage.label(mask >= MASK_THRESHOLD, np.ones((3, 3)))
        for i, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            boxes.append((y0 + rows.start, x0 + columns.start, y0 + rows.stop, x0 + columns.stop))
            masks.append((labels[rows, columns] == i).astype(np.uint8) * 255)
            scores.append(score)
            classes.append(number)
    return make_detections(answer.shape, boxes, masks, scores, classes)


def noisy(rng: np.random.Generator, answer: Detections) -> Detections:
    """Every mask one pixel larger, one smaller or as it is; soft borders; scores from 0.8 to 1."""
    boxes, masks = [], []
    for (y0, x0, y1, x1), mask in zip(answer.boxes.tolist(), answer.masks, strict=True):
        box = (max(y0 - 1, 0), max(x0 - 1, 0), min(y1 + 1, answer.shape[0]), min(x1 + 1, answer.shape[1]))
        wide = np.zeros((box[2] - box[0], box[3] - box[1]), bool)
        wide[y0 - box[0] : y1 - box[0], x0 - box[1] : x1 - box[1]] = mask >= MASK_THRESHOLD
        change = rng.integers(-1, 2)
        if change > 0:
            wide = ndimage.binary_dilation(wide)
        elif change < 0:
            wide = ndimage.binary_erosion(wide, border_value=1)
        soft = np.where(
            wide, rng.integers(MASK_THRESHOLD, 256, wide.shape), rng.integers(0, MASK_THRESHOLD, wide.shape)
        )
        boxes.append(box)
        masks.append(soft.astype(np.uint8))
    return make_detections(answer.shape, boxes, masks, rng.uniform(0.8, 1, len(answer)), answer.classes)


def objects_of(detections: Detections) -> list[tuple[int, bytes, bytes]]:
    """Class, smallest box and pixels of every object, sorted: equal lists mean equal objects, whatever the order."""
    found = []
    for (y0, x0, _, _), mask, number in zip(
        detections.boxes.tolist(), detections.masks, detections.classes.tolist(), strict=True
    ):
        inside = mask >= MASK_THRESHOLD
        rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
        box = (y0 + rows[0], x0 + columns[0], y0 + rows[-1] + 1, x0 + columns[-1] + 1)
        tight = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        found.append((number, np.array(box, np.int64).tobytes(), tight.tobytes()))
    return sorted(found)


def full(detections: Detections) -> np.ndarray:
    """bool ``[N, H, W]``, which the package itself never builds."""
    out = np.zeros((len(detections), *detections.shape), bool)
    for i, ((y0, x0, y1, x1), mask) in enumerate(zip(detections.boxes, detections.masks, strict=True)):
        out[i, y0:y1, x0:x1] = mask >= MASK_THRESHOLD
    return out


def iou_matrix(a: Detections, b: Detections) -> np.ndarray:
    """``[N, M]`` by brute force."""
    first, second = (full(part).reshape(len(part), -1).astype(np.int64) for part in (a, b))
    shared = first @ second.T
    return shared / np.maximum(first.sum(1)[:, None] + second.sum(1) - shared, 1)
