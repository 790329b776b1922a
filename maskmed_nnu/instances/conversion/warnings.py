"""What a conversion warns of: label maps that were hardly meant like this, and what real annotations contain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from maskmed_nnu.instances.annotation_quirks import quirk_warnings
from maskmed_nnu.instances.conversion.layout import CaseSummary, DatasetLayout
from maskmed_nnu.instances.text import count, format_list

MOST = 0.5  # of the objects or files: what is true of more of them is no slip but how the masks were made
MAX_NAMES = 3
HIGHEST = tuple(2**bits - 1 for bits in (8, 15, 16, 31, 32))  # of the types that hold label maps
VOID_GAP = 2  # times the largest step between classes, or the number of objects


def warning_lines(summaries: Sequence[CaseSummary], layout: DatasetLayout, *, split: bool) -> list[str]:
    """Sentences, what is wrong with all label maps first; the names are those of the images."""
    surrounded = _surrounded(summaries, layout)
    void = "" if surrounded else _void_id(summaries) if layout.label_format else _void_class(layout)
    found = [surrounded, void, _equal(summaries), _rims(summaries), _thin(summaries, layout)]
    if not layout.label_format:
        return [warning for warning in found if warning]
    found += [_outlines(summaries)]
    together = "" if split else _not_told_apart(summaries)
    if together:
        return [warning for warning in (*found, together) if warning]
    quirks = {s.case.image.name: replace(s.quirks, torn=0) if split else s.quirks for s in summaries}
    return [warning for warning in (*found, *quirk_warnings(quirks)) if warning]


def _not_told_apart(summaries: Sequence[CaseSummary]) -> str:
    objects = sum(int(s.counts.sum()) for s in summaries)
    torn = [s for s in summaries if s.quirks.torn]
    ids = sum(s.quirks.torn for s in torn)
    if ids <= MOST * objects:
        return ""
    one_id = all(s.counts.sum() <= 1 for s in summaries)
    what = "every label map holds one id only" if one_id else f"{ids:,} of {objects:,} ids are"
    return (
        f"Objects are not distinguished: {what}{', in' if one_id else ' in'} separate pieces "
        f"({_files(torn)}), so these are classes or a mask of the foreground. Convert with split_pieces, which "
        "gives each piece its own id (touching objects stay one), or as semantic masks."
    )


def _surrounded(summaries: Sequence[CaseSummary], layout: DatasetLayout) -> str:
    covered = [s for s in summaries if s.surrounding]
    if len(covered) <= MOST * len(summaries):
        return ""
    if layout.label_format:
        return (
            f"One object covers the border of the image in {len(covered):,} of {count(len(summaries), 'label map')} "
            f"({_files(covered)}), like a background; the background must be 0, so change its value to 0, or "
            "invert masks that are 0 at the objects."
        )
    value, number = Counter(s.surrounding for s in covered).most_common(1)[0]
    return (
        f"The value {value} covers the border of the image in {number:,} of {count(len(summaries), 'mask')}; if it is "
        "the background, change it to 0, nnU-Net's background."
    )


def _rims(summaries: Sequence[CaseSummary]) -> str:
    found = [s for s in summaries if s.rims]
    if not found:
        return ""
    return (
        f"Areas are separated by a line of one other value, a pixel wide, in {len(found):,} of "
        f"{count(len(summaries), 'label map')} ({_files(found)}), which is typical of interpolation; if no such "
        "thin layers were drawn, go back to the original masks and resize them with nearest neighbour only."
    )


def _thin(summaries: Sequence[CaseSummary], layout: DatasetLayout) -> str:
    thick = {value for s in summaries for value in set(s.values) - set(s.thin)}
    thin = [value for value in layout.values if value not in thick]
    if layout.label_format or not thin:
        return ""
    return (
        f"The values {format_list(thin, MAX_NAMES)} appear only as lines or specks of one or two pixels, which is "
        "typical of lossy compression; if no thin lines were drawn, go back to the original masks."
    )


def _void_class(layout: DatasetLayout) -> str:
    """The highest value of a type, as far above the other classes as no two of these are apart."""
    *classes, highest = layout.values
    gaps = np.diff([0, *classes])
    last = next(reversed(layout.classes))
    if highest not in HIGHEST or not classes or last == "ignore" or highest - classes[-1] < VOID_GAP * max(gaps):
        return ""
    names = [*layout.classes][:-1] if len(classes) <= MAX_NAMES else ["…"]
    return (
        f"The value {highest}, far above the others, probably marks pixels to ignore (void), and would be learned as "
        f"{last}; if so, convert with classes {' '.join(names)} ignore: the name ignore makes it nnU-Net's ignore "
        "label."
    )


def _void_id(summaries: Sequence[CaseSummary]) -> str:
    void = [s for s in summaries if s.highest in HIGHEST and s.highest > VOID_GAP * s.counts.sum() > VOID_GAP]
    if len(void) <= MOST * len(summaries):
        return ""
    return (
        f"The highest id is {void[0].highest}, far above the number of objects, in {len(void):,} of "
        f"{count(len(summaries), 'label map')} ({_files(void)}); if it marks pixels to ignore (void), change it "
        "to 0, because it would be learned as an object."
    )


def _equal(summaries: Sequence[CaseSummary]) -> str:
    groups: dict[str, list[CaseSummary]] = {}
    for summary in summaries:
        if summary.counts.any() or summary.values:
            groups.setdefault(summary.digest, []).append(summary)
    most = max(groups.values(), key=len, default=[])
    if len(most) < 2:
        return ""
    return (
        f"{len(most):,} of {len(summaries):,} label maps are identical ({_files(most)}); check that each image has "
        "its own mask."
    )


def _outlines(summaries: Sequence[CaseSummary]) -> str:
    drawn = [s for s in summaries if s.outlines]
    if len(drawn) <= MOST * len(summaries):
        return ""
    return (
        f"The objects are outlines in {len(drawn):,} of {count(len(summaries), 'label map')} ({_files(drawn)}), and "
        "would be learned as thin rings; fill them before the conversion if whole objects are meant."
    )


def _files(summaries: Sequence[CaseSummary]) -> str:
    return format_list((s.case.image.name for s in summaries), limit=MAX_NAMES)
