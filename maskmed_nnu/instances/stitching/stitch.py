"""Objects of overlapping tiles become the objects of the image.

Tiles that give each object to the tile that holds its centre lose or double objects as soon as two tiles see the
centre in different places. Here tiles are compared by what both of them see: two detections are one object if their
masks agree where both tiles look.

What holds, whatever the layout, as long as neighbouring tiles share a pixel (`plan_tiles` sees to that):

- An object is reported once, however many tiles saw it; what one tile calls two objects stays two.
- If the object lies wholly inside some tile, exactly one tile decides it: of those that see all of it, the one
  in which it lies farthest from the borders to other tiles.
- An object that no tile sees whole is joined from its fragments, however many.
- From tiles that know the truth the result is the truth, pixel by pixel. Two exceptions no mask can tell: overlapping
  objects of one class that leave both tiles and whose masks coincide where both tiles look may swap their ends, and an
  object in several pieces is one object only if some tile, or a chain of tiles, sees the pieces together.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Box, Integers, Mask
from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections, concatenate, make_detections
from maskmed_nnu.instances.stitching.cropped_masks import (
    CroppedMasks,
    intersection,
    overlapping_box_pairs,
    without_empty,
)
from maskmed_nnu.instances.stitching.groups import DetectionGroups
from maskmed_nnu.instances.stitching.merging import MATCH_IOU, keep_best, vote
from maskmed_nnu.instances.stitching.tiles import Tile

MARGIN = 2
"""Pixels from an inner border of its tile within which an object counts as cut off: masks are that uncertain. Along an
axis on which the tile has fewer than ``8 * MARGIN`` pixels, such as the thick slices of a volume, it is less."""
MAX_FRACTION_BEYOND_TILE = 0.1
"""Share of a mask's area that other tiles may see beyond its tile's border without making it a fragment."""
MAX_BORDER_DISTANCE = 64
"""Pixels from an inner border up to which a tile's weight grows."""
MIN_SUPPORT = 0.1
"""Share of the tiles' weight for an object below which it is left out: a sliver that other tiles, which see more of the
place, do not confirm."""


def stitch(tiles: Sequence[Tile], detections_per_tile: Sequence[Detections], shape: Sequence[int]) -> Detections:
    """The objects of an image of ``shape`` from each tile's detections (in the tile's own pixels), without stuff.

    A network's duplicates are to be removed in each tile before (`maskmed_nnu.instances.stitching.merging.mask_nms`).

    1. Detections of two tiles that agree (IoU at least 0.5 where both tiles look) are grouped, the best pairs first,
       those of one class before others, never two of one tile.
    2. A fragment that runs into another tile in whose detections it has no equal joins the one that covers, or is
       covered by, most of it there: the other tile may see two arms of an object as one, or the first only a sliver.
    3. If a member of the group is whole, the one farthest inside its tile decides; otherwise the mask is the mean of
       the tiles' soft masks. Not their maximum, which moves every border outwards.
    4. The score is the mean over all tiles that look at the object, 0 for a tile that does not report it. In both means
       a tile counts by how far from its border it sees the pixels. A tile's view of its last few pixels thus costs
       nothing, and a detection at a border where another tile, seeing on, found nothing sinks or is left out.
    """
    moved = [
        without_empty(part.shift(tile.start, shape)) for tile, part in zip(tiles, detections_per_tile, strict=True)
    ]
    if not any(map(len, moved)):
        return Detections.empty(shape)
    tiled = _TiledDetections(tiles, np.repeat(np.arange(len(tiles)), [len(part) for part in moved]), concatenate(moved))
    groups = _group(tiled)
    objects, sources = [], []
    for members in groups.members():
        merged = _merge_group(tiled, members)
        if merged is not None:
            objects.append(merged)
            sources.append(groups.sources[groups.find(members[0])])
    if not objects:
        return Detections.empty(shape)
    boxes, masks, scores, classes = zip(*objects, strict=True)
    return _remove_duplicates(make_detections(shape, boxes, list(masks), scores, classes), sources)


class _TiledDetections:
    """All tiles' detections in the image's coordinates."""

    def __init__(self, tiles: Sequence[Tile], source: Integers, detections: Detections) -> None:
        self.tiles = tiles
        self.source: list[int] = source.tolist()
        """The tile of each detection."""
        self.detections = detections
        self.cropped_masks = CroppedMasks(detections)
        self.dim = detections.dim
        self.boxes = [tile.window for tile in tiles]
        self.windows = np.array(self.boxes)
        inwards = np.repeat([1, -1], self.dim)
        inner = np.array([tile.inner_borders for tile in tiles])
        rims = np.minimum(2 * MARGIN, np.array([tile.size for tile in tiles]) // 4)
        self.margins = np.tile(np.maximum(rims // 2, 1), 2)
        """``[T, 2 * dim]`` `MARGIN` at the borders of each tile."""
        self.blurred_pixels = (2 * self.margins[:, : self.dim] + 1).prod(1)
        """``[T]`` pixels below which what a fragment shares with an object of another tile, unless it is half of the
        fragment, may be the blurred border of a neighbour."""
        self.inner_windows: list[list[int]] = (self.windows + np.tile(rims, 2) * inner * inwards).tolist()
        """The windows without what is seen too close to their inner borders."""
        self.border_distance = np.where(
            inner[source], (self.cropped_masks.boxes - self.windows[source]) * inwards, 2**31
        )
        """``[N, 2 * dim]`` pixels between the object and its tile's borders, in the order of a box, if inner."""
        self.whole: Mask = np.all(self.border_distance >= self.margins[source], axis=1)

    def area_in_tile(self, i: int, tile: int) -> int:
        """How many pixels of detection ``i`` lie in a tile's window."""
        return self.cropped_masks.area_within(i, self.boxes[tile])

    def is_clear_of_borders(self, i: int, other: int) -> bool:
        """Whether most of what the ``other`` tile sees of detection ``i`` lies clear of that one's own borders."""
        return 2 * self.cropped_masks.area_within(i, self.inner_windows[other]) >= self.area_in_tile(i, other)

    def extends_into(self, i: int, other: int) -> bool:
        """Whether detection ``i`` reaches a border of its tile at a place beyond which the ``other`` tile sees on."""
        window, seen = self.boxes[self.source[i]], self.boxes[other]
        margins = self.margins[self.source[i]]
        for side in np.flatnonzero(self.border_distance[i] < margins).tolist():
            sign = 1 if side < self.dim else -1
            if sign * (window[side] - seen[side]) > 0:
                band = list(seen)
                opposite = (side + self.dim) % (2 * self.dim)
                band[opposite] = sign * min(sign * seen[opposite], sign * window[side] + int(margins[side]))
                if self.cropped_masks.area_within(i, band):
                    return True
        return False

    def overlapping_tiles(self, box: Box) -> list[int]:
        """The tiles that see a part of ``box``."""
        before = (self.windows[:, : self.dim] < box[self.dim :]).all(1)
        overlapping: list[int] = np.flatnonzero(
            before & (self.windows[:, self.dim :] > box[: self.dim]).all(1)
        ).tolist()
        return overlapping

    def border_weight(self, tile: int, box: Box) -> NDArray[np.int32]:
        """A tile's weight at the pixels of ``box``: their distance from its inner borders, 1 at these."""
        window, inner = self.boxes[tile], self.tiles[tile].inner_borders
        axes = []
        for axis in range(self.dim):
            position = np.arange(box[axis], box[axis + self.dim], dtype=np.int32)
            low = position - window[axis] + 1 if inner[axis] else MAX_BORDER_DISTANCE
            high = window[axis + self.dim] - position if inner[axis + self.dim] else MAX_BORDER_DISTANCE
            axes.append(np.minimum(np.minimum(low, high), np.full_like(position, MAX_BORDER_DISTANCE)))
        weight: NDArray[np.int32] = functools.reduce(np.minimum.outer, axes)
        return weight


def _group(tiled: _TiledDetections) -> DetectionGroups:
    """Which detections are the same object."""
    cropped_masks, source, whole, classes = tiled.cropped_masks, tiled.source, tiled.whole, tiled.detections.classes
    groups = DetectionGroups(source, whole.tolist())
    pairs = overlapping_box_pairs(cropped_masks.boxes)
    tile = np.array(source)
    pairs = pairs[tile[pairs[:, 0]] != tile[pairs[:, 1]]]
    shared = np.array([cropped_masks.intersection_area(i, j) for i, j in pairs.tolist()], np.int64)
    pairs, shared = pairs[shared > 0], shared[shared > 0]
    first, second = pairs.T
    seen = np.array(
        [(tiled.area_in_tile(i, source[j]), tiled.area_in_tile(j, source[i])) for i, j in pairs.tolist()], np.int64
    )
    seen = seen.reshape(-1, 2)
    agreement = shared / np.maximum(seen.sum(1) - shared, 1)
    # What is whole in its tile has nothing beyond: the partner's pixels there count against it. This tells apart
    # overlapping objects whose masks coincide where both tiles look.
    all_of = np.where(whole[second], cropped_masks.areas[first], seen[:, 0])
    all_of += np.where(whole[first], cropped_masks.areas[second], seen[:, 1])
    certainty = agreement + shared / np.maximum(all_of - shared, 1)
    other_class = classes[first] != classes[second]
    order = np.lexsort((-certainty, other_class))
    for i, j in pairs[order[agreement[order] >= MATCH_IOU]].tolist():
        two_whole = groups.complete[groups.find(i)] and groups.complete[groups.find(j)]
        if not groups.have_common_source(i, j) and not (two_whole and not (whole[i] and whole[j])):
            groups.join(i, j)
    cover = shared / np.maximum(seen.min(1), 1)
    order = np.argsort(-cover, kind="stable")
    order = order[(cover[order] >= MATCH_IOU) & ~other_class[order]]
    shared = shared[:, None]
    proven = (shared >= tiled.blurred_pixels[tile[pairs]]) | (shared >= MATCH_IOU * cropped_masks.areas[pairs])
    agree = agreement[order] >= MATCH_IOU
    for (i, j), (i_proven, j_proven), agrees in zip(
        pairs[order].tolist(), proven[order].tolist(), agree.tolist(), strict=True
    ):
        for fragment, other, is_proven in ((i, j, i_proven), (j, i, j_proven)):
            group, seen_by = groups.find(fragment), source[other]
            unanswered = not groups.complete[group] and seen_by not in groups.sources[group]
            # the other tile reports the fragment, or has seen enough of it to have noticed it
            if (
                unanswered
                and is_proven
                and (agrees or tiled.is_clear_of_borders(fragment, seen_by))
                and tiled.extends_into(fragment, seen_by)
            ):
                groups.join(fragment, other)
    return groups


def _merge_group(tiled: _TiledDetections, members: list[int]) -> tuple[Box, NDArray[np.uint8], float, int] | None:
    """Box, mask, score and class of a group, or nothing where too few tiles stand by it."""
    detections, cropped_masks = tiled.detections, tiled.cropped_masks
    owner = _deciding_member(tiled, members)
    box: Box
    tight: Box
    if owner is None:
        box, mask = _mean(tiled, members)
        inside, tight = mask >= MASK_THRESHOLD, box
        if not inside.any():
            owner = max(members, key=lambda i: float(detections.scores[i]))
    if owner is not None:
        box, mask = detections.boxes[owner].tolist(), detections.masks[owner]
        inside, tight = cropped_masks.masks[owner] >= MASK_THRESHOLD, cropped_masks.box_tuples[owner]
    overlapping_tiles = tiled.overlapping_tiles(tight)
    if len(members) == len(overlapping_tiles) == 1:
        return box, mask, float(detections.scores[owner]), int(detections.classes[owner])
    tile_weight = {}
    for tile in overlapping_tiles:
        seen = intersection(tight, tiled.boxes[tile])
        tile_weight[tile] = int((tiled.border_weight(tile, seen) * inside[box_slices(seen, tight)]).sum())
    reports: dict[tuple[int, int], float] = {}
    for i in members:  # two fragments of one tile are one report
        key = tiled.source[i], int(detections.classes[i])
        reports[key] = max(reports.get(key, 0.0), float(detections.scores[i]))
    total = sum(tile_weight.values())
    if sum(tile_weight.get(tile, 0) for tile in {tiled.source[i] for i in members}) < MIN_SUPPORT * total:
        return None
    number, votes = vote([(number, tile_weight.get(tile, 0) * score) for (tile, number), score in reports.items()])
    return box, mask, votes / total, number


def _deciding_member(tiled: _TiledDetections, members: list[int]) -> int | None:
    """The member that decides for the group: one that is whole, or beyond whose tile no other has seen a pixel."""
    cropped_masks = tiled.cropped_masks

    def covers_group(i: int) -> bool:
        allowed = MAX_FRACTION_BEYOND_TILE * cropped_masks.areas[i] if tiled.whole[i] else 0
        for j in members:
            allowed -= int(cropped_masks.areas[j]) - tiled.area_in_tile(j, tiled.source[i])
            if allowed < 0:  # a fragment of a large object has hundreds of others beyond
                return False
        return True

    candidates = [i for i in members if len(members) == 1 or covers_group(i)]
    rank = {i: (int(tiled.border_distance[i].min()), float(tiled.detections.scores[i]), -i) for i in candidates}
    return max(candidates, key=rank.__getitem__, default=None)


def _mean(tiled: _TiledDetections, members: list[int]) -> tuple[list[int], NDArray[np.uint8]]:
    """Box and mask of an object from its fragments, in order: the mean over the tiles that report it, by
    `border_weight`."""
    boxes = tiled.detections.boxes[members].astype(int)
    box = [*boxes[:, : tiled.dim].min(0).tolist(), *boxes[:, tiled.dim :].max(0).tolist()]
    total, weight = np.zeros(_edges(box), np.int32), np.zeros(_edges(box), np.int32)
    for tile, of_tile in itertools.groupby(members, tiled.source.__getitem__):
        seen = intersection(box, tiled.boxes[tile])
        soft = np.zeros(_edges(seen), np.uint8)
        for i in of_tile:
            part = soft[box_slices(tiled.detections.boxes[i].tolist(), seen)]
            np.maximum(part, tiled.detections.masks[i], out=part)
        border_weight = tiled.border_weight(tile, seen)
        window = box_slices(seen, box)
        total[window] += border_weight * soft
        weight[window] += border_weight
    total += weight // 2  # in place, as an object may be as large as the volume
    np.maximum(weight, 1, out=weight)
    total //= weight
    return box, total.astype(np.uint8)


def _edges(box: Box) -> list[int]:
    """The shape of what is in a box."""
    dim = len(box) // 2
    return [stop - start for start, stop in zip(box[:dim], box[dim:], strict=True)]


def _remove_duplicates(result: Detections, sources: list[set[int]]) -> Detections:
    """Mask NMS, for safety, among objects of different tiles only: those of one tile may overlap."""
    cropped_masks = CroppedMasks(result)
    pairs = overlapping_box_pairs(cropped_masks.boxes)
    apart = [sources[i].isdisjoint(sources[j]) for i, j in pairs.tolist()]
    pairs, _ = cropped_masks.pairs_above(MATCH_IOU, pairs[np.array(apart, bool)])
    return result.select(keep_best(result.scores, pairs))
