"""A folder that is complete under its name or not there: unfinished work is beside it, under a hidden one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmed_nnu.atomic_write import LACKS_SPACE, write_atomically
from maskmed_nnu.errors import InputError


@contextmanager
def writing(folder: Path, key: str) -> Iterator[Path]:
    """The folder to write to, which gets the name ``folder`` at the end.

    One that a stopped run has left is kept where its ``key``, of what it is made from and how, was the same. Of bad
    input, or where the disk takes no more, nothing is left.
    """
    partial = _partial(folder)
    try:
        kept = partial / _KEY
        if not kept.is_file() or kept.read_text(encoding="utf-8").strip() != key:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            write_text(kept, key)
        yield partial
        kept.unlink()
        if folder.is_dir():  # empty
            folder.rmdir()
        partial.rename(folder)
    except (InputError, OSError) as error:
        if isinstance(error, InputError) or error.errno in LACKS_SPACE:
            shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and partial in Path(str(error.filename)).parents:
            error.filename = str(folder / Path(error.filename).relative_to(partial))  # as it would be called
        raise


def write_text(path: Path, text: str) -> None:
    """A file of one or several lines."""
    write_atomically(path, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


_KEY = "input.json"
