"""Run nnU-Net's commands in order: printed, streamed, logged, and skipped if an earlier run finished them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import CommandError, InputError
from maskmed_nnu.file_state import folder_state


class Command(NamedTuple):
    """One command. Its `name` is its log file's.

    `options` do not change the result (the device, say): a step that finished with others counts as finished.
    `resume` is added where the step may have been begun and everything before it still stands. `files` are what it
    reads and leaves, folders included: where one of them has changed since, the step has to run again.
    """

    name: str
    title: str
    command: Sequence[str]
    options: Sequence[str] = ()
    resume: Sequence[str] = ()
    files: Sequence[Path] = ()


def run_commands(commands: Sequence[Command], *, logs: Path, environment: Mapping[str, str]) -> None:
    """Run `commands` in order with `environment` added to this process's own; finished ones are skipped.

    A step is finished where ``<name>.done`` in `logs` holds the same command and the state in which its files still
    are; once one has to run, all later ones do.

    Raises:
        CommandError: at the first command that ends with an error.
        InputError: where a command is not installed beside this Python.
    """
    logs.mkdir(parents=True, exist_ok=True)
    unchanged = True
    for number, command in enumerate(commands, 1):
        done = logs / f"{command.name}.done"
        heading = f"[{number}/{len(commands)}] {command.title}"
        if unchanged and done.is_file() and done.read_text(encoding="utf-8") == _state(command):
            print(f"\n{heading}: finished before, skipped", flush=True)
            continue
        arguments = [*command.command, *command.options, *(command.resume if unchanged else ())]
        unchanged = False
        for later in commands[number - 1 :]:
            (logs / f"{later.name}.done").unlink(missing_ok=True)
        print(f"\n{heading}\n$ {shlex.join(arguments)}", flush=True)
        start, log = time.monotonic(), logs / f"{command.name}.log"
        status = _run(arguments, log=log, environment=environment)
        if status:
            raise CommandError(
                f"{command.title} failed with status {status}: {shlex.join(arguments)}\nIts output is in {log}"
            )
        write_atomically(done, partial(Path.write_text, data=_state(command), encoding="utf-8"))
        print(f"[{number}/{len(commands)}] done in {time.monotonic() - start:.0f} s", flush=True)


def _state(command: Command) -> str:
    return json.dumps([list(command.command), folder_state(command.files)])


def executable(name: str) -> str:
    """Path of the command `name` in this Python's environment."""
    folder = Path(sys.executable).parent
    for path in (folder / name, folder / f"{name}.exe", folder / "Scripts" / f"{name}.exe"):
        if path.is_file():
            return str(path)
    raise InputError(f"{name} is not in {folder}; install nnU-Net there with: {sys.executable} -m pip install nnunetv2")


def _run(command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> int:
    """Run `command`, its output copied to `log` and to this process's as it comes, and return its status."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [executable(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        )
        reader = threading.Thread(target=_copy, args=(process.stdout, file), daemon=True)
        reader.start()
        try:
            status = process.wait()
        except KeyboardInterrupt:  # the command received it from the terminal too; give it time to end
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        # a worker that outlives its parent keeps the pipe open: do not wait for it for ever
        reader.join(timeout=10)
    return status


def _copy(source: IO[bytes], log: IO[bytes]) -> None:
    while chunk := os.read(source.fileno(), 65536):
        sys.stdout.write(chunk.decode(errors="replace"))
        sys.stdout.flush()
        if not log.closed:
            log.write(chunk)
            log.flush()
