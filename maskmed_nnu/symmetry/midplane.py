"""Which of the pairs along one axis belong together: those that share a midplane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.symmetry.pairs import Measurements, Pair, medians

NEAR = 0.12  # of the smaller distance between partners: how far two pairs' midplanes may lie apart, …
NEAR_FAR = 0.03  # … and of the larger one, since large organs are less symmetric in mm
EVEN = 1.5  # largest ratio of neighbouring distances in a row of classes
ROW_FIT = 0.25  # of a row's step: half as far again, and the row could be one further
CENTRAL = 0.15  # of the largest distance between partners: a class this near the midplane maps to itself
MARGIN = 0.25  # how much worse the fit of rivals must be to be dismissed: spleen and right kidney beside both kidneys
ERRORS = 2.0  # standard errors of the median that come on top: what tilt and few cases explain
BELONGS = 1.1  # length of a pair's misfit and its midplane's gap, both as shares of what is allowed. Of 1,097 true …
# … pairs of random bodies two have more; of 19 pairs by chance that pass a misfit of 1.3, nine have less
GUIDES = 2  # pairs outside rows that are enough to show the midplane
MIN_SHARED = 3  # cases that two pairs must share before their midplanes are compared


class Arrangement(NamedTuple):
    """Disjoint pairs with one midplane; ``rivals`` are as large a set with another."""

    pairs: tuple[Pair, ...]
    rivals: tuple[Pair, ...]


def arrange(data: Measurements, pairs: Sequence[Pair], axis: int, rows: Sequence[frozenset[int]]) -> Arrangement:
    """The largest set of disjoint pairs with one midplane: each pair proposes its own.

    A row of equal classes has a midplane whatever it is, so a few pairs outside the `rows` count first.
    """
    order = sorted(pairs, key=lambda pair: pair.misfit)
    if not order:
        return Arrangement((), ())
    gaps = np.stack([midplane_gaps(data, order, pair, axis) for pair in order])
    sets = [_gather(order, gaps, seed) for seed in range(len(order))]

    def outside(chosen: Sequence[int]) -> int:
        return sum(not in_row(order[i], rows) for i in chosen)

    def misfit(chosen: Sequence[int]) -> float:
        return sum(joint_misfit(order[i], gaps[i, [j for j in chosen if j != i]]) for i in chosen)

    first = max(sets, key=lambda chosen: (min(outside(chosen), GUIDES), len(chosen), -misfit(chosen)))
    best = [order[i] for i in first]
    limit = max(pair.misfit for pair in best) + MARGIN
    rivals = [
        chosen
        for chosen in sets
        if outside(chosen) >= max(outside(first), 1)
        and not {*chosen} & {*first}
        and max(order[i].misfit for i in chosen) <= limit
    ]
    return Arrangement(tuple(best), tuple(order[i] for i in rivals[0]) if rivals else ())


def _gather(order: Sequence[Pair], gaps: NDArray[np.float64], seed: int) -> list[int]:
    """The pairs with the midplane of those gathered before, beginning with the seed, and in the end of all others."""
    chosen = [seed]
    taken = {*order[seed][:2]}
    for i, pair in enumerate(order):
        if not taken & {*pair[:2]} and belongs(pair, gaps[i, chosen]):
            chosen.append(i)
            taken |= {*pair[:2]}
    return [i for i in chosen if belongs(order[i], gaps[i, [j for j in chosen if j != i]])]


def midplane_gaps(data: Measurements, pairs: Sequence[Pair], pair: Pair, axis: int) -> NDArray[np.float64]:
    """How far the midplane of `pair` lies from that of each of `pairs`, as shares of what is allowed.

    NaN for those it shares too few cases with.
    """
    if not pairs:
        return np.empty(0)
    gaps = np.stack([midpoints(data, other, axis) for other in pairs], axis=1) - midpoints(data, pair, axis)[:, None]
    shared = np.isfinite(gaps).sum(axis=0)
    middle = medians(gaps)
    errors = ERRORS * 1.4826 * medians(np.abs(gaps - middle)) / np.sqrt(np.maximum(shared, 1))
    distances = np.array([other.distance for other in pairs])
    limits = NEAR * np.minimum(distances, pair.distance) + NEAR_FAR * np.maximum(distances, pair.distance)
    return np.where(shared >= MIN_SHARED, np.abs(middle) / (limits + errors), np.nan)


def belongs(pair: Pair, gaps: NDArray[np.float64], limit: float = BELONGS) -> bool:
    """Whether `pair` has the midplane of most pairs, to which it has these `gaps`; those without a gap have no say.

    The less alike the classes, the nearer it has to be. Those that are partners by name need not be alike for that.
    """
    return _usual(gaps) <= 1 and (pair.named or joint_misfit(pair, gaps) <= limit)


def joint_misfit(pair: Pair, gaps: NDArray[np.float64]) -> float:
    """Of likeness and midplane together."""
    return float(np.hypot(pair.misfit, _usual(gaps)))


def _usual(gaps: NDArray[np.float64]) -> float:
    known = np.sort(gaps[np.isfinite(gaps)])
    return float(known[len(known) // 2]) if len(known) else 0.0


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
    longest: frozenset[int] = max(rows, key=lambda row: (len(row), -min(row)))
    members = set(longest)
    for pair in pairs:
        if members & {*pair[:2]}:
            members |= {*pair[:2]}
    return frozenset(members)
