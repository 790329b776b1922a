"""Which GPUs a job takes on a machine without a scheduler that tells it: free ones, as locks in a folder say."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from maskmed_nnu.workflow.job_records import POLL, try_lock

DRIVER = Path("/proc/driver/nvidia/gpus")


@contextmanager
def claimed_gpus(
    number: int, environment: Mapping[str, str] = os.environ, driver: Path = DRIVER, locks: Path | None = None
) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Claim so many GPUs: the variable that names them, and the locks, which the command is to inherit.

    There are none where a scheduler or the user has chosen, or where the machine has no more GPUs than requested.
    """
    gpus = sorted(driver.iterdir()) if driver.is_dir() else []
    if not 0 < number < len(gpus) or {"CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"} & set(environment):
        yield {}, []
        return
    place = (locks or Path(tempfile.gettempdir())) / f"maskmed_gpus_{os.getuid()}"
    place.mkdir(exist_ok=True)
    claimed: dict[int, int] = {}
    try:
        while len(claimed) < number:
            for gpu in range(len(gpus)):
                if gpu in claimed or len(claimed) == number:
                    continue
                file = os.open(place / str(gpu), os.O_RDWR | os.O_CREAT, 0o600)
                if try_lock(file):
                    claimed[gpu] = file
                else:
                    os.close(file)
            if len(claimed) < number:  # another job may wait with the rest in its hands
                for file in claimed.values():
                    os.close(file)
                claimed.clear()
                time.sleep(POLL)
        yield {"CUDA_VISIBLE_DEVICES": ",".join(map(str, sorted(claimed)))}, list(claimed.values())
    finally:
        for file in claimed.values():
            os.close(file)
