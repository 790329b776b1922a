"""What a machine offers nnU-Net: releases, devices, memory, and whether our classes are found in each process."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from maskmed_nnu.nnunet.preflight.faults import Fault

PROBE = (
    "from nnunetv2.utilities.find_class_by_name import recursive_find_python_class as find; "
    "print(find('', 'nnUNetTrainerMaskMed', 'nnunetv2.training.nnUNetTrainer').__name__)"
)
PROBE_SECONDS = 300


def gpu_memory_gb() -> float | None:
    """Memory of the first GPU; None where torch sees none."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / 1e9 if torch.cuda.is_available() else None


def release_faults(distribution: str = "maskmed-nnu") -> Iterator[Fault]:
    """Which of our requirements are missing, or installed in another release than we need."""
    from packaging.requirements import Requirement

    try:
        requirements = importlib.metadata.requires(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        return
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        cure = f"{sys.executable} -m pip install '{requirement.name}{requirement.specifier}'"
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Fault(requirement.name, "it is not installed", cure)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            yield Fault(requirement.name, f"{installed} is installed, {requirement.specifier} is needed", cure)


def finds_ours_here() -> bool:
    """Whether nnU-Net's search for classes finds one of ours in this process."""
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    try:
        found = recursive_find_python_class("", "nnUNetTrainerMaskMed", "nnunetv2.training.nnUNetTrainer")
    except OSError:  # nnU-Net's own search, of a folder that does not exist
        return False
    return found is not None


def finds_ours_in_a_child() -> str | None:
    """None where a new interpreter finds it, as nnU-Net's workers are; else the last thing that it said."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no result after {PROBE_SECONDS} s"
    if done.returncode == 0 and "nnUNetTrainerMaskMed" in done.stdout:
        return None
    return (done.stderr.strip().splitlines() or ["it did not find nnUNetTrainerMaskMed"])[-1]


class Memory(NamedTuple):
    """Bytes that this process may use: the machine's, or where they are ``limited`` those of its container or job."""

    free: int
    total: int
    limited: bool


def memory(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Memory:
    """What is free, within the limits of Linux's control groups, of either version."""
    import psutil

    machine = psutil.virtual_memory()
    found = Memory(machine.available, machine.total, limited=False)
    for line in own.read_text().splitlines() if own.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, used, cache = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, used = groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        inside = top / path.lstrip("/")  # not there in a container, whose own group is at the top
        for folder in (inside, *inside.parents):
            if folder.is_relative_to(top) and (most := _first_number(folder / limit)) is not None:
                taken = (_first_number(folder / used) or 0) - (_first_number(folder / "memory.stat", cache) or 0)
                if most < found.total:
                    found = Memory(max(0, min(found.free, most - taken)), most, limited=True)
    return found


def _first_number(file: Path, name: str = "") -> int | None:
    """The number in ``file``, or behind ``name`` in one of its lines; None where there is none, as of ``max``."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    words = next((line.split() for line in lines if line.startswith(f"{name} " if name else "")), [])
    return int(words[-1]) if words and words[-1].isdigit() else None


def augmentation_workers() -> int | None:
    """How many processes nnU-Net starts for augmentation; None where the variable holds no number."""
    from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

    try:
        return int(get_allowed_n_proc_DA())
    except ValueError:
        return None
