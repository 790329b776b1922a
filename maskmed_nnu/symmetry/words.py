"""The findings about mirroring as sentences for the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.symmetry.pairs import Measurements, Pair

NOTHING = "no class takes another's place: mirrored as nnU-Net does."
SHOWN = 5  # pairs or classes that a sentence names

Names = tuple[str, str]


def in_words(pairs: Sequence[Names]) -> str:
    return format_list([f"{first} and {second}" for first, second in pairs], limit=SHOWN)


def swap(pairs: Sequence[Names], *, cases: int, spread: float | None, distance: float | None, by_name: bool) -> str:
    """Mirrored with labels exchanged; `spread` of the midplanes (several pairs) or `distance` (one) in mm."""
    if by_name:
        seen = f", and their places in {count(cases, 'case')} agree" if cases else ""
        return f"{in_words(pairs)} are partners by name{seen}: mirrored with these labels exchanged."
    detail = f", midplanes within {spread:.0f} mm" if spread is not None else ""
    detail += f", {distance:.0f} mm apart" if distance is not None else ""
    return f"{in_words(pairs)} take each other's places ({count(cases, 'case')}{detail}): mirrored with these labels exchanged."


def few(pairs: Sequence[Names], cases: int) -> str:
    return f"{in_words(pairs)} may take each other's places, but only {count(cases, 'case')} show it: not mirrored."


def row(classes: Sequence[str]) -> str:
    return (
        f"{format_list(classes, limit=SHOWN)} are alike and lie in a row, so that a mirror would make one of them look like "
        "another: not mirrored."
    )


def row_off(classes: Sequence[str], pairs: Sequence[Names]) -> str:
    return (
        f"{in_words(pairs)} take each other's places, but {format_list(classes, limit=SHOWN)} are alike and lie in a row "
        "that does not fit their midplane: not mirrored."
    )


def mixed(pair: Names, fewer: int, cases: int) -> str:
    return (
        f"{pair[0]} and {pair[1]} look like partners, but lie the other way round in {fewer} of {count(cases, 'case')}: "
        "not mirrored; check the orientation in the headers and the labels."
    )


def rivals(pairs: Sequence[Names], others: Sequence[Names]) -> str:
    return f"{in_words(pairs)} look like partners, but so do {in_words(others)} about another midplane: not mirrored."


def not_sides(pairs: Sequence[Names], axis: str) -> str:
    return (
        f"{in_words(pairs)} are alike and lie opposite each other along {axis}, where bodies are not symmetric: not mirrored; "
        "if the headers are wrong and this axis runs from side to side, set it by hand."
    )


def disagreements(
    data: Measurements,
    names: Mapping[int, str],
    named: Sequence[tuple[int, int]],
    found: Sequence[Pair],
    candidates: Sequence[Pair],
    by_name: Sequence[Pair | tuple[int, int]],
) -> list[str]:
    """Where names say other than places."""
    partner = {a: b for pair in found for a, b in ((pair.first, pair.second), (pair.second, pair.first))}
    accepted = {frozenset((pair[0], pair[1])) for pair in by_name}
    measured = {frozenset((pair.first, pair.second)): pair for pair in candidates}
    notes = []
    for left, right in named:
        left_name, right_name = names[data.labels[left]], names[data.labels[right]]
        pair = measured.get(frozenset((left, right)))
        other = next((c for c in (left, right) if c in partner and partner[c] not in (left, right)), None)
        if other is not None:
            notes.append(
                f"{left_name} and {right_name} are partners by name, but by their places {names[data.labels[other]]} and "
                f"{names[data.labels[partner[other]]]} are; the places decide."
            )
        elif partner.get(left) != right and frozenset((left, right)) not in accepted and pair is not None:
            why = "do not lie opposite each other" if pair.misplacement > pair.unlikeness else "do not look alike"
            if not pair.one_sided:
                why = "have no steady side"
            notes.append(
                f"{left_name} and {right_name} are partners by name, but {why} in {count(len(pair.cases), 'case')}; "
                "their labels are not exchanged."
            )
        elif pair is not None and pair.first == left and partner.get(left) == right:
            notes.append(
                f"{left_name} lies to the right of {right_name} in {len(pair.cases) - len(pair.exchanged)} of "
                f"{count(len(pair.cases), 'case')}; check the names and the headers."
            )
    return notes
