"""One Snakemake at a time for a study. Snakemake's own lock outlives a kill; this one ends with its process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.workflow.job_records import try_lock

LOCK = ".engine.lock"
_held: list[int] = []
"""Open files: a lock lasts as long as its file is open."""


def lock_engine(folder: Path) -> None:
    """Lock the study until this process ends; file systems without locks let every engine have it.

    Raises:
        InputError: where another engine runs it.
    """
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    if not try_lock(file):
        other = os.read(file, 200).decode(errors="replace").strip()
        os.close(file)
        raise InputError(f"{folder} is run by {other or 'another engine'} already; wait for its end, or stop it first.")
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
    _held.append(file)
