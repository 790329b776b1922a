"""The job that a training runs in: what its log says first, and how many CPUs it has."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from maskmed_nnu.version import package_version

JOB_NUMBERS = {
    "SLURM_JOB_ID": "Slurm job",
    "PBS_JOBID": "PBS job",
    "LSB_JOBID": "LSF job",
    "JOB_ID": "Grid Engine job",
    "HOSTNAME": "Kubernetes pod",
}
"""Variables that schedulers set. `HOSTNAME` counts inside Kubernetes alone."""
WORKERS = "nnUNet_n_proc_DA"
"""nnU-Net's variable for the number of processes that load and augment data."""


def describe_job(device: str) -> str:
    """One line: where a training runs, with what, and under which job number."""
    import torch

    gpu = _gpus() if device == "cuda" else ""
    cpus = cpu_count()
    parts = [
        f"{platform.node()} ({gpu}{cpus} CPU{'s' if cpus > 1 else ''})",
        f"maskmed-nnu {package_version()}, nnU-Net {version('nnunetv2')}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
        f"{_job()}, process {os.getpid()}",
        f"in {Path.cwd()}",
    ]
    return "; ".join(parts)


def cpu_count() -> int:
    """CPUs that this process may use: of its job, its container and its affinity the fewest; at least one."""
    counts = [os.cpu_count() or 1, _slurm_cpus(), _container_cpus()]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    return max(1, min(count for count in counts if count))


def load_in_this_process_on_one_cpu() -> None:
    """Without workers in the background, which would take the one CPU from the training and each other; unless the user
    has set their number."""
    if cpu_count() == 1:
        os.environ.setdefault(WORKERS, "0")


def _gpus() -> str:
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return "".join(f"{names.count(name)} × {name}, " for name in dict.fromkeys(names))


def _job() -> str:
    for variable, kind in JOB_NUMBERS.items():
        number = os.environ.get(variable)
        if number and (variable != "HOSTNAME" or "KUBERNETES_SERVICE_HOST" in os.environ):
            array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
            return f"{kind} {number}" + (f" ({array}_{task})" if array and kind.startswith("Slurm") else "")
    return "no job of a scheduler"


def _slurm_cpus() -> int | None:
    """Of the task, or of the node where tasks name none."""
    for variable in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        number = os.environ.get(variable, "")
        if number.isdecimal():
            return int(number)
    return None


def _container_cpus() -> int | None:
    """The limit of the control group, rounded up."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # another system, or no limit
        return None
