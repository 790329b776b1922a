"""Scenes of objects, layouts of tiles over them, and tiles' answers that know the truth or almost."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage

from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections, from_instance_map, make_detections
from maskmed_nnu.instances.stitching.tiles import Tile

KINDS = ("disc", "worm", "touching", "overlapping", "concave")


def random_scene(rng: np.random.Generator, shape: tuple[int, ...], *, count: int, overlap: bool) -> Detections:
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


def from_masks(masks: list[np.ndarray], classes: list[int], shape: tuple[int, ...]) -> Detections:
    ids = np.zeros((max(len(masks), 1), *shape), np.int32)
    for i, mask in enumerate(masks):
        ids[i][mask] = i + 1
    return from_instance_map(ids, np.array(classes, np.int64))


def largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax() if count else mask


def _draw(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> list[np.ndarray]:
    grid = grid_of(shape)
    centre, radius = rng.uniform((0,) * len(shape), shape), rng.uniform(2, 14)
    disc = distance(grid, centre) <= radius
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([*rng.normal(0, 1, len(shape) - 2), np.sin(angle), np.cos(angle)])
    direction /= np.linalg.norm(direction)
    if kind == "disc":
        return [disc]
    if kind == "touching":  # two halves
        side = np.tensordot(direction, grid - _spread(centre), 1) > rng.uniform(-0.5, 0.5) * radius
        return [disc & side, disc & ~side]
    if kind == "overlapping":
        other = centre + direction * radius * rng.uniform(0.1, 1.5)
        return [disc, distance(grid, other) <= radius * rng.uniform(0.7, 1.3)]
    if kind == "concave":  # a thick arc, open to one side
        return [draw_arc(grid, centre, 2 * radius, angle, rng.uniform(3, 6), rng.uniform(1, 4))]
    return [draw_worm(rng, grid, centre, direction, rng.uniform(1, 3))]


def grid_of(shape: tuple[int, ...]) -> np.ndarray:
    """The position of each pixel, float ``[dim, *shape]``."""
    return np.indices(shape).astype(float)


def distance(grid: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """From each pixel to ``centre [dim]``."""
    return np.sqrt(((grid - _spread(centre)) ** 2).sum(0))


def _spread(vector: np.ndarray) -> np.ndarray:
    return vector.reshape(-1, *(1 for _ in vector))


def draw_arc(
    grid: np.ndarray, centre: np.ndarray, radius: float, start: float, length: float, width: float
) -> np.ndarray:
    """A bent band in the plane of the last two axes; in a volume a bent tube."""
    offset = grid - _spread(centre)
    around = (np.arctan2(*offset[-2:]) - start) % (2 * np.pi)
    from_line = np.sqrt((np.hypot(*offset[-2:]) - radius) ** 2 + (offset[:-2] ** 2).sum(0))
    return (from_line <= width) & (around <= length)


def draw_worm(
    rng: np.random.Generator, grid: np.ndarray, start: np.ndarray, direction: np.ndarray, width: float
) -> np.ndarray:
    """A crooked line across the image, longer than most tiles."""
    path = np.ones(grid.shape[1:], bool)
    angle, at = np.arctan2(*direction[-2:]), start - direction * 40
    for _ in range(60):
        angle += rng.normal(0, 0.3)
        at = at + 2 * np.array([*direction[:-2], np.sin(angle), np.cos(angle)])
        place = np.rint(at).astype(int)
        if ((place >= 0) & (place < path.shape)).all():
            path[tuple(place)] = False
    return ~path if path.all() else ndimage.distance_transform_edt(path) <= width + 0.5


def random_tiles(rng: np.random.Generator, shape: tuple[int, ...], overlap: int = 1) -> list[Tile]:
    """Tiles of all sizes in rows and columns that share ``overlap`` pixels or more; some are padded."""
    axes = [_cuts(rng, n, overlap) for n in shape]
    padding = rng.integers(0, 5, len(shape))
    tiles = []
    for spans in product(*axes):
        start, stop = zip(*spans, strict=True)
        # Only at the image's end does a tile read padding.
        more = padding * np.equal(stop, shape)
        tiles.append(Tile(start, stop, tuple((np.array(stop) - start + more).tolist()), shape))
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
    window = np.subtract(tile.stop, tile.start)
    return truth.shift(np.negative(tile.start), window).shift((0,) * truth.dim, tile.size)


def pieces(answer: Detections) -> Detections:
    """The same with each connected piece an object of its own, as a network sees the two legs of an arch."""
    boxes, masks, scores, classes = [], [], [], []
    for box, mask, score, number in zip(answer.boxes, answer.masks, answer.scores, answer.classes, strict=True):
        labels, _ = ndimage.label(mask >= MASK_THRESHOLD, np.ones((3,) * answer.dim))
        for i, part in enumerate(ndimage.find_objects(labels), 1):
            ends = np.array([(axis.start, axis.stop) for axis in part]).T
            boxes.append((ends + box[: answer.dim]).ravel())
            masks.append((labels[part] == i).astype(np.uint8) * 255)
            scores.append(score)
            classes.append(number)
    return make_detections(answer.shape, boxes, masks, scores, classes)


def noisy(rng: np.random.Generator, answer: Detections) -> Detections:
    """Every mask one pixel larger, one smaller or as it is; soft borders; scores from 0.8 to 1."""
    boxes, masks = [], []
    for tight, mask in zip(answer.boxes, answer.masks, strict=True):
        low, high = np.maximum(tight[: answer.dim] - 1, 0), np.minimum(tight[answer.dim :] + 1, answer.shape)
        wide = np.zeros(high - low, bool)
        wide[box_slices(tight, low)] = mask >= MASK_THRESHOLD
        change = rng.integers(-1, 2)
        if change > 0:
            wide = ndimage.binary_dilation(wide)
        elif change < 0:
            wide = ndimage.binary_erosion(wide, border_value=1)
        soft = np.where(
            wide, rng.integers(MASK_THRESHOLD, 256, wide.shape), rng.integers(0, MASK_THRESHOLD, wide.shape)
        )
        boxes.append((*low, *high))
        masks.append(soft.astype(np.uint8))
    return make_detections(answer.shape, boxes, masks, rng.uniform(0.8, 1, len(answer)), answer.classes)


def objects_of(detections: Detections) -> list[tuple[int, bytes]]:
    """Class and pixels of every object, sorted: equal lists mean equal objects, whatever the order."""
    found = []
    for box, mask, number in zip(detections.boxes, detections.masks, detections.classes.tolist(), strict=True):
        places = np.argwhere(mask >= MASK_THRESHOLD) + box[: detections.dim]
        found.append((number, places.astype(np.int64).tobytes()))
    return sorted(found)


def full(detections: Detections) -> np.ndarray:
    """bool ``[N, *spatial]``, which the package itself never builds."""
    out = np.zeros((len(detections), *detections.shape), bool)
    for i, (box, mask) in enumerate(zip(detections.boxes, detections.masks, strict=True)):
        out[i][box_slices(box)] = mask >= MASK_THRESHOLD
    return out


def iou_matrix(a: Detections, b: Detections) -> np.ndarray:
    """``[N, M]`` by brute force."""
    first, second = (full(part).reshape(len(part), -1).astype(np.int64) for part in (a, b))
    shared = first @ second.T
    return shared / np.maximum(first.sum(1)[:, None] + second.sum(1) - shared, 1)
