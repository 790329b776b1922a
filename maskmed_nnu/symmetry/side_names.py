"""Left and right in the names of classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# Words of the two sides, in order: a pair of names holds the two words of one entry and is equal otherwise.
SIDE_WORDS = (
    ("left", "right"),
    ("lt", "rt"),
    ("lft", "rgt"),
    ("lh", "rh"),
    ("l", "r"),
    ("sinister", "dexter"),
    ("sinistra", "dextra"),
    ("sinistrum", "dextrum"),
    ("sin", "dex"),
    ("sin", "dx"),
    ("sin", "dext"),
    ("sx", "dx"),
    ("sn", "dx"),
    ("links", "rechts"),
    ("linke", "rechte"),
    ("linker", "rechter"),
    ("linkes", "rechtes"),
    ("li", "re"),
    ("gauche", "droit"),
    ("gauche", "droite"),
    ("g", "d"),
    ("izquierda", "derecha"),
    ("izquierdo", "derecho"),
    ("izq", "der"),
    ("izda", "dcha"),
    ("izdo", "dcho"),
    ("sinistro", "destro"),
    ("sinistra", "destra"),
    ("esquerda", "direita"),
    ("esquerdo", "direito"),
    ("esq", "dir"),
    ("lewa", "prawa"),
    ("lewy", "prawy"),
    ("lewe", "prawe"),
    ("vänster", "höger"),
    ("venstre", "høyre"),
    ("venstre", "højre"),
    ("левая", "правая"),
    ("левый", "правый"),
    ("левое", "правое"),
    ("sol", "sağ"),
    ("左", "右"),
    ("左侧", "右侧"),
    ("왼쪽", "오른쪽"),
    ("좌", "우"),
)
_GLUED = ("left", "right", "links", "rechts", "左", "右", "좌", "우")  # also read at the ends of a longer word
_TOKENS = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class NamedPair(NamedTuple):
    """Labels of two classes whose names differ in the side only."""

    left: int
    right: int


def named_pairs(names: Mapping[int, str]) -> list[NamedPair]:
    """The pairs of `names` that are equal but for the word of the side.

    >>> named_pairs({1: "kidney_left", 2: "RightLung", 3: "LeftLung", 4: "kidney_right", 5: "lumbar L1", 6: "rectum"})
    [NamedPair(left=1, right=4), NamedPair(left=3, right=2)]
    """
    by_words: dict[tuple[str, ...], list[int]] = {}
    for label, name in names.items():
        by_words.setdefault(_words(name), []).append(label)
    pairs = []
    taken: set[int] = set()
    for label, name in names.items():
        for words in _other_side(_words(name)):
            partners = by_words.get(words, [])
            if len(partners) == 1 and len(by_words[_words(name)]) == 1 and not taken & {label, partners[0]}:
                pairs.append(NamedPair(label, partners[0]))
                taken |= {label, partners[0]}
    return pairs


def _words(name: str) -> tuple[str, ...]:
    """Lower-case words of a name, in CamelCase too, with the side cut off words that begin or end with it."""
    words = []
    for word in _TOKENS.findall(_CAMEL.sub(" ", name)):
        lower = word.lower()
        side = next((s for s in _GLUED if lower != s and (lower.startswith(s) or lower.endswith(s))), None)
        if side is None:
            words.append(lower)
        else:
            words += [side, lower[len(side) :]] if lower.startswith(side) else [lower[: -len(side)], side]
    return tuple(words)


def _other_side(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The names with the right's word in the place of the left's."""
    return [
        (*words[:i], right, *words[i + 1 :])
        for i, word in enumerate(words)
        for left, right in SIDE_WORDS
        if word == left
    ]
