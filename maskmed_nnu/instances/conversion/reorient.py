"""A copy of a folder, such as a raw data set, whose volumes are all stored in the same orientation."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.file_state import file_state
from maskmed_nnu.instances.conversion import partial_folder
from maskmed_nnu.instances.conversion.convert import check_number_is_free
from maskmed_nnu.instances.formats import VOLUMES, ending
from maskmed_nnu.instances.formats.files import damage_told
from maskmed_nnu.instances.formats.reorientation import code_of, of_as_many_axes, turn
from maskmed_nnu.instances.text import count, format_faults, format_list
from maskmed_nnu.json_file import read_json
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input
from maskmed_nnu.progress import Report, counted

MAX_NAMES = 3
TWO_FILES = (".nhdr", ".mhd")
"""Headers whose voxels are in a file of their own, which is named in them."""


def reorient(source: Path, folder: Path, code: str, *, progress: Report | None = None) -> list[str]:
    """Copy ``source`` and all that is below it to ``folder``, volumes turned to ``code``; returns lines on what was
    done.

    Hidden files stay behind. All headers are looked at before anything is written; files are written to a folder
    beside ``folder`` that is renamed at the end, and a run that was stopped is continued there.

    Raises:
        InputError: where ``folder`` cannot be the place, a volume does not say how it lies or is damaged, or there is
            none.
    """
    folder = Path(os.path.realpath(folder))  # not a link: it is renamed to
    names = _names(source)
    volumes = [name for name in names if ending(name) in VOLUMES]
    if not volumes:
        raise InputError(f"{source} holds no volume to reorient; legal endings are {', '.join(VOLUMES)}.")
    _check_listed_files(source)
    _check_folder(folder, source)
    codes = _codes(source, volumes)
    folder.parent.mkdir(parents=True, exist_ok=True)
    key = json.dumps([code, [file_state(source / name) for name in names]])
    with partial_folder.writing(folder, key) as partial:
        parts = _separate_voxels(source, volumes)
        others = [name for name in names if name not in codes and name not in parts]
        for name, own in counted(list(codes.items()), "turning", progress):
            if ending(name) in TWO_FILES or own != of_as_many_axes(code, own):
                _turn(source / name, partial / name, code)
            else:
                _copy(source / name, partial / name)
        for name in others:
            _copy(source / name, partial / name)
    return _lines(codes, others, code)


def _names(source: Path) -> list[str]:
    """All files below ``source``, by their relative paths; links are followed.

    Raises:
        InputError: where it is not a folder.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; name one that holds volumes, such as a raw data set of nnU-Net.")
    return sorted(_walk(source, source, ()))


def _walk(source: Path, folder: Path, above: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    for path in folder.iterdir() if real not in above else ():  # a link to a folder above it never ends
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(source, path, (*above, real))
        else:
            yield path.relative_to(source).as_posix()


def _check_listed_files(source: Path) -> None:
    """Raises: InputError where dataset.json names files that would not be in the copy."""
    path = source / "dataset.json"
    if not path.is_file():
        return
    description = read_json(path, expected="a dataset.json")
    cases = description.get("dataset") if isinstance(description, dict) else None
    for case in cases.values() if isinstance(cases, dict) else ():
        images, label = (case.get("images"), case.get("label", "")) if isinstance(case, dict) else ((), "")
        files: list[Any] = [*(images if isinstance(images, list) else [images]), label]
        for file in map(str, files):
            if os.path.isabs(os.path.expandvars(file)) or os.path.normpath(os.path.expandvars(file)).startswith(".."):
                raise InputError(
                    f"{path} lists {file}, which is not relative to {source} or is outside of it, so a copy "
                    "would still use the original file; write the path relative to that folder."
                )


def _check_folder(folder: Path, source: Path) -> None:
    advice = "name a new folder as output"
    refuse_output_over_input([folder], [source], advice=advice)
    refuse_image_folder(folder)
    if Path(os.path.realpath(source)) in Path(os.path.realpath(folder)).parents:
        raise InputError(f"{folder}, where results would go, is inside the input folder {source}; {advice}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; {advice}.")
    if re.fullmatch(r"Dataset\d{3}_.*", folder.name) and not folder.exists():
        check_number_is_free(folder)


def _codes(source: Path, volumes: Sequence[str]) -> dict[str, str]:
    codes: dict[str, str] = {}
    faults = []
    for name in volumes:
        try:
            with damage_told(source / name):
                codes[name] = code_of(source / name)
        except InputError as error:
            faults.append(str(error))
    if len(faults) == 1:
        raise InputError(faults[0])
    if faults:
        raise InputError(f"Nothing was reoriented, because {source} has {format_faults(faults)}")
    return codes


def _separate_voxels(source: Path, volumes: Sequence[str]) -> set[str]:
    """The files beside headers of `TWO_FILES` that they name: those of the turned ones take their place."""
    parts = set()
    for name in volumes:
        if ending(name) in TWO_FILES:
            header, folder = (source / name).read_bytes(), Path(name).parent
            beside = [path.name for path in (source / folder).iterdir() if path.name != Path(name).name]
            parts |= {(folder / other).as_posix() for other in beside if _names_file(header, other)}
    return parts


def _names_file(header: bytes, name: str) -> bool:
    """Whether a line of the header ends with ``name``, which is not the end of a longer one."""
    return re.search(rb"(?m)(?:^|[=:/\s])" + re.escape(name.encode()) + rb"\s*$", header) is not None


def _turn(path: Path, target: Path, code: str) -> None:
    if target.is_file() and ending(target) not in TWO_FILES:  # of a run that was stopped
        return
    with damage_told(path):
        write = turn(path, code)
    target.parent.mkdir(parents=True, exist_ok=True)
    if ending(target) not in TWO_FILES:
        write_atomically(target, write)
        return
    try:
        write(target)
    except RuntimeError as error:  # ITK's, for a disk that is full
        raise InputError(
            f"{target} cannot be written ({error}); make room, or name a folder on another disk."
        ) from None


def _copy(path: Path, target: Path) -> None:
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda partial: shutil.copyfile(path, partial))


def _lines(codes: dict[str, str], others: Sequence[str], code: str) -> list[str]:
    before = ", ".join(f"{number:,} {own}" for own, number in Counter(codes.values()).most_common())
    lines = [f"{count(len(codes), 'volume')} in the orientation {code}; before: {before}"]
    if others:
        copied = f"{count(len(others), 'other file')} copied unchanged: {format_list(others, MAX_NAMES)}"
        lines.append(copied)
    return lines
