"""``--verify_dataset_integrity``: our checks first, then nnU-Net's own.

Ours look at every file of a data set of objects, and at the orientations in any other.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Sequence
from os.path import isfile
from pathlib import Path
from typing import Any

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.annotation_quirks import quirk_warnings
from maskmed_nnu.instances.case_names import name_clashes, unsafe_name
from maskmed_nnu.instances.conversion.source_images import check_spacing
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.instances.integrity import LabelMapIssues, check_label_map
from maskmed_nnu.instances.label_plausibility import check_lossless
from maskmed_nnu.instances.text import count, format_faults, format_shape
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.experiment_planning.data_set_grids import check_data_set_orientations, training_cases
from maskmed_nnu.nnunet.preprocessing.grid_checks import check_grid


def wrap_verification(module: Any) -> None:
    """Wrap ``verify_dataset_integrity`` in the module of that name in ``nnunetv2.experiment_planning``.

    Ours come first, because in nnU-Net's pool of processes a file that cannot be read ends a worker for good.
    """
    stock = module.verify_dataset_integrity

    @functools.wraps(stock)
    def verify_dataset_integrity(folder: str, num_processes: int = 8) -> None:
        path = Path(folder) / "dataset.json"
        if path.is_file():
            dataset_json = read_json(path, expected="nnU-Net's dataset.json")
            if isinstance(dataset_json, dict):
                if dataset_json.get("overwrite_image_reader_writer") == "InstanceIO":
                    verify_instances(folder, dataset_json, num_processes)
                check_data_set_orientations(folder, dataset_json)
        stock(folder, num_processes)

    module.verify_dataset_integrity = verify_dataset_integrity


def verify_instances(folder: str | Path, dataset_json: dict, num_processes: int) -> None:
    """Check every case of a raw data set, and warn of what may stay.

    Raises:
        InputError: one for all faults of all files.
    """
    label_format = LabelFormat.from_dataset_json(dataset_json)
    cases = training_cases(folder, dataset_json)
    if not cases:
        ending = dataset_json.get("file_ending")
        raise InputError(
            f"{Path(folder) / 'imagesTr'} holds no image that ends with _0000{ending}; put one there for each case, or "
            "correct file_ending in dataset.json."
        )
    jobs = [
        (case["images"], case["label"], len(dataset_json["channel_names"]), label_format) for case in cases.values()
    ]
    if num_processes > 1:
        with multiprocessing.get_context("spawn").Pool(min(num_processes, len(jobs))) as pool:
            issues = pool.starmap(check_instance_case, jobs)
    else:
        issues = [check_instance_case(*job) for job in jobs]
    faults = _illegal_names([str(name) for name in cases]) + [
        fault for case_issues in issues for fault in case_issues.faults
    ]
    faults += _labels_without_image(folder, dataset_json, cases)
    quirks = {Path(case["label"]).name: found.quirks for case, found in zip(cases.values(), issues, strict=True)}
    for warning in quirk_warnings(quirks):
        print(f"WARNING: {warning}")
    if faults:
        raise InputError(f"The data set {Path(folder).name} has {format_faults(faults)}")


def check_instance_case(images: Sequence[str], label: str, channels: int, label_format: LabelFormat) -> LabelMapIssues:
    """What is wrong with one case, in sentences that name the file. Raises nothing: it runs in a pool of processes."""
    from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO, spacing_file

    faults = [f"{path} does not exist, but its case has other channels." for path in images if not isfile(path)]
    if not isfile(label):
        faults.append(f"{label} does not exist; {images[0]} needs a label file, all 0 if it has no object.")
    if faults:
        return LabelMapIssues(faults)
    try:
        data, _ = InstanceIO().read_images(images)
        raw = read_ids(label, overlap_layers=label_format.overlap_layers)
        check_lossless(Path(label))
        if not spacing_file(images[0]).is_file():  # which comes before what the TIFFs tell
            check_spacing(Path(label), Path(images[0]))
    except InputError as error:
        return LabelMapIssues([str(error)])
    faults = _mismatches(images, label, data, raw, channels) + check_grid(images, label, reader="InstanceIO").faults
    issues = check_label_map(raw, label_format)
    return LabelMapIssues(faults + [f"{label}: {fault}" for fault in issues.faults], issues.quirks)


def explain_failure(folder: str | Path, dataset_json: dict) -> None:
    """Name the first case at which nnU-Net fails without a name: its files do not fit together, or hold NaN.

    Raises:
        InputError: for that case, or for a file that cannot be read.
    """
    from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO

    label_format = LabelFormat.from_dataset_json(dataset_json)
    for case in training_cases(folder, dataset_json).values():
        data, _ = InstanceIO().read_images(case["images"])
        raw = read_ids(case["label"], overlap_layers=label_format.overlap_layers)
        faults = _mismatches(case["images"], case["label"], data, raw, len(dataset_json["channel_names"]))
        if faults:
            raise InputError(faults[0])


def _mismatches(images: Sequence[str], label: str, data: np.ndarray, raw: np.ndarray, channels: int) -> list[str]:
    """Where ``data [C, Z, Y, X]`` and ``raw [L, *spatial]`` of a case are not on one grid, or not what was declared;
    and voxels that are no numbers, of which nnU-Net's arithmetic dies, too."""
    faults = []
    if len(data) != channels:
        faults.append(
            f"{', '.join(images)}: {count(len(data), 'channel')}, but dataset.json names {channels} in channel_names."
        )
    broken = data.size - np.count_nonzero(np.isfinite(data))
    if broken:
        faults.append(
            f"{', '.join(images)}: {broken} of {data.size} values are NaN or infinite; replace them, for example with "
            "the background's intensity."
        )
    grid = raw.shape[1:] if raw.ndim == 4 else (1, *raw.shape[1:])
    if grid != data.shape[1:]:
        sizes = [format_shape(shape[1:] if shape[0] == 1 else shape) for shape in (grid, data.shape[1:])]
        pages = (
            "" if len(raw) > 1 or grid[0] == 1 else ' (layers of objects need "overlap_layers": true in dataset.json)'
        )
        faults.append(
            f"{label} has the size {sizes[0]}, its image {sizes[1]}; a mask and its image must be on the same "
            f"grid{pages}, so resample or replace one of them."
        )
    return faults


def _illegal_names(names: Sequence[str]) -> list[str]:
    """Names of cases that break something later."""
    reasons = {name: reason for name in names if (reason := unsafe_name(name))}
    faults = [f"The case name {name!r} {reason}; rename its image and label files." for name, reason in reasons.items()]
    clashes = name_clashes(name for name in names if name not in reasons)
    return faults + [f"The case names {clash}; rename the files of one of them." for clash in clashes]


def _labels_without_image(folder: str | Path, dataset_json: dict, cases: dict) -> list[str]:
    """Label files in ``labelsTr`` that belong to no case."""
    if "dataset" in dataset_json:  # nnU-Net's list of cases with paths of their own
        return []
    labels = {str(path) for path in (Path(folder) / "labelsTr").glob(f"*{dataset_json['file_ending']}")}
    strays = sorted(labels - {str(Path(case["label"])) for case in cases.values()})
    return [f"{path} has no image in imagesTr; add the image or remove the label file." for path in strays]
