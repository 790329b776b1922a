"""What real annotations contain and training copes with: torn objects, stray pixels, holes, objects of one pixel.

They are counted and told, by the conversion and by the integrity check alike, and never refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from skimage.measure import label

from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.components import MAX_STRAY_FRACTION, components, count_pieces, objects_in_pieces
from maskmed_nnu.instances.text import format_list

MAX_FILES_SHOWN = 3
SENTENCES = {
    "torn": (
        "are in several pieces (besides the largest one, others of more than {stray:.0%} of it): {files}; each "
        "is learned as one object. If the pieces are separate objects, convert with split_pieces, which gives "
        "each an id."
    ),
    "stray": "have stray pixels away from them (up to {stray:.0%} of the largest piece): {files}; they may stay.",
    "holes": "have holes, background that they enclose: {files}; fill those that are annotation errors.",
    "single_pixels": "are a single pixel: {files}; remove those that are annotation errors.",
}


@dataclass(frozen=True)
class Quirks:
    """How many objects of a label map have each of them."""

    torn: int = 0
    stray: int = 0
    holes: int = 0
    single_pixels: int = 0


def find_quirks(ids: Integers) -> Quirks:
    """Count them in ``ids [L, *spatial]``, where 0 is the background of each layer."""
    torn = stray = holes = single = 0
    for layer in ids:
        for _, _, sizes in objects_in_pieces(components(layer), layer):
            pieces = count_pieces(sizes)
            torn += pieces > 1
            stray += pieces < len(sizes)
        holes += _count_with_holes(layer)
        single += int((np.bincount(layer.reshape(-1))[1:] == 1).sum())
    return Quirks(torn, stray, holes, single)


def quirk_warnings(quirks: Mapping[str, Quirks]) -> list[str]:
    """A sentence per kind for the label maps of these names, each with its count and the first files.

    >>> quirk_warnings({"a": Quirks(single_pixels=2), "b": Quirks(), "c": Quirks(single_pixels=1)})
    ['3 objects are a single pixel: a (2), c (1); remove those that are annotation errors.']
    """
    warnings = []
    for kind in fields(Quirks):
        counts = {name: getattr(found, kind.name) for name, found in quirks.items() if getattr(found, kind.name)}
        if counts:
            total = sum(counts.values())
            files = format_list((f"{name} ({count})" for name, count in counts.items()), limit=MAX_FILES_SHOWN)
            sentence = SENTENCES[kind.name].format(files=files, stray=MAX_STRAY_FRACTION)
            warnings.append(f"{total:,} objects {sentence}" if total > 1 else f"1 object {_singular(sentence)}")
    return warnings


def _singular(sentence: str) -> str:
    verb, rest = sentence.split(" ", 1)
    return f"{'is' if verb == 'are' else 'has'} {rest}"


def _count_with_holes(ids: Integers) -> int:
    """Objects of a layer ``ids [*spatial]`` that enclose background alone."""
    # skimage ships py.typed, but this function has no types
    background: Integers = label(ids == 0, connectivity=1)
    pairs = []
    outside = [np.zeros(1, background.dtype)]
    for axis in range(ids.ndim):
        back, front = np.moveaxis(background, axis, 0), np.moveaxis(ids, axis, 0)
        if len(back) > 1 or ids.ndim == 2:
            outside += [back[0].ravel(), back[-1].ravel()]
        for holes, objects in ((back[1:], front[:-1]), (back[:-1], front[1:])):
            beside = (holes > 0) & (objects > 0)
            pairs.append(np.unique(np.stack([holes[beside], objects[beside]], axis=1), axis=0))
    hole, owner = np.unique(np.concatenate(pairs), axis=0).T
    of_one = np.bincount(hole, minlength=1)[hole] == 1
    return len(np.unique(owner[of_one & ~np.isin(hole, np.concatenate(outside))]))
