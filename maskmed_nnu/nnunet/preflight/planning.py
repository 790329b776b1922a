"""Before nnU-Net's fingerprint, planning and preprocessing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.preflight.disk import bytes_in, room_faults
from maskmed_nnu.nnunet.preflight.faults import Fault, read_file
from maskmed_nnu.nnunet.preflight.folders import data_set_faults, environment_faults, find_data_set, folder_of
from maskmed_nnu.nnunet.preflight.raw_data import RawDataSet, check_raw_data, ending_and_channels

CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
"""Those that nnU-Net's planner makes."""
FULL_SIZE = ("2d", "3d_fullres")
IMAGE_BYTES, LABEL_BYTES = 4, 2
"""Of a voxel: float32 for each channel, int16 for its label."""
LEAST_SHARE = 0.1
"""What is left of that at least, cropped to what is not black and compressed."""


def planning_faults(
    data_sets: Sequence[int],
    *,
    planner: str,
    planned: Sequence[str] = CONFIGURATIONS,
    configurations: Sequence[str] = (),
    verify: bool = False,
) -> list[Fault]:
    """``planned`` are the configurations that ``planner`` makes; ``configurations`` are to be preprocessed."""
    faults = list(environment_faults(reads="nnUNet_raw", writes="nnUNet_preprocessed"))
    if not data_sets:
        faults.append(Fault("-d", "no data set is named", "add -d with its number"))
    faults += _configuration_faults(planner, planned, configurations)
    needed = 0
    for number in map(str, dict.fromkeys(data_sets)):
        faults += data_set_faults(number, inside="nnUNet_raw", option=f"-d {number}")
        name, raw = find_data_set(number, inside="nnUNet_raw"), folder_of("nnUNet_raw")
        if name is None or raw is None:
            continue
        data = check_raw_data(raw / name, verify=verify)
        faults += data.faults
        full_size = [one for one in configurations if one in FULL_SIZE and one in planned]
        needed += len(full_size) * preprocessed_bytes(data) - _freed(name, full_size, planner=planner)
    return [*faults, *_room_faults(needed)]


def preprocessing_faults(data_sets: Sequence[int], *, plans: str, configurations: Sequence[str]) -> list[Fault]:
    """Before ``nnUNetv2_preprocess`` with plans of ours, which are there."""
    parent = Path(os.environ["nnUNet_preprocessed"])
    faults: list[Fault] = []
    for number in map(str, data_sets):
        path = parent / str(find_data_set(number, inside="nnUNet_preprocessed")) / f"{plans}.json"
        content, more = read_file(path, expected="nnU-Net's plans")
        faults += more
        if not isinstance(content, dict):
            continue
        planner, planned = content.get("experiment_planner_used", ""), list(content.get("configurations", ()))
        chosen = [one for one in configurations if one in planned] or list(configurations)
        more = planning_faults([int(number)], planner=planner, planned=planned, configurations=chosen)
        faults += [fault for fault in more if fault not in faults]
    return faults


def fingerprint_faults(data_sets: Sequence[int]) -> Iterator[Fault]:
    """Before ``nnUNetv2_plan_experiment``."""
    parent = folder_of("nnUNet_preprocessed")
    for number in map(str, data_sets):
        name = find_data_set(number, inside="nnUNet_raw")
        if name is not None and not (parent and (parent / name / FINGERPRINT).is_file()):
            cure = f"run nnUNetv2_extract_fingerprint -d {number} first"
            yield Fault(FINGERPRINT, f"it is missing in nnUNet_preprocessed/{name}", cure)


FINGERPRINT = "dataset_fingerprint.json"


def _room_faults(needed: int) -> Iterator[Fault]:
    preprocessed = os.environ.get("nnUNet_preprocessed")
    if needed > 0 and preprocessed:
        what = "the preprocessed images (4 bytes for each voxel and channel, 2 for its label, before compression)"
        where = "nnUNet_preprocessed"
        yield from room_faults(Path(preprocessed), needed, where, what, least=LEAST_SHARE)


def preprocessed_bytes(data: RawDataSet) -> int:
    """Of one configuration at the images' own resolution, before compression."""
    channels = ending_and_channels(data.description)[1] if data.description is not None else None
    return data.values * IMAGE_BYTES + data.values // (channels or 1) * LABEL_BYTES


def _configuration_faults(planner: str, planned: Sequence[str], configurations: Sequence[str]) -> Iterator[Fault]:
    unknown = [one for one in configurations if one not in (*CONFIGURATIONS, *planned)]
    if unknown:
        what = f"nnU-Net plans no configuration {' and no '.join(unknown)}, and would skip it"
        yield Fault("-c", what, f"{planner} plans {', '.join(planned)}")
    elif configurations and not set(configurations) & set(planned):
        what = f"{planner} does not plan {' or '.join(configurations)}, so nothing would be preprocessed"
        yield Fault("-c", what, f"add -c {' '.join(planned)}")


def _freed(name: str, configurations: Sequence[str], *, planner: str) -> int:
    """What an earlier run of the planner left, which nnU-Net deletes first."""
    parent = folder_of("nnUNet_preprocessed")
    freed = 0
    for path in (parent / name).glob("*.json") if parent is not None else ():
        try:
            plans = read_json(path, expected="plans")
        except InputError:
            continue
        if isinstance(plans, dict) and plans.get("experiment_planner_used") == planner:
            freed += sum(bytes_in(path.parent / f"{path.stem}_{one}") for one in configurations)
    return freed
