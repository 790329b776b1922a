"""What the scheduler says of a job, where the file system's locks do not reach from one node to another."""

from __future__ import annotations

import os
import shutil
import subprocess


def still_runs(job: str) -> bool:
    """Whether Slurm runs the job of this number, and it is not this one; False where nobody can tell."""
    own = {os.environ.get("SLURM_JOB_ID"), _array_number()}
    if not job or job in own or shutil.which("squeue") is None:
        return False
    try:
        asked = subprocess.run(
            ["squeue", "--noheader", "--states=RUNNING,COMPLETING", "--format=%i", f"--jobs={job}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and bool(asked.stdout.strip())


def _array_number() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else None
