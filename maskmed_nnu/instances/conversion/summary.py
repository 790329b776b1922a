"""What a conversion read, what it changed and what it refused, in lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmed_nnu.instances.conversion.layout import CaseSummary, DatasetLayout
from maskmed_nnu.instances.conversion.source_case import MAX_KEPT_ID
from maskmed_nnu.instances.text import count, format_list

MAX_NAMES = 3


def summary_lines(
    summaries: Sequence[CaseSummary], layout: DatasetLayout, notes: Sequence[str], *, max_refused: int | None = None
) -> list[str]:
    """Lines of the report; at most `max_refused` of the refused objects are listed (None: all)."""
    lines = [f"images     {len(summaries):,}, {_channels(summaries, layout)}, written as {layout.ending[1:]}"]
    if layout.label_format:
        lines += _objects(summaries, layout)
    else:
        pairs = zip(layout.values, layout.classes.items(), strict=True)
        lines.append("labels     " + ", ".join(f"{value} → {number} {name}" for value, (name, number) in pairs))
        empty = sum(not s.values for s in summaries)
        lines.append(f"empty      {count(empty, 'mask')} without foreground")
    clipped = sum(s.clipped for s in summaries)
    if clipped:
        lines.append(f"clipped    {count(clipped, 'object')} drawn beyond the image, clipped at its border")
    renumbered = [s.name for s in summaries if s.highest > MAX_KEPT_ID]
    if renumbered:
        which = format_list(renumbered, MAX_NAMES)
        lines.append(f"renumbered {count(len(renumbered), 'label map')} with ids above 65,535, from 1 on: {which}")
    renamed = [f"{name} → {s.name}" for s in summaries if (name := Path(s.case.name).name) != s.name]
    if renamed:
        which = format_list(renamed, MAX_NAMES)
        lines.append(
            f"renamed    {count(len(renamed), 'case')}, so that nnU-Net and every file system accept them: {which}"
        )
    for form in sorted({s.form for s in summaries if s.form}):
        which = format_list([s.case.image.name for s in summaries if s.form == form], MAX_NAMES)
        number = sum(s.form == form for s in summaries)
        lines.append(f"note       sform and qform disagree in {number:,} of the images, the {form} is used: {which}")
    cubes = [s.case.image.name for s in summaries if s.cubes]
    if cubes:
        lines.append(
            f"note       {count(len(cubes), 'stack')} without a spacing, treated as isotropic: "
            f"{format_list(cubes, MAX_NAMES)}; give spacing if slices are thicker than pixels"
        )
    lines += [f"note       {note}" for note in notes]
    refused = [f"{s.case.image.name}: {reason}" for s in summaries for reason in s.refused]
    if refused:
        lines.append(f"refused    {count(len(refused), 'object')}:")
        lines += [f"           {line}" for line in refused[:max_refused]]
        if max_refused is not None and len(refused) > max_refused:
            lines.append(
                f"           and {len(refused) - max_refused:,} more, listed in conversion.txt of the data set"
            )
    else:
        lines.append("refused    nothing")
    return lines


def _channels(summaries: Sequence[CaseSummary], layout: DatasetLayout) -> str:
    kinds = "/".join(sorted({s.dtype.name for s in summaries}))
    colour = sum(s.colour for s in summaries)
    if layout.channels == "grey":
        return f"grey ({kinds}{', three equal channels became one' if colour else ''})"
    if layout.channels == "colour":
        grey = len(summaries) - colour
        became = f", {count(grey, 'grey image')} became RGB" if grey else ""
        return f"RGB ({kinds}{became})"
    return f"{layout.channel_count} channels, a file each ({kinds})"


def _objects(summaries: Sequence[CaseSummary], layout: DatasetLayout) -> list[str]:
    counts = np.stack([s.counts for s in summaries])
    per_image = counts.sum(axis=1)
    names = ", ".join(f"{number} {name}: {counts[:, number - 1].sum():,}" for name, number in layout.classes.items())
    lines = [
        f"objects    {counts.sum():,} ({names})",
        f"per image  {per_image.min():,} to {per_image.max():,}, median {np.median(per_image):.0f}; "
        f"none in {count(int((per_image == 0).sum()), 'image')}",
    ]
    depth = max(s.overlap_depth for s in summaries)
    if depth > 1:
        overlapping = sum(s.overlap_depth > 1 for s in summaries)
        lines.append(
            f"overlaps   up to {depth} objects at a pixel, in {count(overlapping, 'image')}; label files have up to "
            f"{max(s.layers for s in summaries)} layers"
        )
    else:
        lines.append("overlaps   none")
    more = sum(s.split for s in summaries)
    if more:
        torn = sum(s.quirks.torn for s in summaries)
        lines.append(f"pieces     {count(torn, 'object')} in several pieces became {torn + more:,}")
    crowd = sum(s.crowd > 0 for s in summaries)
    if crowd:
        lines.append(f"crowd      {count(crowd, 'image')} with regions whose objects are not distinguished")
    return lines
