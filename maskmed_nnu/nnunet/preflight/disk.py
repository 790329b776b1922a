"""Whether the disk has room for what a command writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from maskmed_nnu.nnunet.preflight.faults import Fault


def room_faults(folder: Path, needed: int, where: str, what_for: str, *, least: float = 1.0) -> Iterator[Fault]:
    """Refuse less room than ``least`` of the ``needed`` bytes, note less than all of them."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        usage = shutil.disk_usage(existing)
    except OSError:
        return
    free = usage.free
    if usage.total and free < needed:  # some drives of networks, and a tmpfs without limit, do not tell their size
        what = f"{size(free)} are free on the disk of {folder}, {what_for} take up to {size(needed)}"
        cure = "make room, or name a folder on a larger disk"
        yield Fault(where, what, cure, note=free >= least * needed)


def bytes_in(folder: Path) -> int:
    """What the files of an earlier run take, which are overwritten."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0


def size(number: float) -> str:
    """
    >>> size(2_500_000), size(3_210_000_000)
    ('2.5 MB', '3.2 GB')
    """
    unit, factor = ("GB", 1e9) if number >= 1e9 else ("MB", 1e6)
    return f"{number / factor:,.1f} {unit}"
