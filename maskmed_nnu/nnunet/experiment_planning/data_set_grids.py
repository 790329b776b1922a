"""Before a data set is planned: whether the files of each case lie on one grid that nnU-Net's reader can take."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import VOLUMES
from maskmed_nnu.instances.text import format_faults
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.preprocessing.grid_checks import GridIssues, check_grid


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
    listed = "dataset" in description or (folder / "imagesTr").is_dir()
    if description.get("file_ending") not in VOLUMES or not listed:
        return
    cases = list(get_filenames_of_train_images_and_targets(str(folder), description).values())
    if not cases:
        return
    try:
        reader = determine_reader_writer_from_dataset_json(description, cases[0]["images"][0], verbose=False)
    except RuntimeError:  # no reader takes the first image
        return
    issues = GridIssues()
    for case in cases:
        issues.add(check_grid(case["images"], case["label"], reader=reader.__name__))
    for note in issues.notes():
        print(f"Note: {note}", flush=True)
    if issues.faults:
        raise InputError(f"The data set {name} has {format_faults(issues.faults)}")
