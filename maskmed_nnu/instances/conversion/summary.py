"""What a conversion read, what it changed and what it refused, in lines for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskmed_nnu.instances.conversion.layout import CaseSummary, DatasetLayout


def summary_lines(
    found: Sequence[CaseSummary], layout: DatasetLayout, notes: Sequence[str], *, most: int | None = None
) -> list[str]:
    """Lines of the report; at most `most` of the refused objects are listed (None: all)."""
    lines = [f"images     {len(found):,}, {_channels(found, layout)}, written as {layout.ending[1:]}"]
    if layout.label_format:
        lines += _objects(found, layout)
    else:
        pairs = zip(layout.values, layout.classes.items(), strict=True)
        lines.append("labels     " + ", ".join(f"{value} → {number} {name}" for value, (name, number) in pairs))
        empty = sum(not f.values for f in found)
        lines.append(f"empty      {empty:,} masks without foreground")
    clipped = sum(f.clipped for f in found)
    if clipped:
        lines.append(f"clipped    {clipped:,} objects drawn beyond their image were cut off at its border")
    renumbered = [f.name for f in found if f.renumbered]
    if renumbered:
        lines.append(f"renumbered {len(renumbered):,} label maps with ids above 65,535, from 1 on: {renumbered[0]} …")
    lines += [f"note       {note}" for note in notes]
    refused = [f"{f.case.image.name}: {reason}" for f in found for reason in f.refused]
    if refused:
        lines.append(f"refused    {len(refused):,} objects:")
        lines += [f"           {line}" for line in refused[:most]]
        if most is not None and len(refused) > most:
            lines.append(f"           and {len(refused) - most:,} more, listed in the data set's conversion.txt")
    else:
        lines.append("refused    nothing")
    return lines


def _channels(found: Sequence[CaseSummary], layout: DatasetLayout) -> str:
    kinds = "/".join(sorted({f.dtype.name for f in found}))
    colour = sum(f.colour for f in found)
    if layout.channels == "grey":
        return f"grey ({kinds}{', three equal channels became one' if colour else ''})"
    if layout.channels == "colour":
        grey = len(found) - colour
        return f"RGB ({kinds}{f', {grey:,} grey ones became RGB' if grey else ''})"
    return f"{layout.channel_count} channels, a file each ({kinds})"


def _objects(found: Sequence[CaseSummary], layout: DatasetLayout) -> list[str]:
    counts = np.stack([f.counts for f in found])
    per_image = counts.sum(axis=1)
    names = ", ".join(f"{number} {name}: {counts[:, number - 1].sum():,}" for name, number in layout.classes.items())
    lines = [
        f"objects    {counts.sum():,} ({names})",
        f"per image  {per_image.min():,} to {per_image.max():,}, median {np.median(per_image):.0f}; "
        f"{int((per_image == 0).sum()):,} images hold none",
    ]
    depth = max(f.depth for f in found)
    if depth > 1:
        overlapping = sum(f.depth > 1 for f in found)
        lines.append(
            f"overlaps   up to {depth} objects at a pixel, in {overlapping:,} images; label files have up to "
            f"{max(f.layers for f in found)} layers"
        )
    else:
        lines.append("overlaps   none")
    disconnected = [f for f in found if f.disconnected]
    if disconnected:
        count, more = sum(f.disconnected for f in disconnected), sum(f.split for f in disconnected)
        where = ", ".join(f"{f.name}: {f.disconnected}" for f in disconnected[:5]) + (
            " …" if len(disconnected) > 5 else ""
        )
        lines.append(
            f"pieces     {count:,} objects in several pieces ({where}) "
            + (f"became {count + more:,}" if more else "were left as they are")
        )
    crowd = sum(f.crowd > 0 for f in found)
    if crowd:
        lines.append(f"crowd      {crowd:,} images have regions whose objects are not told apart")
    return lines
