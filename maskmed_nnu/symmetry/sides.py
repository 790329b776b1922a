"""Left and right: the pairs of classes that a mirror along x exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskmed_nnu.symmetry import words
from maskmed_nnu.symmetry.midplane import (
    alike_row,
    arrange,
    belongs,
    find_rows,
    in_row,
    joint_misfit,
    midplane_gaps,
    row_fits,
)
from maskmed_nnu.symmetry.pairs import AnyPair, Measurements, Pair, candidate_pairs

MIN_CASES = 6  # with both partners, before places alone decide
MIN_SEVERAL = 4  # with both partners of one pair, where several pairs share a midplane and some organs are missing
FEW_SHARED = 3  # with both partners, where other pairs already show the midplane
NAMED = 1.5  # how much larger the misfit of a pair may be whose names say left and right …
UNNAMED = 0.6  # … and must be of a pair whose names do not, where others' do
UNLIKE = 2.5  # what such a pair may measure about the midplane of several others
CONTRADICTED = 2.0  # a misfit beyond this rules partners out, however few the cases
LONE = 0.8  # what a single pair, without a second one to confirm its midplane, must not exceed
DOUBTFUL = 1.3  # up to this, two classes may be partners that differ by chance
RARE = 0.08  # share of cases with both partners, below which these two count for nothing


class Sides(NamedTuple):
    """Pairs to exchange, and why. Without pairs, a `reason` is one against mirroring."""

    pairs: tuple[AnyPair, ...]
    reason: str
    notes: tuple[str, ...]


def find_sides(data: Measurements, named: Sequence[tuple[int, int]]) -> Sides:
    """Decide for x; `named` are (left, right) indices of classes that are partners by name."""
    names = {frozenset(pair) for pair in named}
    candidates = [pair._replace(named=frozenset(pair[:2]) in names) for pair in candidate_pairs(data, 0, named)]
    alike = [pair for pair in candidates if pair.misfit <= (NAMED if pair.named else 1)]
    exchanged = {case for pair in alike if pair.one_sided for case in pair.exchanged.tolist()}
    mixed: list[Pair] = []
    steady: list[Pair] = []
    for pair in alike:
        (steady if pair.one_sided or exchanged.issuperset(pair.exchanged.tolist()) else mixed).append(pair)
    rows = find_rows(steady)
    if any(pair.named for pair in steady):
        promised = _promised(candidates, named)
        steady = [
            pair
            for pair in steady
            if pair.named
            or in_row(pair, rows)
            or (pair.misfit <= UNNAMED and len(pair.cases) >= MIN_CASES and not promised & {*pair[:2]})
        ]
    least = FEW_SHARED if len(data.cases) >= 2 * MIN_CASES else 1
    shared = [pair for pair in steady if pair.named or len(pair.cases) >= least]
    found = arrange(data, shared, 0, rows)
    found = found._replace(pairs=(*found.pairs, *_confirmed(data, candidates, found.pairs)))
    by_name = _by_name(data, candidates, found.pairs, named)
    notes = tuple(words.disagreements(data, named, found.pairs, candidates, by_name))

    doubtful = _doubtful(data, candidates, found.pairs, by_name)
    if mixed:
        return Sides((), words.mixed(data, max(mixed, key=lambda pair: len(pair.exchanged))), notes)
    if found.pairs:
        pairs, reason = _judge(data, found.pairs, found.rivals, rows, by_name)
    else:
        pairs, reason = tuple(by_name), words.named(data, by_name) if by_name else ""
        if rows and not by_name:
            reason = words.row(data.names_of(alike_row([], rows)))
    if doubtful and (pairs or not reason):
        return Sides((), words.doubtful(data, doubtful), notes)
    return Sides(pairs, reason, notes)


def _doubtful(
    data: Measurements, candidates: Sequence[Pair], found: Sequence[Pair], by_name: Sequence[AnyPair]
) -> list[Pair]:
    """Pairs about the midplane of those found that may be ones, too, but are neither alike nor unlike enough.

    Few cases do not place a midplane well enough to rule alike classes out. Names settle it: where they tell sides,
    classes whose names do not are no partners.
    """
    taken = {index for pair in (*found, *by_name) for index in pair[:2]}
    names = any(pair.named for pair in found)
    few = len(data.cases) < 2 * MIN_CASES
    doubtful = []
    for pair in candidates:
        limit = CONTRADICTED if few and len(pair.cases) < MIN_CASES else DOUBTFUL
        if pair.named:
            open_question = len(pair.cases) >= MIN_CASES and pair.misplacement <= 1 and pair.misfit <= UNLIKE
        else:
            seen = len(pair.cases) >= min(FEW_SHARED, RARE * len(data.cases))
            open_question = bool(found) and not names and seen and pair.misfit <= limit
        if not (open_question and pair.one_sided) or taken & {*pair[:2]}:
            continue
        gaps = midplane_gaps(data, found, pair, 0)
        near = belongs(pair, gaps, np.inf) or (not pair.named and joint_misfit(pair, gaps) <= DOUBTFUL)
        if near or (few and pair.misfit <= 1):
            doubtful.append(pair)
    return doubtful


def _promised(candidates: Sequence[Pair], named: Sequence[tuple[int, int]]) -> set[int]:
    """Classes with a partner by name that enough cases do not contradict."""
    refuted = {frozenset(p[:2]) for p in candidates if p.named and len(p.cases) >= MIN_CASES and p.misfit > NAMED}
    return {index for pair in named if frozenset(pair) not in refuted for index in pair}


def _confirmed(data: Measurements, candidates: Sequence[Pair], found: Sequence[Pair]) -> list[Pair]:
    """Further named pairs about the midplane of several others, though cut off or otherwise less alike."""
    taken = {index for pair in found for index in pair[:2]}
    return [
        pair
        for pair in candidates
        if pair.named
        and len(found) > 1
        and pair.one_sided
        and pair.misplacement <= 1
        and pair.unlikeness <= UNLIKE
        and not taken & {*pair[:2]}
        and belongs(pair, midplane_gaps(data, found, pair, 0))
    ]


def _by_name(
    data: Measurements, candidates: Sequence[Pair], found: Sequence[Pair], named: Sequence[tuple[int, int]]
) -> list[AnyPair]:
    """Named pairs that too few cases show, and none contradicts."""
    taken = {index for pair in found for index in pair[:2]}
    measured = {frozenset(pair[:2]): pair for pair in candidates}

    def contradicted(pair: Pair) -> bool:
        if len(found) < 2:
            return pair.misfit > CONTRADICTED
        return pair.company or pair.off_axis > NAMED or not belongs(pair, midplane_gaps(data, found, pair, 0))

    chosen: list[AnyPair] = []
    for left, right in named:
        pair = measured.get(frozenset((left, right)))
        if taken & {left, right}:
            continue
        if pair is None:
            chosen.append((left, right))
        elif pair.one_sided and len(pair.cases) < MIN_CASES and not contradicted(pair):
            chosen.append(pair)
    return chosen


def _judge(
    data: Measurements,
    found: tuple[Pair, ...],
    rivals: tuple[Pair, ...],
    rows: Sequence[frozenset[int]],
    by_name: Sequence[AnyPair],
) -> tuple[tuple[AnyPair, ...], str]:
    """The pairs to exchange and why; none and why not to mirror."""
    named = any(pair.named for pair in found)
    isolated = [pair for pair in found if not in_row(pair, rows)]
    guides = isolated or [pair for pair in found if pair.named]
    if not guides:
        return (), words.row(data.names_of(alike_row(found, rows)))
    enough = MIN_SEVERAL if len(guides) > 1 and len(data.cases) >= MIN_CASES else MIN_CASES
    if not named and max(len(pair.cases) for pair in guides) < enough:
        return (), words.few(data, guides)
    if not named and (rivals or (len(found) == 1 and found[0].misfit > LONE)):
        return (), words.rivals(data, found, rivals) if rivals else words.doubtful(data, found)
    for row in rows:
        if not row_fits(data, row, found, guides, 0):
            return (), words.row_off(data, guides, row)
    return (*found, *by_name), words.swap(data, found, 0, by_name)
