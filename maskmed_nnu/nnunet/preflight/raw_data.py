"""A raw data set: its ``dataset.json``, its images, and a label map for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.dataset_json import dataset_json_faults
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.case_names import name_clashes, unsafe_name
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.preflight.faults import Fault, count, encoding_faults, named
from maskmed_nnu.nnunet.preflight.headers import read_headers
from maskmed_nnu.nnunet.preflight.image_files import (
    Folder,
    cases_of,
    channel_faults,
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
    if isinstance(description.get("dataset"), dict):
        more, values = _listed_cases(root, description["dataset"])
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
    faults += image_faults(
        folder, images.name, root, legal=legal, nested="put the images there, not into folders below"
    )
    headers = headers_of(folder)
    if channels:
        faults += channel_faults(folder, headers, channels, images.name, root)
    cases = sorted(cases_of(folder))
    faults += _name_faults(cases, root, verify)
    if labels.is_dir():
        faults += _label_faults(cases, list_folder(labels, ending), root)
    faults += _number_faults(description, len(cases), root, verify)
    return RawDataSet(faults, description, sum(header.values or 0 for header in headers.values()))


def read_description(root: Path) -> tuple[dict[str, Any] | None, list[Fault]]:
    """The content of ``dataset.json`` where it is a JSON object, and what is wrong with it."""
    path = root / DESCRIPTION
    try:
        description = read_json(path, expected="nnU-Net's description of a data set")
    except InputError as error:
        what, _, cure = str(error).removeprefix(f"{path} ").removesuffix(".").partition("; ")
        return None, [Fault(DESCRIPTION, f"it {what}", cure, root)]
    faults = encoding_faults(root, DESCRIPTION)
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


def _listed_cases(root: Path, cases: dict[str, Any]) -> tuple[list[Fault], int]:
    """Where ``dataset.json`` names every file itself."""
    images, missing = [], []
    for case in cases.values():
        listed = [root / os.path.expandvars(name) for name in case.get("images", [])]
        files = [*listed, root / os.path.expandvars(case.get("label", ""))]
        missing += [path for path in files if not path.is_file()]
        images += [path for path in listed if path.is_file()]
    values = sum(header.values or 0 for header in read_headers(images))
    what = f"{count(len(missing), 'file')} of its list of cases that do not exist: {named(missing)}"
    cure = 'correct the paths below "dataset"'
    return ([Fault(DESCRIPTION, what, cure, root)] if missing else []), values


def _name_faults(cases: list[str], root: Path, verify: bool) -> Iterator[Fault]:
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
        yield Fault("imagesTr", what, _RENAME, root, note=not (verify or breaks))
    clashes = name_clashes(cases)
    if clashes:
        what = f"{count(len(clashes), 'pair')} of cases whose names clash: {named(clashes)}"
        yield Fault("imagesTr", what, _RENAME, root, note=not verify)


_RENAME = "rename its images and its label map"


def _label_faults(cases: list[str], labels: Folder, root: Path) -> Iterator[Fault]:
    ending, where = labels.ending, labels.path.name
    if labels.broken:
        what = f"{count(len(labels.broken), 'file')} without content, or links to nothing: {named(labels.broken)}"
        yield Fault(where, what, "copy them again", root)
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
        yield Fault(where, what, "nnU-Net leaves them out", root, note=True)


def _number_faults(description: dict[str, Any], cases: int, root: Path, verify: bool) -> Iterator[Fault]:
    declared = description.get("numTraining")
    if isinstance(declared, int) and cases and declared != cases:
        what = f"numTraining is {declared}, but imagesTr holds {count(cases, 'case')}"
        yield Fault(DESCRIPTION, what, f"write {cases}, or add what is missing", root, note=not verify)
