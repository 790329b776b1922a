"""Which image files make up which case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import count_channels, ending, stem
from maskmed_nnu.instances.formats.other_formats import found_instead


class Case(NamedTuple):
    """An image to predict: one file, or one for each channel; ``fault`` is why it cannot be."""

    name: str
    files: list[Path]
    fault: str = ""


def find_cases(source: Path, *, channels: int) -> list[Case]:
    """The cases in a folder, or the one that a file is, sorted by name.

    ``X_0000, X_0001, …`` are the channels of X if they are as many as the model wants, it wants several, and each file
    holds one; everything else is an image of its own, and a lone ``X_0000`` is called X, as nnU-Net would.

    Files of one and of several channels that are numbered as one case are one with a fault.

    Raises:
        InputError: where there is nothing to predict, or two images would have one name.
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
        elif channels > 1 and sorted(group) == list(range(channels)):
            cases += _as_channels(name, [group[channel] for channel in range(channels)])
        else:
            cases += [Case(stem(path), [path]) for path in group.values()]
    if not cases:
        raise InputError(f"{source} holds no image: {found_instead(source)}.")
    cases.sort()
    for one, other in pairwise(cases):
        if one.name == other.name:
            raise InputError(
                f"{one.files[0]} and {other.files[0]} would both be written as {one.name}; rename one of them."
            )
    return cases


def numbered_files(folder: Path, ending: str) -> list[list[Path]]:
    """The files of each case in a folder, as nnU-Net groups and sorts them: ``NAME_0000`` and so on, with the ending.

    Links to nothing, which nnU-Net leaves out, are among them.
    """
    cases: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(r"(.+)_\d{4}", path.name.removesuffix(ending))
        if match and path.name.endswith(ending) and not path.is_dir():
            cases.setdefault(match[1], []).append(path)
    return [cases[name] for name in sorted(cases)]


def check_numbers(name: str, files: Sequence[str], ending: str) -> None:
    """Refuse a case of `numbered_files` of which the file of a channel is missing: the next one would be taken for it.

    Raises:
        InputError: says which.
    """
    numbers = [int(file.removesuffix(ending)[-4:]) for file in files]
    missing = sorted(set(range(numbers[-1] + 1)) - set(numbers))
    if missing:
        raise InputError(
            f"{name}_{missing[0]:04d}{ending} is missing, but there is {files[-1]}; each channel needs a file, "
            "from _0000 on."
        )


def _as_channels(name: str, files: list[Path]) -> list[Case]:
    """One case where the files' headers tell one channel each, or one for each picture with all of them."""
    counts = [count_channels(path) for path in files]
    several = [path for path, number in zip(files, counts, strict=True) if number > 1]
    if len(several) == len(files):
        return [Case(stem(path), [path]) for path in files]
    if not several:
        return [Case(name, files)]
    single = files[counts.index(1)]
    return [
        Case(
            name,
            files,
            f"{single} holds one channel and {several[0].name} {counts[files.index(several[0])]}, but by their "
            "names they are channels of one image; rename them if they are different images, or convert the "
            "channels to grey.",
        )
    ]
