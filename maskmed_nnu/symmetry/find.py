"""What a mirror along each world axis does to the classes of a data set.

A network does not know where in the body a patch lies, only how things lie to each other. So two classes that look
alike and lie opposite each other, such as the kidneys, take each other's places in a mirrored image, and a mirrored
patch with unchanged labels teaches the opposite of the truth. Exchanging the labels of wrong pairs does so, too. What is
not certain is therefore not mirrored, which costs no more than some augmentation.

Bodies are symmetric from left to right only. Along x, single organs on one side (the liver) are what one expects beside
pairs. Along the other axes all classes must have a partner or lie on the midplane before labels are exchanged.
Images without a world frame have their first axis, the horizontal one, as x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from maskmed_nnu.symmetry import words
from maskmed_nnu.symmetry.midplane import Arrangement, arrange, find_rows, in_row, midplane_spread, off_centre
from maskmed_nnu.symmetry.pairs import Measurements, Pair, candidate_pairs, measure
from maskmed_nnu.symmetry.places import ClassPlace
from maskmed_nnu.symmetry.side_names import named_pairs

MIN_CASES = 6  # with both partners, before places alone decide
FEW_SHARED = 3  # with both, where other pairs already show the midplane
NAMED = 1.5  # how much less alike and less opposite a pair may be whose names say left and right
CONTRADICTED = 2.5  # measures beyond this contradict the names, however few the cases
NO_SIDE = 0.3  # share of cases with the rarer order, from which on two classes have no side of their own

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
    """Decide from the places of the classes in each case and from the classes' names."""
    cases = {case: places for case, places in cases.items() if places}
    if not cases:
        return Symmetry((), (), ("No case has a labelled voxel.",))
    data = measure(cases)
    index = {label: i for i, label in enumerate(data.labels)}
    named = [(index[p.left], index[p.right]) for p in named_pairs(names) if p.left in index and p.right in index]
    side = _left_and_right(data, names, named)
    others = [
        _other_axis(data, names, axis, sides_found=side.axis.kind == "swap") for axis in range(1, data.centres.shape[2])
    ]
    return Symmetry((side.axis, *others), side.exchanged, side.notes)


class _Sides(NamedTuple):
    axis: AxisSymmetry
    exchanged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _left_and_right(data: Measurements, names: Mapping[int, str], named: Sequence[tuple[int, int]]) -> _Sides:
    candidates = candidate_pairs(data, 0, named)
    name_sets = {frozenset(pair) for pair in named}
    total = len(data.cases)

    def has_name(pair: Pair) -> bool:
        return frozenset((pair.first, pair.second)) in name_sets

    def passes(pair: Pair) -> bool:
        return max(pair.misplacement, pair.unlikeness) <= (NAMED if has_name(pair) else 1)

    enough = max(FEW_SHARED, min(MIN_CASES, total // 2))
    alike = [pair for pair in candidates if passes(pair)]
    mixed = [pair for pair in alike if not pair.one_sided and (has_name(pair) or not _sideless(pair))]
    alike = [pair for pair in alike if pair.one_sided]
    rows = find_rows(alike)
    shared = [pair for pair in alike if len(pair.cases) >= min(enough, total) or has_name(pair)]
    found = arrange(data, shared, 0, rows)
    by_name = _by_name_alone(candidates, found.pairs, named, has_name)
    notes = words.disagreements(data, names, named, found.pairs, candidates, by_name)

    none, swapped = _judge(data, names, found, rows, mixed, by_name, has_name)
    if none:
        return _Sides(AxisSymmetry("none", (), none), (), tuple(notes))
    if not swapped:
        return _Sides(AxisSymmetry("mirror", (), words.NOTHING), (), tuple(notes))
    exchanged = sorted({int(case) for pair in swapped if isinstance(pair, Pair) for case in pair.exchanged})
    labels = sorted(_labels(data, pair) for pair in swapped)
    real = [pair for pair in swapped if isinstance(pair, Pair)]
    spread = midplane_spread(data, real, 0) if len(real) > 1 else None
    reason = words.swap(
        [(names[a], names[b]) for a, b in labels],
        cases=max((len(pair.cases) for pair in real), default=0),
        spread=spread,
        distance=real[0].distance if len(real) == 1 else None,
        by_name=not any(len(pair.cases) >= MIN_CASES for pair in real),
    )
    return _Sides(AxisSymmetry("swap", tuple(labels), reason), tuple(data.cases[i] for i in exchanged), tuple(notes))


def _sideless(pair: Pair) -> bool:
    return len(pair.exchanged) >= NO_SIDE * len(pair.cases)


def _by_name_alone(candidates, found, named, has_name):  # type: ignore[no-untyped-def]
    """Named pairs that places do not decide, and do not contradict."""
    taken = {index for pair in found for index in (pair.first, pair.second)}
    measured = {frozenset((pair.first, pair.second)): pair for pair in candidates if has_name(pair)}
    chosen = []
    for left, right in named:
        if taken & {left, right}:
            continue
        pair = measured.get(frozenset((left, right)))
        if pair is None:
            chosen.append((left, right))
        elif len(pair.cases) < MIN_CASES and max(pair.off_axis, pair.unlikeness) <= CONTRADICTED and pair.one_sided:
            chosen.append(pair)
    return chosen


def _labels(data: Measurements, pair: Pair | tuple[int, int]) -> tuple[int, int]:
    first, second = sorted((data.labels[pair[0]], data.labels[pair[1]]))
    return first, second


def _judge(data, names, found: Arrangement, rows, mixed, by_name, has_name):  # type: ignore[no-untyped-def]
    """A reason against mirroring, or the pairs to exchange."""

    def of(pairs) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
        return [(names[a], names[b]) for a, b in sorted(_labels(data, pair) for pair in pairs)]

    if mixed:
        pair = max(mixed, key=lambda pair: len(pair.exchanged))
        return words.mixed(of([pair])[0], len(pair.exchanged), len(pair.cases)), []
    if not found.pairs:
        return "", list(by_name)
    isolated = [pair for pair in found.pairs if not in_row(pair, rows)]
    named = [pair for pair in found.pairs if has_name(pair)]
    firm = [pair for pair in isolated if len(pair.cases) >= MIN_CASES or has_name(pair)] or named
    if not isolated and not named:
        return words.row([names[data.labels[i]] for i in sorted(max(rows, key=len))]), []
    if not firm:
        return words.few(of(found.pairs), max(len(pair.cases) for pair in found.pairs)), []
    if found.rivals and not named:
        return words.rivals(of(found.pairs), of(found.rivals)), []
    paired = {index for pair in found.pairs for index in (pair.first, pair.second)}
    for row in rows:
        outside = row & set(off_centre(data, isolated or named, 0)) - paired
        if outside:
            return words.row_off([names[data.labels[i]] for i in sorted(row)], of(isolated or named)), []
    return "", [*found.pairs, *by_name]


def _other_axis(data: Measurements, names: Mapping[int, str], axis: int, *, sides_found: bool) -> AxisSymmetry:
    alike = [
        pair for pair in candidate_pairs(data, axis) if max(pair.misplacement, pair.unlikeness) <= 1 and pair.one_sided
    ]
    if not alike:
        return AxisSymmetry("mirror", (), words.NOTHING)
    rows = find_rows(alike)
    if rows:
        return AxisSymmetry("none", (), words.row([names[data.labels[i]] for i in sorted(max(rows, key=len))]))
    found = arrange(data, alike, axis, rows)
    labels = sorted(_labels(data, pair) for pair in found.pairs)
    in_words = [(names[a], names[b]) for a, b in labels]
    central = len(data.labels) - 2 * len(labels)
    enough = all(len(pair.cases) >= MIN_CASES for pair in found.pairs)
    whole = not off_centre(data, found.pairs, axis) and len(labels) + central >= 2 and not found.rivals
    if whole and enough and not sides_found:
        spread = midplane_spread(data, found.pairs, axis) if len(labels) > 1 else None
        reason = words.swap(
            in_words,
            cases=max(len(pair.cases) for pair in found.pairs),
            spread=spread,
            distance=found.pairs[0].distance if len(labels) == 1 else None,
            by_name=False,
        )
        return AxisSymmetry("swap", tuple(labels), reason)
    return AxisSymmetry("none", (), words.not_sides(in_words, "xyz"[axis]))
