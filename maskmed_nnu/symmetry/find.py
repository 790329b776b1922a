"""What a mirror along each world axis does to the classes of a data set.

A network does not know where in the body a patch lies, only how things lie to each other. So two classes that look
alike and lie opposite each other, such as the kidneys, take each other's places in a mirrored image, and a mirrored
patch with unchanged labels teaches the opposite of the truth. So does one with the labels of a wrong pair exchanged.
What is not certain is therefore not mirrored, which costs no more than some augmentation.

Bodies are symmetric from left to right only. Along x, single organs on one side (the liver) are what one expects beside
pairs. Along the other axes all classes must have a partner or lie on the midplane before labels are exchanged.
Images without a world frame have their first axis, the horizontal one, as x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from maskmed_nnu.symmetry import words
from maskmed_nnu.symmetry.midplane import alike_row, arrange, find_rows, off_centre
from maskmed_nnu.symmetry.pairs import AnyPair, Measurements, Pair, candidate_pairs, measure
from maskmed_nnu.symmetry.places import ClassPlace
from maskmed_nnu.symmetry.side_names import named_pairs
from maskmed_nnu.symmetry.sides import LONE, MIN_CASES, find_sides

TOUCHING = 1.2  # of the sum of their radii as balls: how far apart neighbours along the other axes lie

Kind = Literal["mirror", "swap", "none"]


class AxisSymmetry(NamedTuple):
    """One world axis: mirror it, mirror it and exchange the labels of ``pairs``, or do not mirror."""

    kind: Kind
    pairs: tuple[tuple[int, int], ...]  # of labels; () unless kind == "swap"
    reason: str  # a sentence


class Symmetry(NamedTuple):
    """All axes, in the order x, y[, z].

    ``exchanged`` names cases whose partners lie on each other's side, against all others: a wrong label, or situs
    inversus. ``notes`` are sentences for the user.
    """

    axes: tuple[AxisSymmetry, ...]
    exchanged: tuple[str, ...]
    notes: tuple[str, ...]


def find_symmetry(cases: Mapping[str, Mapping[int, ClassPlace]], names: Mapping[int, str]) -> Symmetry:
    """Decide from the places of the classes in each case and from the classes' names (a label without: its number).

    Without any labelled voxel there are no axes.
    """
    cases = {case: places for case, places in cases.items() if places}
    if not cases:
        return Symmetry((), (), ("no case has a labelled voxel, so nothing tells what a mirror does.",))
    data = measure(cases, names)
    index = {label: i for i, label in enumerate(data.labels)}
    named = [(index[pair.left], index[pair.right]) for pair in named_pairs(names) if {*pair} <= set(index)]
    sides = find_sides(data, named)
    if sides.pairs:
        exchanged = sorted({case for pair in sides.pairs if isinstance(pair, Pair) for case in pair.exchanged.tolist()})
        left_right = AxisSymmetry("swap", _labels(data, sides.pairs), sides.reason)
    else:
        exchanged = []
        left_right = AxisSymmetry("none" if sides.reason else "mirror", (), sides.reason or words.NOTHING)
    partners = {i for pair in sides.pairs for i in pair[:2]}
    alike = {axis: _alike(data, axis) for axis in range(1, data.centres.shape[2])}
    rows = {axis: find_rows(pairs) for axis, pairs in alike.items()}
    others = []
    for axis, pairs in alike.items():
        elsewhere = {i for other, found in rows.items() if other != axis for row in found for i in row}
        pairs = [
            pair
            for pair in pairs
            if all((pair.first in part) == (pair.second in part) for part in (partners, elsewhere))
        ]
        others.append(_other_axis(data, axis, pairs, partners))
    return Symmetry((left_right, *others), tuple(data.cases[i] for i in exchanged), tuple(sides.notes))


def _labels(data: Measurements, pairs: tuple[AnyPair, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((data.labels[min(pair[:2])], data.labels[max(pair[:2])]) for pair in pairs))


def _alike(data: Measurements, axis: int) -> list[Pair]:
    return [pair for pair in candidate_pairs(data, axis) if pair.misfit <= 1 and pair.one_sided]


def _other_axis(data: Measurements, axis: int, alike: Sequence[Pair], partners: set[int]) -> AxisSymmetry:
    """Decide for an axis that does not run from side to side; `partners` are the classes with one along x.

    Where these show that x runs from side to side, two alike classes far from each other are so by chance, and their
    surroundings tell them apart.
    """
    rows = find_rows(alike)
    if rows:
        return AxisSymmetry("none", (), words.row(data.names_of(alike_row(alike, rows))))
    if partners:
        alike = [
            pair for pair in alike if pair.distance <= TOUCHING * (data.radii[pair.first] + data.radii[pair.second])
        ]
    found = arrange(data, alike, axis, rows)
    if not found.pairs or (len(found.pairs) == 1 and found.pairs[0].misfit > LONE):
        return AxisSymmetry("mirror", (), words.NOTHING)
    whole = not off_centre(data, found.pairs, axis) and not found.rivals and len(data.labels) > 2
    if whole and not partners and all(len(pair.cases) >= MIN_CASES for pair in found.pairs):
        return AxisSymmetry("swap", _labels(data, found.pairs), words.swap(data, found.pairs, axis))
    return AxisSymmetry("none", (), words.not_sides(data, found.pairs, axis))
