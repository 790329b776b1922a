"""A raw data set: its ``dataset.json``, its images, and a label map for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.dataset_json import dataset_json_faults, lists_cases
from maskmed_nnu.instances.case_names import name_clashes, unsafe_name
from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.preflight.faults import Fault, named, read_file
from maskmed_nnu.nnunet.preflight.headers import read_headers
from maskmed_nnu.nnunet.preflight.image_files import (
    Folder,
    broken_faults,
    cases_of,
    channel_faults,
    faulty_cases,
    headers_of,
    image_faults,
    list_folder,
)

DESCRIPTION = "dataset.json"


class RawDataSet(NamedTuple):
    """``values``: numbers in all its images; ``description``: what ``dataset.json`` holds, or None."""

    faults: list[Fault]
    description: dict[str, Any] | None
    values: int


def check_raw_data(root: Path, *, verify: bool) -> RawDataSet:
    """Everything about the data set in ``root`` that can be told without reading voxels.

    With ``verify``, names that are merely unwise are faults, too, as is a wrong ``numTraining``.
    """
    description, faults = read_description(root)
    if description is None:
        return RawDataSet(faults, None, 0)
    ending, channels = ending_and_channels(description)
    if "dataset" in description:
        if not lists_cases(description["dataset"]):
            return RawDataSet(faults, description, 0)
        more, values = _listed_cases(root, description["dataset"], channels)
        more += _name_faults(sorted(description["dataset"]), DESCRIPTION, root, verify)
        more += _number_faults(description, len(description["dataset"]), "its list of cases", root, verify)
        return RawDataSet([*faults, *more], description, values)
    if ending is None:
        return RawDataSet(faults, description, 0)
    images, labels = root / "imagesTr", root / "labelsTr"
    for needed in (images, labels):
        if not needed.is_dir():
            faults.append(Fault(needed.name, "there is no such folder", "put the training cases there", root))
    if not images.is_dir():
        return RawDataSet(faults, description, 0)
    folder = list_folder(images, ending)
    legal = f", or write the right file_ending into {DESCRIPTION}"
    nested = "put the images there, not into subfolders"
    of_files = list(image_faults(folder, images.name, root, legal=legal, nested=nested))
    faults += of_files
    headers = headers_of(folder)
    if channels:
        faults += channel_faults(folder, faulty_cases(folder, headers, channels), channels, images.name, root)
    cases = sorted(cases_of(folder))
    faults += _name_faults(cases, images.name, root, verify)
    if labels.is_dir():
        faults += _label_faults(cases, list_folder(labels, ending), root)
    if all(fault.note for fault in of_files):  # others change the number
        faults += _number_faults(description, len(cases), images.name, root, verify)
    return RawDataSet(faults, description, sum(header.values or 0 for header in headers.values()))


def read_description(root: Path) -> tuple[dict[str, Any] | None, list[Fault]]:
    """The content of ``dataset.json`` where it is a JSON object, and what is wrong with it."""
    description, faults = read_file(root / DESCRIPTION, expected="nnU-Net's description of a data set")
    if description is None and faults:
        return None, faults
    for sentence in dataset_json_faults(description, DESCRIPTION):
        what, _, cure = sentence.removeprefix(f"{DESCRIPTION}: ").removesuffix(".").partition("; ")
        faults.append(Fault(DESCRIPTION, what, cure or "correct it", root))
    return (description if isinstance(description, dict) else None), faults


def ending_and_channels(description: dict[str, Any]) -> tuple[str | None, int | None]:
    """What is meant, where it is not quite written as it should be; None where nothing is."""
    ending = description.get("file_ending")
    if not isinstance(ending, str) or not ending.strip("."):
        ending = None
    elif not ending.startswith("."):
        ending = f".{ending}"
    channels = description.get("channel_names") or description.get("modality")
    return ending, len(channels) if isinstance(channels, (dict, list)) else None


def _listed_cases(root: Path, cases: dict[str, Any], channels: int | None) -> tuple[list[Fault], int]:
    """Where ``dataset.json`` names every file itself."""
    images, missing, cure = [], [], 'correct the paths below "dataset"'
    for case in cases.values():
        listed = [root / os.path.expandvars(name) for name in case["images"]]
        missing += [path for path in (*listed, root / os.path.expandvars(case["label"])) if not path.is_file()]
        images += [path for path in listed if path.is_file()]
    headers = dict(zip(images, read_headers(images), strict=True))
    faults = []
    if missing:
        what = f"{count(len(missing), 'file')} of its list of cases that do not exist: {named(missing)}"
        faults.append(Fault(DESCRIPTION, what, cure, root))
    damaged = [path for path, header in headers.items() if header.damaged]
    if damaged:
        what = f"{count(len(damaged), 'file')} of its list of cases whose header cannot be read: {named(damaged)}"
        faults.append(Fault(DESCRIPTION, what, "copy them again", root))
    many = [name for name, case in cases.items() if not case["images"] or len(case["images"]) > (channels or 2**16)]
    if many:
        what = f"{count(len(many), 'case')} of its list with no image, or more than there are channels: {named(many)}"
        faults.append(Fault(DESCRIPTION, what, "list one image for each of channel_names", root))
    return faults, sum(header.values or 0 for header in headers.values())


def _name_faults(cases: list[str], where: str, root: Path, verify: bool) -> Iterator[Fault]:
    reasons: dict[str, list[str]] = {}
    for case in cases:
        reason = unsafe_name(case)
        if reason is not None:
            reasons.setdefault(reason, []).append(case)
    for reason, unsafe in reasons.items():
        what = f"{count(len(unsafe), 'name')} of cases that {reason}: {named(unsafe)}"
        if len(unsafe) == 1:
            what = f"the case's name {unsafe[0]} {reason}"
        breaks = all(case.lower().endswith("_seg") for case in unsafe)
        yield Fault(where, what, _RENAME, root, note=not (verify or breaks))
    clashes = name_clashes(cases)
    if clashes:
        what = f"{count(len(clashes), 'pair')} of cases whose names clash: {named(clashes)}"
        yield Fault(where, what, _RENAME, root, note=not verify)


_RENAME = "rename its images and its label map"


def _label_faults(cases: list[str], labels: Folder, root: Path) -> Iterator[Fault]:
    ending, where = labels.ending, labels.path.name
    yield from broken_faults(labels, where, root)
    stems = {name[: -len(ending)] for name in labels.files}
    numbered = [case for case in cases if case not in stems and f"{case}_0000" in stems]
    broken = {name[: -len(ending)] for name in labels.broken}
    missing = [case for case in cases if case not in stems and case not in numbered and case not in broken]
    if numbered:
        what = f"{count(len(numbered), 'label map')} with a channel's number, which only images have: "
        what += named(f"{case}_0000{ending}" for case in numbered)
        yield Fault(where, what, f"rename {numbered[0]}_0000{ending} to {numbered[0]}{ending}, and so on", root)
    if missing:
        what = f"{count(len(missing), 'image')} without a label map: {named(missing)}"
        cure = f"add {missing[0]}{ending} and so on, or move the images elsewhere"
        if labels.others:
            found = " and ".join(f"{len(files)} with {kind}" for kind, files in labels.others.items())
            what, cure = f"{what}; other files end {found}", f"convert the label maps to {ending}, the images' ending"
        yield Fault(where, what, cure, root)
    idle = sorted(stems - {*cases, *(f"{case}_0000" for case in numbered)})
    if idle:
        what = f"{count(len(idle), 'label map')} without an image: {named(idle)}"
        yield Fault(where, what, "nnU-Net skips them", root, note=True)


def _number_faults(description: dict[str, Any], cases: int, place: str, root: Path, verify: bool) -> Iterator[Fault]:
    declared = description.get("numTraining")
    if isinstance(declared, int) and cases and declared != cases:
        what = f"numTraining is {declared}, but {place} holds {count(cases, 'case')}"
        yield Fault(DESCRIPTION, what, f"write {cases}, or add what is missing", root, note=not verify)
