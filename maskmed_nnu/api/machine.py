"""Check a machine for nnU-Net and maskmed_nnu."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskmed_nnu.cpus import cpu_count
from maskmed_nnu.errors import InputError

OK, WARNING, PROBLEM = "ok", "warning", "problem"
GB = 1e9
LITTLE_SHARED_MEMORY = 1.0
"""GB, for the batches that workers of the augmentation hand over; containers often have 0.064."""


@dataclass(frozen=True)
class Check:
    """One check: ``status`` is "ok", "warning" or "problem", ``cure`` is what to do."""

    name: str
    status: str
    found: str
    cure: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The result of `doctor`."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is no problem; there may be warnings."""
        return all(check.status != PROBLEM for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}


def doctor(plan: str | Path | None = None, *, dataset: str | int | None = None) -> Diagnosis:
    """Check versions, devices, nnU-Net's folders, discovery, memory and disk.

    Parameters
    ----------
    plan
        A plans.json whose needs are compared with this machine; with ``dataset`` the name of its plans.
    dataset
        Number or name of a data set in ``nnUNet_preprocessed``.

    Raises
    ------
    InputError
        If the plan does not exist, or is not a plans file.
    """
    plans = _read_plans(plan, dataset)
    checks = [*_releases(), *_devices(), *_folders(), *_discovery(), *_memory(), *_workers()]
    if plans is not None:
        checks += _needs(plans)
    return Diagnosis(tuple(checks))


def _read_plans(plan: str | Path | None, dataset: str | int | None) -> dict[str, Any] | None:
    from maskmed_nnu.json_file import read_json
    from maskmed_nnu.nnunet.preflight.faults import refuse
    from maskmed_nnu.nnunet.preflight.folders import data_set_faults, environment_faults, find_data_set, folder_of

    if plan is None and dataset is None:
        return None
    path = Path(str(plan))
    if dataset is not None:
        where = "nnUNet_preprocessed"
        faults = [
            *environment_faults(reads=where),
            *data_set_faults(str(dataset), inside=where, option="data set"),
        ]
        refuse(faults, command="The comparison with a plan")
        folder = Path(folder_of(where) or "") / str(find_data_set(str(dataset), inside=where))
        there = sorted(file.stem for file in folder.glob("*.json") if b"network_class_name" in file.read_bytes())
        name = str(plan).removesuffix(".json") if plan is not None else None
        if name is None and len(there) == 1:
            name = there[0]
        if name not in there:
            found = f"there are {', '.join(there)}" if there else "plan the data set first"
            missing = f"no plans {name}" if name else "not exactly one plans file"
            raise InputError(f"{folder} has {missing}; {found}.")
        path = folder / f"{name}.json"
    content = read_json(path, expected="nnU-Net's plans")
    if not isinstance(content, dict) or not isinstance(content.get("configurations"), dict):
        raise InputError(f"{path} is not a plans file of nnU-Net v2; name one that a planner has written.")
    return content


def _releases() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    from maskmed_nnu.nnunet.preflight.machine import release_faults

    yield Check("python", OK, f"{sys.version.split()[0]} in {sys.executable}")
    for name in ("maskmed-nnu", "nnunetv2", "torch", "numpy"):
        try:
            yield Check(name, OK, version(name))
        except PackageNotFoundError:  # those that we need are told below
            if name == "maskmed-nnu":
                cure = f"{sys.executable} -m pip install maskmed-nnu"
                yield Check(name, WARNING, "it is imported but not installed", cure)
    for fault in release_faults():
        yield Check(fault.where, PROBLEM, fault.what, fault.cure)


def _devices() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            yield Check(f"cuda:{number}", OK, f"{name}, {free / GB:.1f} of {total / GB:.1f} GB free")
    elif torch.backends.mps.is_available():
        yield Check(
            "device",
            WARNING,
            "mps, which does not support some 3D operations",
            "add -device mps, or -device cpu if mps fails",
        )
    else:
        build = "a build without CUDA" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}"
        what = f"torch sees no GPU ({build})"
        cure = "train on a machine with a GPU, or add -device cpu and train for minutes (maskmed train --minutes 30)"
        yield Check("device", WARNING, what, cure)
    compiles = os.environ.get("nnUNet_compile", "")
    if compiles.lower() in ("true", "1", "t") and not torch.cuda.is_available():
        yield Check("nnUNet_compile", WARNING, f"it is {compiles}, without a GPU", "unset nnUNet_compile")


def _folders() -> Iterator[Check]:
    import shutil

    from maskmed_nnu.nnunet.preflight.folders import VARIABLES, environment_faults

    for variable in VARIABLES:
        # data sets are made below nnUNet_raw by `maskmed convert`, but it may be a drive that can only be read
        writes = None if variable == VARIABLES[0] else variable
        faults = list(environment_faults(reads=variable if writes is None else VARIABLES[1], writes=writes))
        mine = [fault for fault in faults if fault.where == variable]
        if mine:
            yield Check(variable, PROBLEM, mine[0].what, mine[0].cure)
            continue
        folder = Path(os.environ[variable])
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        new = "" if folder.is_dir() else ", created when needed"
        yield Check(variable, OK, f"{folder}{new}, {shutil.disk_usage(existing).free / GB:.1f} GB free")


def _discovery() -> Iterator[Check]:
    from maskmed_nnu._startup import DISABLE_HOOK
    from maskmed_nnu.nnunet.preflight.machine import finds_ours_here, finds_ours_in_a_child

    hidden = os.environ.get(DISABLE_HOOK, "")
    cure = f"unset {DISABLE_HOOK}" if hidden not in ("", "0") else f"{sys.executable} -m pip install maskmed-nnu"
    if finds_ours_here():
        yield Check("discovery here", OK, "nnU-Net finds our classes in this process")
    else:
        yield Check("discovery here", PROBLEM, "nnU-Net does not find our classes in this process", cure)
    reason = finds_ours_in_a_child()
    if reason is None:
        yield Check("discovery in a child", OK, "nnU-Net finds our classes in a process that it starts")
    else:
        what = f"nnU-Net does not find our classes in a process that it starts ({reason})"
        yield Check("discovery in a child", PROBLEM, what, cure)


def _memory() -> Iterator[Check]:
    import shutil

    from maskmed_nnu.nnunet.preflight.machine import memory

    found = memory()
    limit = ", the limit of this container or job" if found.limited else ""
    yield Check("memory", OK, f"{found.free / GB:.1f} of {found.total / GB:.1f} GB free{limit}")
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total / GB
        small = size < LITTLE_SHARED_MEMORY
        cure = "start the container with --ipc=host or --shm-size=8g" if small else ""
        yield Check("shared memory", WARNING if small else OK, f"{size:.2f} GB in {shared}", cure)


def _workers() -> Iterator[Check]:
    from maskmed_nnu.nnunet.preflight.machine import augmentation_workers

    available, workers = cpu_count(), augmentation_workers()
    threads = os.environ.get("OMP_NUM_THREADS")
    yield Check("cores", OK, f"{available}" + (f", OMP_NUM_THREADS={threads}" if threads else ""))
    if workers is None:
        what = f"nnUNet_n_proc_DA={os.environ['nnUNet_n_proc_DA']} is not a number"
        yield Check("augmentation", PROBLEM, what, f"export nnUNet_n_proc_DA={available}")
    elif workers > available:
        what = f"{workers} processes, but this process may use {available} of the machine's cores"
        yield Check("augmentation", WARNING, what, f"export nnUNet_n_proc_DA={available}")
    else:
        yield Check("augmentation", OK, f"{workers} process{'es' * (workers != 1)}")


def _needs(plans: dict[str, Any]) -> Iterator[Check]:
    """What the plan's trainings need, beside what there is."""
    import torch

    from maskmed_nnu.nnunet.preflight.disk import room_faults, size
    from maskmed_nnu.nnunet.preflight.machine import memory as machine_memory
    from maskmed_nnu.nnunet.preflight.plan_needs import plan_needs

    gpu = torch.cuda.is_available()
    there = torch.cuda.mem_get_info()[0] if gpu else machine_memory().free
    place = "GPU" if gpu else "machine"
    needs = plan_needs(plans)
    for name, memory in needs.memory.items():
        what = f"about {memory / GB:.1f} GB, {there / GB:.1f} GB are free on the {place}"
        cure = f"plan again with -gpu_memory_target {max(1, int(there / GB))} and a name after -overwrite_plans_name"
        enough = memory <= there
        label = f"{plans.get('plans_name')} {name}"
        yield Check(label, OK if enough else PROBLEM, f"the training takes {what}", "" if enough else cure)
    for variable, needed, what_for in (
        ("nnUNet_preprocessed", needs.preprocessed, "the preprocessed images of a configuration"),
        ("nnUNet_results", needs.checkpoints, "the checkpoints of a fold"),
    ):
        folder = os.environ.get(variable)
        if not folder or needed is None:
            continue
        faults = list(room_faults(Path(folder), needed, variable, what_for, least=0.1))
        if not faults:
            yield Check(f"room in {variable}", OK, f"{what_for} take up to {size(needed)}")
        for fault in faults:
            yield Check(f"room in {variable}", WARNING if fault.note else PROBLEM, fault.what, fault.cure)
