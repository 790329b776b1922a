"""Objects of overlapping tiles become the objects of the image.

Tiles that give each object to the tile that holds its centre lose or double objects as soon as two tiles see the
centre in different places. Here tiles are compared by what both of them see: two detections are one object if their
masks agree where both tiles look.

What holds, whatever the layout, as long as neighbouring tiles share a pixel (`plan_tiles` sees to that):

- An object is reported once, however many tiles saw it; what one tile calls two objects stays two.
- If the object lies wholly inside some tile, exactly one tile answers for it: of those that see all of it, the one in
  which it lies farthest from the borders to other tiles.
- An object that no tile sees whole is joined from its fragments, however many.
- From tiles that know the truth the result is the truth, pixel by pixel. Two exceptions no mask can tell: overlapping
  objects of one class that leave both tiles and whose masks coincide where both tiles look may swap their ends, and an
  object in several pieces is one object only if some tile, or a chain of tiles, sees the pieces together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskmed_nnu.instances.detections import INSIDE, Detections, concatenate, make_detections
from maskmed_nnu.instances.stitching.footprints import Footprints, meeting_pairs, visible
from maskmed_nnu.instances.stitching.groups import Groups
from maskmed_nnu.instances.stitching.merging import SAME_OBJECT, keep_best, vote
from maskmed_nnu.instances.stitching.tiles import Tile

MARGIN = 2
"""Pixels from an inner border of its tile within which an object counts as cut off: masks are that uncertain."""
BLURRED = (2 * MARGIN + 1) ** 2
"""Pixels below which what a fragment shares with an object of another tile, unless it is half of the fragment, may be
the blurred border of a neighbour."""
SEEN_ELSEWHERE = 0.1
"""Share of a mask's area that other tiles may see beyond its tile's border without making it a fragment."""
CONTEXT = 64
"""Pixels from an inner border beyond which a tile sees no better: its word counts by that distance."""
LEAST_SUPPORT = 0.1
"""Share of the tiles' word for an object below which it is left out: a sliver that other tiles, which see more of the
place, do not confirm."""


def stitch(tiles: Sequence[Tile], answers: Sequence[Detections], shape: tuple[int, int]) -> Detections:
    """The objects of an image of ``shape`` from each tile's detections (in the tile's own pixels), without stuff.

    A network's duplicates are to be removed in each tile before (`maskmed_nnu.instances.stitching.merging.suppress`).

    1. Detections of two tiles that agree (IoU at least 0.5 where both tiles look) are grouped, the best pairs first,
       those of one class before others, never two of one tile.
    2. A fragment that runs into another tile in whose detections it has no equal joins the one that covers, or is
       covered by, most of it there: the other tile may see two arms of an object as one, or the first only a sliver.
    3. If a member of the group is whole, one that lies farthest inside its tile answers; otherwise the mask is the
       mean of the tiles' soft masks. Not their maximum, which moves every border outwards.
    4. The score is the mean over all tiles that look at the object, 0 for a tile that does not report it. In both means
       a tile counts by how far from its border it sees the pixels. A tile's view of its last few pixels thus costs
       nothing, and a detection at a border where another tile, seeing on, found nothing sinks or is left out.
    """
    moved = [visible(part.shift(tile.y0, tile.x0, shape)) for tile, part in zip(tiles, answers, strict=True)]
    if not any(map(len, moved)):
        return Detections.empty(shape)
    scene = _Scene(tiles, np.repeat(np.arange(len(tiles)), [len(part) for part in moved]), concatenate(moved))
    groups = _group(scene)
    found, sources = [], []
    for members in groups.members():
        answer = _answer(scene, members)
        if answer is not None:
            found.append(answer)
            sources.append(groups.sources[groups.find(members[0])])
    if not found:
        return Detections.empty(shape)
    boxes, masks, scores, classes = zip(*found, strict=True)
    return _without_doubles(make_detections(shape, boxes, list(masks), scores, classes), sources)


class _Scene:
    """All tiles' detections in the image's coordinates."""

    def __init__(self, tiles: Sequence[Tile], source: np.ndarray, detections: Detections) -> None:
        self.tiles = tiles
        self.source: list[int] = source.tolist()
        """The tile of each detection."""
        self.detections = detections
        self.footprints = Footprints(detections)
        self.windows = np.array([(tile.y0, tile.x0, tile.y1, tile.x1) for tile in tiles])
        self.boxes: list[tuple[int, int, int, int]] = [tuple(window) for window in self.windows.tolist()]
        inner = np.array([tile.inner for tile in tiles])
        self.cores: list[list[int]] = (self.windows + 2 * MARGIN * inner * [1, 1, -1, -1]).tolist()
        """The windows without what is seen too close to their inner borders."""
        self.room = np.where(inner[source], (self.footprints.boxes - self.windows[source]) * [1, 1, -1, -1], 2**31)
        """``[N, 4]`` pixels between the object and its tile's top, left, bottom and right border, if inner."""
        self.whole = (self.room >= MARGIN).all(1)

    def inside(self, i: int, tile: int) -> int:
        """How many pixels of detection ``i`` lie in a tile's window."""
        return self.footprints.within(i, self.boxes[tile])

    def continues(self, i: int, other: int) -> bool:
        """Whether detection ``i`` goes on in the ``other`` tile, which has seen enough of it to have noticed.

        It reaches a border of its tile at a place beyond which the other sees on, and most of what the other sees of it
        lies clear of that one's own borders.
        """
        if 2 * self.footprints.within(i, self.cores[other]) < self.inside(i, other):
            return False
        window, seen = self.boxes[self.source[i]], self.boxes[other]
        for side in np.flatnonzero(self.room[i] < MARGIN).tolist():
            sign = 1 if side < 2 else -1
            if sign * (window[side] - seen[side]) > 0:
                band = list(seen)
                opposite = (side + 2) % 4
                band[opposite] = sign * min(sign * seen[opposite], sign * window[side] + MARGIN)
                if self.footprints.within(i, band):
                    return True
        return False

    def lookers(self, box: Sequence[int]) -> list[int]:
        """The tiles that see a part of ``box``."""
        windows = self.windows
        apart = (windows[:, 0] >= box[2]) | (windows[:, 1] >= box[3]) | (windows[:, 2] <= box[0])
        return np.flatnonzero(~apart & (windows[:, 3] > box[1])).tolist()

    def ramp(self, tile: int, box: Sequence[int]) -> np.ndarray:
        """How much a tile's word counts at the pixels of ``box``: their distance from its inner borders, 1 at these."""
        window, inner = self.boxes[tile], self.tiles[tile].inner
        axes = []
        for axis in (0, 1):
            at = np.arange(box[axis], box[axis + 2], dtype=np.int32)
            low = at - window[axis] + 1 if inner[axis] else CONTEXT
            high = window[axis + 2] - at if inner[axis + 2] else CONTEXT
            axes.append(np.minimum(np.minimum(low, high), np.full_like(at, CONTEXT)))
        return np.minimum.outer(*axes)


def _group(scene: _Scene) -> Groups:
    """Which detections are the same object."""
    footprints, source, whole, classes = scene.footprints, scene.source, scene.whole, scene.detections.classes
    groups = Groups(source, whole.tolist())
    pairs = meeting_pairs(footprints.boxes)
    tile = np.array(source)
    pairs = pairs[tile[pairs[:, 0]] != tile[pairs[:, 1]]]
    shared = np.array([footprints.shared(i, j) for i, j in pairs.tolist()], np.int64)
    pairs, shared = pairs[shared > 0], shared[shared > 0]
    first, second = pairs.T
    seen = np.array([(scene.inside(i, source[j]), scene.inside(j, source[i])) for i, j in pairs.tolist()], np.int64)
    seen = seen.reshape(-1, 2)
    agreement = shared / np.maximum(seen.sum(1) - shared, 1)
    # What is whole in its tile has nothing beyond: the partner's pixels there count against it. This tells apart
    # overlapping objects whose masks coincide where both tiles look.
    all_of = np.where(whole[second], footprints.areas[first], seen[:, 0])
    all_of += np.where(whole[first], footprints.areas[second], seen[:, 1])
    certainty = agreement + shared / np.maximum(all_of - shared, 1)
    other_class = classes[first] != classes[second]
    order = np.lexsort((-certainty, other_class))
    for i, j in pairs[order[agreement[order] >= SAME_OBJECT]].tolist():
        two_whole = groups.complete[groups.find(i)] and groups.complete[groups.find(j)]
        if not groups.told_apart(i, j) and not (two_whole and not (whole[i] and whole[j])):
            groups.join(i, j)
    cover = shared / np.maximum(seen.min(1), 1)
    order = np.argsort(-cover, kind="stable")
    order = order[(cover[order] >= SAME_OBJECT) & ~other_class[order]]
    proven = (shared >= BLURRED)[:, None] | (shared[:, None] >= SAME_OBJECT * footprints.areas[pairs])
    for (i, j), (i_proven, j_proven) in zip(pairs[order].tolist(), proven[order].tolist(), strict=True):
        for fragment, other, is_proven in ((i, j, i_proven), (j, i, j_proven)):
            group = groups.find(fragment)
            unanswered = not groups.complete[group] and source[other] not in groups.sources[group]
            if unanswered and is_proven and scene.continues(fragment, source[other]):
                groups.join(fragment, other)
    return groups


def _answer(scene: _Scene, members: list[int]) -> tuple[Sequence[int], np.ndarray, float, int] | None:
    """Box, mask, score and class of a group, or nothing where too few tiles stand by it."""
    detections, footprints = scene.detections, scene.footprints
    owner = _owner(scene, members)
    if owner is None:
        box, mask = _mean(scene, members)
        inside, tight = mask >= INSIDE, box
        if not inside.any():
            owner = max(members, key=lambda i: float(detections.scores[i]))
    if owner is not None:
        box, mask = detections.boxes[owner].tolist(), detections.masks[owner]
        inside, tight = footprints.masks[owner], footprints.tuples[owner]
    lookers = scene.lookers(tight)
    if len(members) == len(lookers) == 1:
        return box, mask, float(detections.scores[owner]), int(detections.classes[owner])
    word = {}
    for tile in lookers:
        y0, x0, y1, x1 = _common(tight, scene.boxes[tile])
        part = inside[y0 - tight[0] : y1 - tight[0], x0 - tight[1] : x1 - tight[1]]
        word[tile] = int((scene.ramp(tile, (y0, x0, y1, x1)) * part).sum())
    reports: dict[tuple[int, int], float] = {}
    for i in members:  # two fragments of one tile are one report
        key = scene.source[i], int(detections.classes[i])
        reports[key] = max(reports.get(key, 0.0), float(detections.scores[i]))
    total = sum(word.values())
    if sum(word.get(tile, 0) for tile in {scene.source[i] for i in members}) < LEAST_SUPPORT * total:
        return None
    number, votes = vote([(number, word.get(tile, 0) * score) for (tile, number), score in reports.items()])
    return box, mask, votes / total, number


def _owner(scene: _Scene, members: list[int]) -> int | None:
    """The member that answers for the group: one that is whole, or beyond whose tile no other has seen a pixel."""
    footprints = scene.footprints

    def is_all(i: int) -> bool:
        beyond = sum(int(footprints.areas[j]) - scene.inside(j, scene.source[i]) for j in members if j != i)
        return beyond <= (SEEN_ELSEWHERE * footprints.areas[i] if scene.whole[i] else 0)

    candidates = [i for i in members if len(members) == 1 or is_all(i)]
    rank = {i: (int(scene.room[i].min()), float(scene.detections.scores[i]), -i) for i in candidates}
    return max(candidates, key=rank.get, default=None)


def _mean(scene: _Scene, members: list[int]) -> tuple[list[int], np.ndarray]:
    """Box and mask of an object from its fragments: the mean over the tiles that report it, by their word."""
    boxes = scene.detections.boxes[members].astype(int)
    box = [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]
    height, width = box[2] - box[0], box[3] - box[1]
    total, weight = np.zeros((height, width), np.int32), np.zeros((height, width), np.int32)
    for tile in sorted({scene.source[i] for i in members}):
        y0, x0, y1, x1 = _common(box, scene.boxes[tile])
        soft = np.zeros((y1 - y0, x1 - x0), np.uint8)
        for i, (top, left, bottom, right) in zip(members, boxes.tolist(), strict=True):
            if scene.source[i] == tile:
                part = soft[top - y0 : bottom - y0, left - x0 : right - x0]
                np.maximum(part, scene.detections.masks[i], out=part)
        ramp = scene.ramp(tile, (y0, x0, y1, x1))
        place = slice(y0 - box[0], y1 - box[0]), slice(x0 - box[1], x1 - box[1])
        total[place] += ramp * soft
        weight[place] += ramp
    total += weight // 2
    return box, (total // np.maximum(weight, 1)).astype(np.uint8)


def _common(a: Sequence[int], b: Sequence[int]) -> tuple[int, int, int, int]:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _without_doubles(result: Detections, sources: list[set[int]]) -> Detections:
    """Mask NMS, for safety, among answers of different tiles only: what one tile tells apart may overlap at will."""
    footprints = Footprints(result)
    pairs = meeting_pairs(footprints.boxes)
    apart = [sources[i].isdisjoint(sources[j]) for i, j in pairs.tolist()]
    pairs, _ = footprints.pairs_above(SAME_OBJECT, pairs[np.array(apart, bool)])
    return result.select(keep_best(result.scores, pairs))
