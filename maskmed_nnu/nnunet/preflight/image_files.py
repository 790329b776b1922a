"""The files in a folder of images, grouped into cases exactly as nnU-Net groups them, and what is wrong with them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from maskmed_nnu.instances.formats import ENDINGS
from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.preflight.faults import Fault, named
from maskmed_nnu.nnunet.preflight.headers import BY_ITK, Header, read_headers

KNOWN_ENDINGS = sorted({*ENDINGS, *BY_ITK, ".npy", ".npz", ".mhd", ".dcm"}, key=len, reverse=True)
CHANNEL = re.compile(r"(.+)_(\d{4})")


class Folder(NamedTuple):
    """``files`` end as they should; ``others`` do not, by their endings; ``broken`` are links to nothing or empty."""

    path: Path
    ending: str
    files: list[str]
    hidden: list[str]
    upper_case: list[str]
    others: Mapping[str, list[str]]
    broken: list[str]


def list_folder(path: Path, ending: str) -> Folder:
    """One look at every entry of an existing folder."""
    folder = Folder(path, ending, [], [], [], {}, [])
    others: dict[str, list[str]] = {}
    for entry in sorted(os.scandir(path), key=lambda e: e.name):
        name = entry.name
        if name.startswith("."):
            if name.endswith(ending) and entry.is_file():
                folder.hidden.append(name)
        elif name.endswith(ending):
            if entry.is_file() and entry.stat().st_size:
                folder.files.append(name)
            elif not entry.is_dir():
                folder.broken.append(name)
        elif name.lower().endswith(ending.lower()):
            folder.upper_case.append(name)
        else:
            kind = next((e for e in KNOWN_ENDINGS if name.lower().endswith(e)), None)
            if kind is not None:
                others.setdefault(kind, []).append(name)
    return folder._replace(others=others)


def folder_faults(folder: Folder, where: str, root: Path | None) -> Iterator[Fault]:
    """What is wrong whatever the files are: hidden, broken, of other endings."""
    if folder.hidden:
        what = f"{count(len(folder.hidden), 'hidden file')} that nnU-Net would read as images: {named(folder.hidden)}"
        yield Fault(
            where, what, f"delete them; run this in the folder:\nfind . -name '.*{folder.ending}' -delete", root
        )
    yield from broken_faults(folder, where, root)
    if folder.upper_case:
        what = f"{count(len(folder.upper_case), 'file')} not spelled {folder.ending}: {named(folder.upper_case)}"
        yield Fault(where, what, f"rename them to end in {folder.ending}", root)
    if folder.files or folder.upper_case or folder.broken:
        for kind, left_out in folder.others.items():
            what = f"{count(len(left_out), 'file')} ending in {kind}, not {folder.ending}: {named(left_out)}"
            yield Fault(where, what, "nnU-Net skips them", root, note=True)


def broken_faults(folder: Folder, where: str, root: Path | None) -> Iterator[Fault]:
    """Of files that are none."""
    if folder.broken:
        what = f"{count(len(folder.broken), 'unreadable file')} (empty, or a broken link): {named(folder.broken)}"
        yield Fault(where, what, "copy them again", root)


def image_faults(folder: Folder, where: str, root: Path | None, *, legal: str, nested: str) -> Iterator[Fault]:
    """Of a folder that must hold images.

    ``legal`` is what can be said of its ending; ``nested`` what to do where the images may lie in folders below.
    """
    yield from folder_faults(folder, where, root)
    if not (folder.files or folder.hidden or folder.upper_case or folder.broken):
        what = f"no image ends with _0000{folder.ending}"
        if folder.others:
            found = " and ".join(f"{len(names)} with {kind}" for kind, names in folder.others.items())
            yield Fault(where, f"{what}; {found}", f"convert the images to {folder.ending}{legal}", root)
        else:
            below = [e.name for e in sorted(os.scandir(folder.path), key=lambda e: e.name) if e.is_dir()]
            if below:
                yield Fault(where, f"{what}; there are folders: {named(below)}", nested, root)
            else:
                yield Fault(where, f"{what}; the folder is empty", "put images there", root)
    unnumbered = [name for name in folder.files if not CHANNEL.fullmatch(_stem(name, folder))]
    if unnumbered:
        first = _stem(unnumbered[0], folder)
        what = f"{count(len(unnumbered), 'file')} without a channel's number: {named(unnumbered)}"
        yield Fault(where, what, f"rename {first}{folder.ending} to {first}_0000{folder.ending}, and so on", root)


def cases_of(folder: Folder) -> dict[str, list[int]]:
    """The channels' numbers of each case, by its name."""
    cases: dict[str, list[int]] = {}
    for name in folder.files:
        match = CHANNEL.fullmatch(_stem(name, folder))
        if match:
            cases.setdefault(match[1], []).append(int(match[2]))
    return cases


def headers_of(folder: Folder) -> dict[str, Header]:
    """The header of each image, by the file's name."""
    return dict(zip(folder.files, read_headers([folder.path / name for name in folder.files]), strict=True))


class FaultyCases(NamedTuple):
    """``damaged`` files, cases with ``gaps`` in their numbers, and ``wrong`` ones by how many files they have."""

    damaged: list[str]
    gaps: list[str]
    wrong: dict[int, list[str]]


def faulty_cases(folder: Folder, headers: Mapping[str, Header], channels: int) -> FaultyCases:
    """Damaged files, and cases that cannot have as many channels as ``dataset.json`` declares.

    A file may hold several channels: those of a picture in colour, or of a NIfTI with four axes.
    """
    faulty = FaultyCases([name for name, header in headers.items() if header.damaged], [], {})
    for case, numbers in cases_of(folder).items():
        of_case = [headers[f"{case}_{number:04d}{folder.ending}"] for number in numbers]
        if numbers != list(range(len(numbers))):
            faulty.gaps.append(case)
        elif len(numbers) > channels or (len(numbers) < channels and _cannot_hold(of_case, channels)):
            faulty.wrong.setdefault(len(numbers), []).append(case)
    return faulty


def sound_cases(folder: Folder, faulty: FaultyCases) -> set[str]:
    """The names of the cases that are none of the faulty ones."""
    damaged = {_stem(name, folder)[:-5] for name in (*faulty.damaged, *folder.broken)}
    return (
        set(cases_of(folder)) - damaged - {*faulty.gaps, *(case for cases in faulty.wrong.values() for case in cases)}
    )


def channel_faults(
    folder: Folder, faulty: FaultyCases, channels: int, where: str, root: Path | None
) -> Iterator[Fault]:
    """What there is to say of `faulty_cases`."""
    if faulty.damaged:
        what = f"{count(len(faulty.damaged), 'file')} whose header cannot be read: {named(faulty.damaged)}"
        yield Fault(where, what, f"copy them again, or save them as {folder.ending}", root)
    numbers_needed = "_0000" if channels == 1 else f"_0000 to _{channels - 1:04d}"
    if faulty.gaps:
        what = f"{count(len(faulty.gaps), 'case')} with a gap in the channels' numbers: {named(faulty.gaps)}"
        yield Fault(where, what, f"give each case the files {numbers_needed}", root)
    for number, of_number in sorted(faulty.wrong.items()):
        what = f"{count(len(of_number), 'case')} with {count(number, 'file')}: {named(of_number)}"
        what += f"; dataset.json declares {count(channels, 'channel')}"
        yield Fault(where, what, f"give each case the files {numbers_needed}, or correct channel_names", root)


def _cannot_hold(headers: list[Header], channels: int) -> bool:
    held = [header.max_channels for header in headers]
    return None not in held and sum(filter(None, held)) < channels


def _stem(name: str, folder: Folder) -> str:
    return name[: -len(folder.ending)]
