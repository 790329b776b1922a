"""Which image files make up which case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import count_channels, ending, stem
from maskmed_nnu.instances.formats.other_formats import found_instead


class Case(NamedTuple):
    """An image to predict: one file, or one for each channel."""

    name: str
    files: list[Path]


def find_cases(source: Path, *, channels: int) -> list[Case]:
    """The cases in a folder, or the one that a file is, sorted by name.

    ``X_0000, X_0001, …`` are the channels of X if they are as many as the model wants, it wants several, and each file
    holds one; everything else is an image of its own, and a lone ``X_0000`` is called X, as nnU-Net would.

    Raises:
        InputError: where there is nothing to predict, files of one and of several channels are numbered as one case, or
            two images would have one name.
    """
    if source.is_file():
        files = [source]
    elif source.is_dir():
        files = sorted(p for p in source.iterdir() if not p.is_dir() and not p.name.startswith(".") and ending(p))
    else:
        raise InputError(f"{source} does not exist; give an image or a folder of images.")
    numbered: dict[str, dict[int, Path]] = {}
    cases: list[Case] = []
    for path in files:
        name = stem(path)
        match = re.fullmatch(r"(.+)_(\d{4})", name)
        if match:
            numbered.setdefault(match[1] + path.name[len(name) :], {})[int(match[2])] = path
        else:
            cases.append(Case(name, [path]))
    for key, group in numbered.items():
        name = stem(key)
        if list(group) == [0]:
            cases.append(Case(name, [group[0]]))
        elif channels > 1 and sorted(group) == list(range(channels)) and _are_single_channels(group):
            cases.append(Case(name, [group[channel] for channel in range(channels)]))
        else:
            cases += [Case(f"{name}_{number:04d}", [path]) for number, path in group.items()]
    if not cases:
        raise InputError(f"{source} holds no image: {found_instead(source)}.")
    cases.sort()
    for one, other in pairwise(cases):
        if one.name == other.name:
            raise InputError(
                f"{one.files[0]} and {other.files[0]} would both be written as {one.name}; rename one of them."
            )
    return cases


def _are_single_channels(group: Mapping[int, Path]) -> bool:
    """Whether the files' headers tell one channel each, rather than pictures with all of them."""
    counts = {path: count_channels(path) for path in group.values()}
    several = [path for path, count in counts.items() if count > 1]
    if several and len(several) < len(counts):
        single = next(path for path, count in counts.items() if count == 1)
        raise InputError(
            f"{single} holds one channel and {several[0].name} {counts[several[0]]}, though their names number them as "
            "the channels of one image; give the files of different images other names, and convert those that are "
            "channels to grey."
        )
    return not several
