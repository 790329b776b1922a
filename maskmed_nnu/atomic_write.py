"""Files that are complete under their name or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write_to: Callable[[Path], object]) -> None:
    """Let ``write_to`` fill a file of another name (and the same ending) beside ``path``; rename it once complete."""
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        write_to(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
