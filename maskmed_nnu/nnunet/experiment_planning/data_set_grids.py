"""Before a data set is planned: whether its volumes lie on grids that their reader can take, all in the same
orientation.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import VOLUMES
from maskmed_nnu.instances.text import format_faults
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.preprocessing.grid_checks import GridIssues, check_grid
from maskmed_nnu.nnunet.preprocessing.orientation_checks import (
    check_orientations,
    partners_by_name,
    read_codes,
    tell_once,
)


def check_grids(dataset_name_or_id: str | int) -> None:
    """Check every case by its headers, and print what may stay. Nothing is said where files are missing: nnU-Net does.

    Raises
    ------
    InputError
        One for all faults.
    """
    name = maybe_convert_to_dataset_name(dataset_name_or_id)
    folder = Path(nnUNet_raw) / name
    if not (folder / "dataset.json").is_file():
        return
    description = read_json(folder / "dataset.json", expected="a dataset.json")
    cases, reader = volume_cases(folder, description)
    issues = GridIssues()
    for case in cases:
        issues.add(check_grid(case["images"], case["label"], reader=reader))
    for note in issues.notes():
        print(f"Note: {note}", flush=True)
    if issues.faults:
        raise InputError(f"The data set {name} has {format_faults(issues.faults)}")
    _tell_orientations(name, description, issues.codes, reader)


def check_data_set_orientations(folder: str | Path, description: dict[str, Any]) -> None:
    """Whether the volumes of a raw data set are stored in the same orientation, by the headers of its images alone.

    Raises
    ------
    InputError
        Where they are not, and names of classes tell left from right.
    """
    codes, reader = training_codes(Path(folder), description)
    _tell_orientations(Path(folder).name, description, codes, reader)


def training_codes(folder: Path, description: dict[str, Any]) -> tuple[dict[str, str], str]:
    """The orientation code of each case's first image in a raw data set, as its reader gives the array, and the
    reader's name.

    Of pictures, and volumes that do not say how they lie, there are none.
    """
    cases, reader = volume_cases(folder, description)
    return read_codes([case["images"][0] for case in cases], reader=reader), reader


def _tell_orientations(name: str, description: dict[str, Any], codes: dict[str, str], reader: str) -> None:
    partners = partners_by_name(description, reader=reader)
    warning = check_orientations(codes, partners=partners, reader=reader, data_set=name)
    if warning is not None:
        tell_once(warning)


def training_cases(folder: str | Path, description: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The training's cases (``images`` and ``label``, paths) of a raw data set by name; none where it lists none."""
    if "dataset" not in description and not (Path(folder) / "imagesTr").is_dir():
        return {}
    # a copy, for nnU-Net writes absolute paths into it
    return get_filenames_of_train_images_and_targets(str(folder), copy.deepcopy(dict(description)))


def volume_cases(folder: Path, description: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The training's cases (``images`` and ``label``, paths) of a raw data set of volumes, and their reader's name.

    None of a data set of another kind, or one that nnU-Net will refuse.
    """
    if description.get("file_ending") not in VOLUMES:
        return [], ""
    cases = [case for case in training_cases(folder, description).values() if case["images"]]
    if not cases:
        return [], ""
    try:
        reader = determine_reader_writer_from_dataset_json(dict(description), cases[0]["images"][0], verbose=False)
    except RuntimeError:  # no reader takes the first image
        return [], ""
    return cases, reader.__name__
