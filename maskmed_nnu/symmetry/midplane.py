"""Which of the pairs along one axis belong together: those that share a midplane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.symmetry.pairs import Measurements, Pair

NEAR = 0.12  # of the smaller distance between partners: how far two pairs' midplanes may lie apart, …
NEAR_FAR = 0.03  # … and of the larger one, since large organs are less symmetric in mm
EVEN = 1.5  # largest ratio of neighbouring distances in a row of classes
ROW_FIT = 0.25  # of a row's step: half as far again, and the row could be one further
CENTRAL = 0.15  # of the largest distance between partners: a class this near the midplane maps to itself
MARGIN = 0.25  # how much worse the fit of rivals must be to be dismissed: spleen and right kidney beside both kidneys
ERRORS = 2.0  # standard errors of the median that come on top: what tilt and few cases explain
MIN_SHARED = 3  # cases that two pairs must share before their midplanes are compared


class Arrangement(NamedTuple):
    """Disjoint pairs with one midplane; ``rivals`` are as large a set with another."""

    pairs: tuple[Pair, ...]
    rivals: tuple[Pair, ...]


def arrange(data: Measurements, pairs: Sequence[Pair], axis: int, rows: Sequence[frozenset[int]]) -> Arrangement:
    """The largest set of disjoint pairs with one midplane: each pair proposes its own.

    A row of equal classes has a midplane whatever it is, so pairs outside the `rows` count first.
    """
    order = sorted(pairs, key=lambda pair: pair.misfit)
    sets = [_gather(data, seed, order, axis) for seed in order]
    if not sets:
        return Arrangement((), ())

    def outside(chosen: Sequence[Pair]) -> int:
        return sum(not in_row(pair, rows) for pair in chosen)

    best = max(sets, key=lambda chosen: (outside(chosen), len(chosen), -sum(pair.misfit for pair in chosen)))
    limit = max(pair.misfit for pair in best) + MARGIN
    rivals = [
        chosen
        for chosen in sets
        if outside(chosen) >= max(outside(best), 1)
        and not set(map(id, chosen)) & set(map(id, best))
        and max(pair.misfit for pair in chosen) <= limit
    ]
    return Arrangement(tuple(best), tuple(rivals[0]) if rivals else ())


def _gather(data: Measurements, seed: Pair, order: Sequence[Pair], axis: int) -> list[Pair]:
    chosen = [seed]
    taken = {seed.first, seed.second}
    for pair in order:
        if not taken & {pair.first, pair.second} and same_midplane(data, chosen, pair, axis):
            chosen.append(pair)
            taken |= {pair.first, pair.second}
    return chosen


def same_midplane(data: Measurements, chosen: Sequence[Pair], pair: Pair, axis: int) -> bool:
    """Whether the midplane of `pair` is that of most of `chosen`; those it shares too few cases with have no say."""
    votes = []
    for other in chosen:
        gaps = midpoints(data, pair, axis) - midpoints(data, other, axis)
        gaps = gaps[np.isfinite(gaps)]
        if len(gaps) >= MIN_SHARED:
            limit = NEAR * min(pair.distance, other.distance) + NEAR_FAR * max(pair.distance, other.distance)
            middle = float(np.median(gaps))
            scatter = 1.4826 * float(np.median(np.abs(gaps - middle)))
            votes.append(abs(middle) <= limit + ERRORS * scatter / np.sqrt(len(gaps)))
    return not votes or 2 * sum(votes) > len(votes)


def midpoints(data: Measurements, pair: Pair, axis: int) -> NDArray[np.float64]:
    """Midpoint along the axis in each case [cases]; NaN without both."""
    return (data.centres[:, pair.first, axis] + data.centres[:, pair.second, axis]) / 2


def midplane_spread(data: Measurements, pairs: Sequence[Pair], axis: int) -> float:
    """The largest distance of a pair's midplane from the common one in mm, as medians over the cases."""
    together = np.stack([midpoints(data, pair, axis) for pair in pairs])
    known = np.isfinite(together).sum(axis=0) >= 2
    if not known.any():
        return 0.0
    gaps = together[:, known] - np.nanmedian(together[:, known], axis=0)
    return max(abs(float(np.nanmedian(row))) for row in gaps if np.isfinite(row).any())


def off_centre(data: Measurements, pairs: Sequence[Pair], axis: int) -> list[int]:
    """Indices of the classes without a partner that do not lie on the midplane of `pairs`."""
    paired = {index for pair in pairs for index in (pair.first, pair.second)}
    plane = _midplane(data, pairs, axis)
    limit = CENTRAL * max(pair.distance for pair in pairs)
    found = []
    for c in range(len(data.labels)):
        offsets = data.centres[:, c, axis] - plane
        offsets = offsets[np.isfinite(offsets)]
        if c not in paired and not (len(offsets) and abs(float(np.median(offsets))) <= limit):
            found.append(c)
    return found


def find_rows(pairs: Sequence[Pair]) -> list[frozenset[int]]:
    """Rows of three or more alike classes at even distances along the axis, such as vertebrae or teeth."""
    edges = {(pair.first, pair.second): pair.distance for pair in pairs}
    followers: dict[int, set[int]] = {}
    for first, second in edges:
        followers.setdefault(first, set()).add(second)
    neighbours = {
        (first, second): distance
        for (first, second), distance in edges.items()
        if not any((middle, second) in edges for middle in followers[first])
    }
    rows: list[set[int]] = []
    for (first, middle), near in neighbours.items():
        for (other, last), far in neighbours.items():
            if other == middle and max(near, far) <= EVEN * min(near, far):
                members = {first, middle, last}
                touching = [row for row in rows if len(row & members) >= 2]
                rows = [row for row in rows if row not in touching] + [members.union(*touching)]
    return [frozenset(row) for row in rows]


def counterparts(data: Measurements, row: frozenset[int], axis: int) -> set[frozenset[int]]:
    """The pairs that a mirror makes of a row: first and last, second and last but one, …"""

    def rank(c: int) -> int:
        return sum(float(np.nanmedian(data.centres[:, c, axis] - data.centres[:, d, axis])) > 0 for d in row if d != c)

    ordered = sorted(row, key=rank)
    return {frozenset(pair) for pair in zip(ordered, reversed(ordered), strict=True)}


def row_fits(data: Measurements, row: frozenset[int], found: Sequence[Pair], guides: Sequence[Pair], axis: int) -> bool:
    """Whether each class of a row has its counterpart about the midplane of the pairs `guides` outside it."""
    inside = [pair for pair in found if row >= {*pair[:2]}]
    if len(row) - 2 * len(inside) > 1:
        return False
    outside = [pair for pair in guides if pair not in inside]
    if not outside:  # names alone guide
        return True
    step = (max(pair.distance for pair in inside)) / (len(row) - 1)
    gaps = _midplane(data, inside, axis) - _midplane(data, outside, axis)
    gaps = gaps[np.isfinite(gaps)]
    return len(gaps) >= MIN_SHARED and abs(float(np.median(gaps))) <= ROW_FIT * step


def _midplane(data: Measurements, pairs: Sequence[Pair], axis: int) -> NDArray[np.float64]:
    together = np.stack([midpoints(data, pair, axis) for pair in pairs])
    known = np.isfinite(together)
    return np.where(
        known.any(axis=0), np.where(known, together, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )


def in_row(pair: Pair, rows: Sequence[frozenset[int]]) -> bool:
    return any(pair.first in row and pair.second in row for row in rows)


def alike_row(pairs: Sequence[Pair], rows: Sequence[frozenset[int]]) -> frozenset[int]:
    """The longest of the rows and all classes that are partners of its members."""
    members = set(max(rows, key=lambda row: (sum(1 for _ in row), -min(row))))
    for pair in pairs:
        if members & {*pair[:2]}:
            members |= {*pair[:2]}
    return frozenset(members)
