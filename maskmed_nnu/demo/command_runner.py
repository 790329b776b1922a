"""Run nnU-Net's commands in order: printed, streamed, logged, and skipped if an earlier run finished them."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import CommandError
from maskmed_nnu.file_state import folder_state
from maskmed_nnu.stock_command import run_command


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


def run_commands(
    commands: Sequence[Command], *, logs: Path, environment: Mapping[str, str], show: Callable[[str], object]
) -> None:
    """Run `commands` in order with `environment` added to this process's own; finished ones are skipped.

    `show` is called with headings and with what the commands write.

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
            show(f"\n{heading}: finished before, skipped\n")
            continue
        arguments = [*command.command, *command.options, *(command.resume if unchanged else ())]
        unchanged = False
        for later in commands[number - 1 :]:
            (logs / f"{later.name}.done").unlink(missing_ok=True)
        show(f"\n{heading}\n$ {shlex.join(arguments)}\n")
        start, log = time.monotonic(), logs / f"{command.name}.log"
        with log.open("wb") as file:
            status = run_command(arguments, environment=environment, write=partial(_copy, file, show))
        if status:
            raise CommandError(
                f"{command.title} failed with status {status}: {shlex.join(arguments)}\nIts output is in {log}"
            )
        write_atomically(done, partial(Path.write_text, data=_state(command), encoding="utf-8"))
        show(f"[{number}/{len(commands)}] done in {time.monotonic() - start:.0f} s\n")


def _state(command: Command) -> str:
    return json.dumps([list(command.command), folder_state(command.files)])


def _copy(log: IO[bytes], show: Callable[[str], object], output: bytes) -> None:
    show(output.decode(errors="replace"))
    if not log.closed:
        log.write(output)
        log.flush()
