"""Run one of nnU-Net's commands as a user would, its output handed on as it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from maskmed_nnu.errors import InputError

PATIENCE = 5
"""Seconds in which an interrupted command may end by itself."""


def executable(name: str) -> str:
    """Path of the command `name` in this Python's environment.

    Raises:
        InputError: where it is not installed there.
    """
    folder = Path(sys.executable).parent
    for path in (folder / name, folder / f"{name}.exe", folder / "Scripts" / f"{name}.exe"):
        if path.is_file():
            return str(path)
    raise InputError(f"{name} is not in {folder}; install nnU-Net there with: {sys.executable} -m pip install nnunetv2")


def run_command(
    command: Sequence[str], *, write: Callable[[bytes], object], environment: Mapping[str, str] | None = None
) -> int:
    """Run `command` with `environment` added to this process's own, and return its status.

    `write` gets what it prints, from another thread. An interruption ends the command, too.

    Raises:
        InputError: where it is not installed beside this Python.
    """
    process = subprocess.Popen(
        [executable(command[0]), *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    reader = threading.Thread(target=_copy, args=(process.stdout, write), daemon=True)
    reader.start()
    try:
        status = process.wait()
    except BaseException:
        _end(process)
        raise
    # a worker that outlives its parent keeps the pipe open: do not wait for it for ever
    reader.join(timeout=10)
    return status


def _end(process: subprocess.Popen[bytes]) -> None:
    """A terminal's Ctrl-C has reached it, too; one of this process alone, as by a notebook, is handed on."""
    try:
        process.wait(timeout=PATIENCE)
        return
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGINT)
    try:
        process.wait(timeout=5 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _copy(source: IO[bytes], write: Callable[[bytes], object]) -> None:
    while chunk := os.read(source.fileno(), 65536):
        write(chunk)
