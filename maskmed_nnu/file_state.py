"""Whether files are still what they were: cheaply by size and times, truly by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

BLOCK = 1 << 20


def file_state(path: Path | str) -> tuple[str, int, int, int]:
    """Absolute path, size, and when content and entry were changed (ns): while all stay, so does the content.

    Raises:
        OSError: where there is no such file.
    """
    status = os.stat(path)
    return os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content_digest(path: Path | str) -> str:
    """A digest of what the file holds, wherever it is.

    Raises:
        OSError: where it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_state(paths: Iterable[Path]) -> list[list[object]]:
    """``[name, size, when changed (ns)]`` of the files, and of all files in the folders, among ``paths``.

    Names start at the file or folder, so that it may be moved. Links to files are followed; what does not exist is
    ``[name]``.
    """
    states: list[list[object]] = []
    for path in paths:
        found = sorted(file for file in path.rglob("*") if not file.is_dir()) if path.is_dir() else [path]
        for file in found:
            name = file.relative_to(path.parent).as_posix()
            try:
                status = file.stat()
            except OSError:
                states.append([name])
            else:
                states.append([name, status.st_size, status.st_mtime_ns])
    return states
