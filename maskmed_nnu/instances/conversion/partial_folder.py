"""A folder that is complete under its name or not there: what is not finished stands beside it, under a hidden one."""

from __future__ import annotations

import shutil
from pathlib import Path

from maskmed_nnu.atomic_write import write_atomically


def start(folder: Path, key: str) -> Path:
    """The folder to write to; one that an earlier run has left is kept where its ``key``, of what it is made from and
    how, was the same."""
    partial = _partial(folder)
    kept = partial / _KEY
    if not kept.is_file() or kept.read_text(encoding="utf-8").strip() != key:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_text(kept, key)
    return partial


def finish(folder: Path) -> None:
    """Give what is complete its name."""
    partial = _partial(folder)
    (partial / _KEY).unlink()
    if folder.is_dir():  # empty
        folder.rmdir()
    partial.rename(folder)


def write_text(path: Path, text: str) -> None:
    """A file of one or several lines."""
    write_atomically(path, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


_KEY = "input.json"
