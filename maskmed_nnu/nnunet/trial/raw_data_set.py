"""The raw data set that a user names: found and checked without reading voxels, but for one image's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.formats.files import damage_told
from maskmed_nnu.instances.formats.volumes import read_header
from maskmed_nnu.nnunet.experiment_planning.data_set_grids import training_cases
from maskmed_nnu.nnunet.experiment_planning.object_data_sets import READER
from maskmed_nnu.nnunet.preflight.faults import Fault, refuse
from maskmed_nnu.nnunet.preflight.folders import data_set_faults, environment_faults, find_data_set, folder_of
from maskmed_nnu.nnunet.preflight.planning import preprocessed_bytes
from maskmed_nnu.nnunet.preflight.raw_data import check_raw_data


class DataSet(NamedTuple):
    """``cases`` are those of the training; ``bytes`` is what one configuration of it takes, preprocessed."""

    name: str
    folder: Path
    description: dict[str, Any]
    cases: dict[str, dict[str, Any]]
    notes: list[str]
    bytes: int

    @property
    def number(self) -> str:
        """As nnU-Net's commands take it."""
        return str(int(self.name[7:10]))

    @property
    def objects(self) -> bool:
        """Whether its label files are of objects."""
        return bool(self.description.get("overwrite_image_reader_writer") == READER)

    def is_flat(self) -> bool:
        """Whether its images are 2D, by the first one; of objects whether any is, for none may be in 3d_fullres."""
        cases = list(self.cases.values())
        return any(self._shows_one_slice(case["images"]) for case in (cases if self.objects else cases[:1]))

    def _shows_one_slice(self, images: list[str]) -> bool:
        from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

        if self.objects and formats.ending(images[0]) in formats.VOLUMES:
            with damage_told(Path(images[0])):
                return read_header(images[0]).size[2:3] in ((), (1,))
        reader = determine_reader_writer_from_dataset_json(self.description, images[0], verbose=False)
        try:
            data, _ = reader().read_images(images)
        except InputError:
            raise
        except Exception as error:  # nnU-Net's readers raise whatever their libraries do
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(f"{images[0]} cannot be read as an image ({reason}); copy it again.") from None
        return bool(data.shape[1] == 1)


def find_raw_data_set(data_set: str | int, *, purpose: str) -> DataSet:
    """The data set of that number or name in ``nnUNet_raw``.

    Raises:
        InputError: where there is none, or it cannot be planned.
    """
    wanted = str(data_set)
    faults: list[Fault] = [
        *environment_faults(reads="nnUNet_raw"),
        *data_set_faults(wanted, inside="nnUNet_raw", option="data set"),
    ]
    refuse(faults, command=purpose)
    name, raw = find_data_set(wanted, inside="nnUNet_raw"), folder_of("nnUNet_raw")
    if name is None or raw is None:
        raise InputError(f"data set: there is no {wanted} in nnUNet_raw; name it as in 10 or Dataset010_NAME.")
    data = check_raw_data(raw / name, verify=False)
    refuse(data.faults, command=purpose)
    description = data.description or {}
    cases = training_cases(raw / name, description)
    if not cases:
        raise InputError(f"{raw / name / 'imagesTr'} holds no training cases; put an image there for each label map.")
    notes = [fault.sentence for fault in data.faults if fault.note]
    return DataSet(name, raw / name, description, cases, notes, preprocessed_bytes(data))
