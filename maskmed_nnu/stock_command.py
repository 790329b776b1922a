"""Run one of nnU-Net's commands as a user would, its output handed on as it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from maskmed_nnu.errors import InputError
from maskmed_nnu.signals import Interrupted

PATIENCE = 5
"""Seconds in which a command may end by itself at a Ctrl-C, before it is told."""
LAST_STEP = 600
"""Seconds in which a command that was told to end may finish a checkpoint, before it is killed."""


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
        return process.wait()
    except BaseException as reason:
        _end(process, reason)
        raise
    finally:
        # a worker that outlives its parent keeps the pipe open: do not wait for it for ever
        reader.join(timeout=10)


def _end(process: subprocess.Popen[bytes], reason: BaseException) -> None:
    """Hand on the signal that has ended the waiting; a terminal's Ctrl-C has reached the command, too."""
    number = reason.number if isinstance(reason, Interrupted) else signal.SIGINT
    try:
        if number == signal.SIGINT:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=PATIENCE)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM if os.name == "nt" else number)
        process.wait(timeout=LAST_STEP)
    except (subprocess.TimeoutExpired, KeyboardInterrupt, Interrupted):  # a second Ctrl-C
        process.kill()
        process.wait()


def _copy(source: IO[bytes], write: Callable[[bytes], object]) -> None:
    while chunk := os.read(source.fileno(), 65536):
        write(chunk)
