"""The reader's own nnU-Net raw data set, checked, and split into cases to train on and unseen ones."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from maskmed_nnu.dataset_json import read_dataset_json
from maskmed_nnu.errors import InputError
from maskmed_nnu.file_state import folder_state
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.output_paths import refuse_output_over_input

HELD_OUT_FRACTION = 0.2
MADE_FROM = "made_from.json"


class Case(NamedTuple):
    """The files of one case: an image per channel, and its label map."""

    name: str
    images: list[Path]
    label: Path


def read_raw_dataset(folder: Path) -> tuple[dict, list[Case]]:
    """``dataset.json`` and the training cases, sorted by name, of an nnU-Net raw data set.

    Raises:
        InputError: where something that nnU-Net needs is missing or does not fit together.
    """
    description = _read_description(folder)
    channels = len(description["channel_names"])
    ending = description["file_ending"]
    if "dataset" in description:
        cases = [
            Case(name, [folder / os.path.expandvars(i) for i in files["images"]], folder / files["label"])
            for name, files in sorted(description["dataset"].items())
        ]
    else:
        for part in ("imagesTr", "labelsTr"):
            if not (folder / part).is_dir():
                raise InputError(
                    f"{folder} has no folder {part}; an nnU-Net raw data set holds dataset.json, imagesTr and labelsTr."
                )
        images: dict[str, list[Path]] = {}
        for path in sorted((folder / "imagesTr").glob(f"*{ending}")):
            match = re.fullmatch(r"(.+)_\d{4}", path.name.removesuffix(ending))
            if match:
                images.setdefault(match[1], []).append(path)
        cases = [Case(name, files, folder / "labelsTr" / (name + ending)) for name, files in sorted(images.items())]
    if len(cases) < 2:
        raise InputError(
            f"{folder / 'imagesTr'} holds {len(cases)} case(s) named CASE_0000{ending}; at least 2 are needed, one to "
            f"train on and one to test on."
        )
    for case in cases:
        if len(case.images) != channels:
            raise InputError(
                f"Case {case.name} has {len(case.images)} channel(s) in imagesTr, but channel_names in dataset.json "
                f"lists {channels}; give every case one file per channel, {case.name}_0000{ending} and so on."
            )
        for path in [*case.images, case.label]:
            if not path.is_file():
                raise InputError(
                    f"Case {case.name} has no file {path}; every case needs its images in imagesTr and a label map of "
                    f"the same name in labelsTr."
                )
    return description, cases


def split(cases: list[Case]) -> tuple[list[Case], list[Case]]:
    """Training and unseen cases: the last fifth in sorted order, at least one, is held out.

    A contiguous piece, because scans of one patient usually have neighbouring names.
    """
    held_out = max(1, round(HELD_OUT_FRACTION * len(cases)))
    return cases[:-held_out], cases[-held_out:]


def hold_out(source: Path, raw: Path) -> Path:
    """Recreate the data set `source` in the folder `raw`, with a fifth of its cases moved to imagesTs/labelsTs.

    The files are links where the file system has them, else copies. What was held out before is kept while the files
    in `source` are the same. Returns the new data set's folder.

    Raises:
        InputError: where `source` is not a raw data set, or the folder was made from other files.
    """
    source = source.resolve()
    description, cases = read_raw_dataset(source)
    name = source.name if re.fullmatch(r"Dataset\d{3}_.+", source.name) else f"Dataset900_{source.name}"
    folder = raw / name
    training, unseen = split(cases)
    description = {k: v for k, v in description.items() if k != "dataset"}
    description |= {"numTraining": len(training), "held_out_from": str(source)}
    refuse_output_over_input([folder], [source], advice="name another folder with --out")
    finished, made_from = folder / "dataset.json", folder / MADE_FROM
    files = folder_state(path for case in cases for path in (*case.images, case.label))
    if folder.is_dir() and any(folder.iterdir()):
        same = made_from.is_file() and read_json(made_from, expected="the list of files that it was made from") == files
        if finished.is_file() and same and read_json(finished, expected="a dataset.json") == description:
            return folder
        if finished.is_file() or not made_from.is_file():
            raise InputError(
                f"{folder} was not made from the present content of {source}, or was made by another version; name a "
                "new folder with --out or delete it."
            )
        shutil.rmtree(folder)  # an earlier run was stopped there
    folder.mkdir(parents=True, exist_ok=True)
    write_json(made_from, files)
    ending = description["file_ending"]
    for part, group in (("Tr", training), ("Ts", unseen)):
        for case in group:
            for channel, image in enumerate(case.images):
                _link(image, folder / f"images{part}" / f"{case.name}_{channel:04d}{ending}")
            _link(case.label, folder / f"labels{part}" / f"{case.name}{ending}")
            for kind, file in (("images", case.images[0]), ("labels", case.label)):
                spacing = file.parent / f"{case.name}.json"
                if spacing.is_file():
                    _link(spacing, folder / (kind + part) / spacing.name)
    write_json(finished, description, indent=2)
    return folder


def _read_description(folder: Path) -> dict:
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder; --data takes an nnU-Net raw data set such as nnUNet_raw/Dataset004_X."
        )
    path = folder / "dataset.json"
    if not path.is_file():
        raise InputError(
            f"{folder} has no dataset.json; an nnU-Net raw data set holds dataset.json, imagesTr and labelsTr."
        )
    description = read_dataset_json(path, needs=("channel_names", "labels", "file_ending"))
    channels = description.pop("modality", None)  # version 1's name, which nnU-Net's integrity check does not take
    return {"channel_names": channels, **description}


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
