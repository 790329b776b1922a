"""The findings about mirroring as sentences for the user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.symmetry.midplane import midplane_spread
from maskmed_nnu.symmetry.pairs import AnyPair, Measurements, Pair

NOTHING = "no class takes another's place: mirrored as nnU-Net does."
SHOWN = 5  # pairs or classes that a sentence names


def list_pairs(data: Measurements, pairs: Iterable[AnyPair]) -> str:
    ordered = sorted((min(pair[:2]), max(pair[:2])) for pair in pairs)
    return format_list([f"{data.names[c]} and {data.names[d]}" for c, d in ordered], limit=SHOWN)


def swap(data: Measurements, pairs: Sequence[Pair], axis: int, by_name: Sequence[AnyPair] = ()) -> str:
    cases = count(max(len(pair.cases) for pair in pairs), "case")
    if len(pairs) > 1:
        detail = f"midplanes within {max(midplane_spread(data, pairs, axis), 1):.0f} mm"
    else:
        detail = f"{pairs[0].distance:.0f} mm apart"
    names = f" {list_pairs(data, by_name)} are partners by name." if by_name else ""
    return (
        f"{list_pairs(data, pairs)} take each other's places ({cases}, {detail}): mirrored with these labels "
        f"exchanged.{names}"
    )


def named(data: Measurements, pairs: Sequence[AnyPair]) -> str:
    cases = max((len(pair.cases) for pair in pairs if isinstance(pair, Pair)), default=0)
    seen = f", which {count(cases, 'case')} do not contradict" if cases else ""
    return f"{list_pairs(data, pairs)} are partners by name{seen}: mirrored with these labels exchanged."


def few(data: Measurements, pairs: Sequence[Pair]) -> str:
    cases = max(len(pair.cases) for pair in pairs)
    shows = "shows" if cases == 1 else "show"
    return (
        f"{list_pairs(data, pairs)} may take each other's places, but only {count(cases, 'case')} {shows} it: "
        "not mirrored."
    )


def row(classes: Sequence[str]) -> str:
    return (
        f"{format_list(classes, limit=SHOWN)} are alike and lie in a row, so that a mirror makes one of them look like "
        "another: not mirrored."
    )


def row_off(data: Measurements, pairs: Sequence[Pair], classes: Iterable[int]) -> str:
    return (
        f"{list_pairs(data, pairs)} take each other's places, but {format_list(data.names_of(classes), limit=SHOWN)} "
        "are alike and lie in a row that does not fit their midplane: not mirrored."
    )


def mixed(data: Measurements, pair: Pair) -> str:
    return (
        f"{list_pairs(data, [pair])} look like partners, but lie the other way round in {len(pair.exchanged)} of "
        f"{count(len(pair.cases), 'case')}: not mirrored; check the orientation in the headers and the labels."
    )


def rivals(data: Measurements, pairs: Sequence[Pair], others: Sequence[Pair]) -> str:
    return (
        f"{list_pairs(data, pairs)} look like partners, but so do {list_pairs(data, others)} about another midplane: "
        "not mirrored."
    )


def doubtful(data: Measurements, pairs: Sequence[Pair]) -> str:
    return (
        f"{list_pairs(data, pairs)} may take each other's places (they lie opposite each other and are somewhat alike) "
        "but need not: not mirrored."
    )


def not_sides(data: Measurements, pairs: Sequence[Pair], axis: int) -> str:
    return (
        f"{list_pairs(data, pairs)} are alike and lie opposite each other along {'xyz'[axis]}, where bodies are not "
        "symmetric: not mirrored; if the headers are wrong and this axis runs from side to side, set it by hand."
    )


def disagreements(
    data: Measurements,
    named: Sequence[tuple[int, int]],
    found: Sequence[Pair],
    candidates: Sequence[Pair],
    by_name: Sequence[AnyPair],
) -> list[str]:
    """Where names say other than places."""
    partner = {a: b for pair in found for a, b in (pair[:2], pair[1::-1])}
    accepted = {frozenset(pair[:2]) for pair in by_name}
    measured = {frozenset(pair[:2]): pair for pair in candidates}
    notes = []
    for left, right in named:
        both = f"{data.names[left]} and {data.names[right]} are partners by name"
        pair = measured.get(frozenset((left, right)))
        other = next((c for c in (left, right) if partner.get(c, left) not in (left, right)), None)
        if other is not None:
            notes.append(
                f"{both}, but by their places {list_pairs(data, [(other, partner[other])])} are; places decide."
            )
        elif pair is None or frozenset((left, right)) in accepted:
            continue
        elif left not in partner:
            fault = "do not lie opposite each other" if pair.misplacement > pair.unlikeness else "do not look alike"
            if not pair.one_sided:
                fault = "have no steady side"
            notes.append(f"{both}, but {fault} ({count(len(pair.cases), 'case')}); their labels are not exchanged.")
        elif pair.first == left:
            usual = len(pair.cases) - len(pair.exchanged)
            notes.append(
                f"{data.names[left]} lies to the right of {data.names[right]} in {usual} of "
                f"{count(len(pair.cases), 'case')}: check the names and the headers."
            )
    return notes
