"""How many CPUs this process may use: on a cluster and in a container fewer than the machine has."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_count() -> int:
    """CPUs that this process may use: of its job, its container and its affinity the fewest; at least one."""
    counts = [os.cpu_count() or 1, _slurm_cpus(), _container_cpus()]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    return max(1, min(count for count in counts if count))


def process_count() -> int:
    """Processes for planning and preprocessing: one for each CPU, at most eight, as nnU-Net takes by default."""
    return min(8, cpu_count())


def thread_count() -> int:
    """Threads that compute on the CPU: one for each CPU that this process may use, or ``OMP_NUM_THREADS`` if fewer."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(cpu_count(), int(wanted)) if wanted.isdecimal() and int(wanted) else cpu_count()


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
