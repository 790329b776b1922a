"""Finds the files that a json lists by names from other machines: Windows paths, URLs, other folders and spellings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from os.path import isfile  # false for what no file can be called
from pathlib import Path
from urllib.parse import unquote

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list

SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda name: unicodedata.normalize("NFC", name),  # macOS decomposes accents
    lambda name: unicodedata.normalize("NFC", unquote(name)).casefold(),
)
"""From strict to lenient; the first in which a name is found decides."""


def name_parts(name: str) -> tuple[str, ...]:
    r"""Folders and file name of what a json calls a file.

    >>> name_parts("C:\\data\\./a.png"), name_parts("https://host/data/a.png?size=full")
    (('data', 'a.png'), ('data', 'a.png'))
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        name = re.split("[?#]", name.split("://", 1)[1])[0].partition("/")[2]
    name = re.sub(r"^[A-Za-z]:(?=[\\/])", "", name.strip())
    return tuple(part for part in re.split(r"[\\/]+", name) if part not in ("", ".", ".."))


def locate_files(names: Sequence[str], folder: Path, json_file: Path) -> list[Path]:
    """The files that `json_file` calls `names`, in `folder` or below it.

    Of several files of one name the one is taken whose folders agree with the listed ones the farthest.

    Raises:
        InputError: where a file is missing, several fit alike, or two names mean one file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the folder that holds the images of {json_file.name}.")
    paths = [_direct(name, folder) for name in names]
    if not all(isfile(path) for path in paths):
        below = [path for path in sorted(folder.rglob("*")) if isfile(path)]
        indexes = [_index(below, spelling) for spelling in SPELLINGS]
        found = [[path] if isfile(path) else _search(name, indexes) for name, path in zip(names, paths, strict=True)]
        missing = [name for name, candidates in zip(names, found, strict=True) if not candidates]
        if missing:
            raise InputError(
                f"{format_list(missing)}, listed in {json_file.name}, is not in {folder}; put every image there."
            )
        several = next((candidates for candidates in found if len(candidates) > 1), None)
        if several:
            raise InputError(
                f"{several[0]} and {several[1]} have the name that {json_file.name} lists; keep one of them."
            )
        paths = [candidates[0] for candidates in found]
    first: dict[Path, str] = {}
    for name, path in zip(names, paths, strict=True):
        if first.setdefault(path, name) != name:
            raise InputError(
                f"{first[path]} and {name}, both listed in {json_file.name}, are the same file, {path}; put each "
                "image into the folder that the json names."
            )
    return paths


def _direct(name: str, folder: Path) -> Path:
    literal = folder / name  # archives of Windows, unpacked elsewhere, leave files with backslashes in their names
    absolute = name.startswith(("/", "\\"))
    return literal if not absolute and isfile(literal) else folder.joinpath(*name_parts(name))


def _index(paths: Sequence[Path], spelling: Callable[[str], str]) -> dict[str, list[Path]]:
    index: dict[str, list[Path]] = {}
    for path in paths:
        index.setdefault(spelling(path.name), []).append(path)
    return index


def _search(name: str, indexes: Sequence[dict[str, list[Path]]]) -> list[Path]:
    """The files of that name whose folders agree with those of `name` the farthest."""
    parts = name_parts(name)
    for spelling, index in zip(SPELLINGS, indexes, strict=True):
        candidates = index.get(spelling(parts[-1]), []) if parts else []
        if candidates:
            agreement = [_agreement(parts, path.absolute().parts) for path in candidates]
            return [path for path, n in zip(candidates, agreement, strict=True) if n == max(agreement)]
    return []


def _agreement(listed: Sequence[str], found: Sequence[str]) -> int:
    """Names at the end that are the same."""
    lenient = SPELLINGS[-1]
    pairs = zip(reversed(listed), reversed(found), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if lenient(a) != lenient(b)), min(len(listed), len(found)))
