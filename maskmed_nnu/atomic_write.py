"""Files that are complete under their name or not there at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

LITTLE_SPACE = 2**20  # bytes
PARTIAL = re.compile(r"\.\d+\.partial\.")
"""What stands before a file's name while it is written."""


def partial_name(path: Path) -> Path:
    """What ``path`` is called, beside it, while it is written.

    A number by chance: processes on other machines, or in other containers, may have the same one of their own.
    """
    return path.with_name(f".{secrets.randbelow(10**9)}.partial.{path.name}")


def remove_partial(files: Collection[Path]) -> None:
    """Remove what processes left behind that were killed while they wrote one of ``files``."""
    for folder in {path.parent for path in files}:
        for partial in folder.glob(".*.partial.*"):
            if partial.with_name(PARTIAL.sub("", partial.name)) in files:
                partial.unlink(missing_ok=True)


def write_atomically(path: Path, write_to: Callable[[Path], object]) -> None:
    """Let ``write_to`` fill a file of another name (and the same ending) beside ``path``; rename it once complete.

    Raises:
        OSError: names ``path``. A full disk is told as such, where libraries have no number or a `RuntimeError` for it.
    """
    partial = partial_name(path)
    try:
        partial.open("wb").close()  # so that a folder that is missing or closed is told alike by every library
        write_to(partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        if getattr(error, "errno", None) is None and shutil.disk_usage(path.parent).free < LITTLE_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
