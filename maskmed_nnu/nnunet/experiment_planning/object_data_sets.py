"""Whether a raw data set is one of objects that can be planned."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from maskmed_nnu.dataset_json import read_dataset_json
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.files import LABEL_ENDINGS
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.nnunet.experiment_planning import instance_rules
from maskmed_nnu.nnunet.experiment_planning.data_set_grids import check_grids
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO

READER = InstanceIO.__name__


def check_data_set(name: str) -> None:
    """Read label files until one has an object.

    Raises
    ------
    InputError
        For a data set of another kind, files that are not on one grid, or no object at all.
    """
    folder = Path(nnUNet_raw) / name
    if not (folder / "dataset.json").is_file():
        return  # nnU-Net says so
    dataset = read_dataset_json(folder / "dataset.json")
    check_reader(name, dataset)
    check_grids(name)
    classes = LabelFormat.from_dataset_json(dataset).classes
    files = [case["label"] for case in get_filenames_of_train_images_and_targets(str(folder), dataset).values()]
    if not any(len(InstanceIO().read_instances(file)[0].classes) for file in files):
        raise instance_rules.no_instances_error(name, len(files), classes)


def check_reader(name: str, dataset_json: dict) -> None:
    """Refuse a data set whose label files are not of objects, or of a format that predictions cannot be written in.

    Raises
    ------
    InputError
    """
    if dataset_json.get("overwrite_image_reader_writer") != READER:
        raise InputError(
            f"{name} is a semantic data set: its dataset.json does not declare label files of objects "
            f'("overwrite_image_reader_writer": "{READER}"). Make a data set of objects from them with `maskmed '
            "convert`, or plan it with MaskMedPlanner."
        )
    ending = dataset_json.get("file_ending")
    if ending not in LABEL_ENDINGS:
        raise InputError(
            f"{name} has the file_ending {ending!r}, but objects are written as {', '.join(LABEL_ENDINGS)}; `maskmed "
            "convert` makes such a data set of files of other formats."
        )
