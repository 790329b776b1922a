"""``python -m maskmed_nnu.workflow.job NAME … -- COMMAND``: how a rule of the Snakefile runs its command.

It sets nnU-Net's folders and the numbers of workers, appends the command's output to ``logs/NAME.log`` as it comes,
below a line that says where it runs, and notes each attempt. Signals are handed on. Two processes never work on one job
at a time: the second waits, and leaves it at that where the first one has finished. So does one that an engine starts
again, because it was killed before it knew of the job's success.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.machine_errors import explain
from maskmed_nnu.signals import noted
from maskmed_nnu.stock_command import executable
from maskmed_nnu.workflow.job_records import Attempt, Record, available_cpus, new_attempt, now, read_attempts
from maskmed_nnu.workflow.local_gpus import claimed_gpus
from maskmed_nnu.workflow.memory_kills import memory_kills
from maskmed_nnu.workflow.scratch import staged
from maskmed_nnu.workflow.study import Study, read_study

BROKEN = re.compile(r"^(?:maskmed: )?(\d+) of \d+ images could not be predicted", re.MULTILINE)
"""Where a prediction ends so, it went on past these images, and named each."""
MEMORY = re.compile(r"MemoryError|[Mm]emory is used up|Cannot allocate memory")
LOST_WORKER = re.compile(r"[Bb]ackground (?:workers?|process)[^\n]*(?:no longer alive|ended before)")


@dataclass(frozen=True)
class Options:
    """``cpus``: those that the job was given, 0 for all that it may use. ``part``: which one of how many.

    ``stage``: plans and configuration whose preprocessed images are copied to scratch. ``copy``: a file that the
    command leaves, and where it is kept in the study. ``inputs``: the job is left at that where it has succeeded since
    they were written.
    """

    cpus: int = 0
    gpus: int = 0
    part: tuple[int, int] | None = None
    stage: tuple[str, str] | None = None
    copy: tuple[Path, Path] | None = None
    inputs: tuple[Path, ...] = ()


def run_job(study: Study, name: str, command: Sequence[str], options: Options) -> int:
    """Run the command, and return its status; 0 where a prediction left out broken images, which the record counts."""
    line, log = shlex.join(command), study.records(name).with_suffix(".log")
    record = Record(study.records(name))
    since = max((path.stat().st_mtime for path in options.inputs), default=time.time())

    def waiting(other: Attempt | None) -> None:
        where = f"job {other.job or '?'} on {other.node}, begun {other.began}" if other else "another process"
        _say(f"{name} is still worked on by {where}: waiting for its end")

    with record.alone(waiting):
        attempts = read_attempts(record.path)
        if attempts and attempts[-1].command == line and attempts[-1].succeeded_since(since):
            _say(f"{name} was finished by job {attempts[-1].job or '?'} on {attempts[-1].node}")
            return 0
        attempt = new_attempt(line)
        record.begin(attempt)
        with log.open("ab", buffering=0) as output:
            output.write(f"{attempt.first_line(len(attempts) + 1)}\n".encode())
            start, kills = output.tell(), memory_kills()
            try:
                status = _run(study, command, options, output, record.file)
            except (InputError, OSError) as error:
                output.write(f"maskmed: {error if isinstance(error, InputError) else explain(error)}\n".encode())
                status = 1
            output.write(f"ended with status {status} {now()}\n".encode())
        said = _said(log, start) if status else ""
        broken = sum(int(found[1]) for found in BROKEN.finditer(said)) if status == 1 else 0
        starved = bool(status) and _out_of_memory(status, said, kills, memory_kills())
        if broken:
            status = 0
        if status == 0 and options.copy is not None:
            source, target = options.copy
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, lambda partial: shutil.copyfile(source, partial))
        record.end(status, out_of_memory=starved, broken=broken)
    return status


def _out_of_memory(status: int, said: str, before: int | None, after: int | None) -> bool:
    """By what the command says, or by the kernel's count of kills.

    Where nobody counts, a command that was killed at once, or that has lost a worker, is taken for one.
    """
    if MEMORY.search(said):
        return True
    if before is not None and after is not None:
        return after > before
    return status in (-signal.SIGKILL, 128 + signal.SIGKILL) or bool(LOST_WORKER.search(said))


def _run(study: Study, command: Sequence[str], options: Options, output: Any, lock: int) -> int:
    """Run the command once, or once for each GPU with a share of the part; the first status that is not 0."""
    cpus = options.cpus or available_cpus()
    workers = _workers(cpus, max(options.gpus, 1), trains=command[0] == "nnUNetv2_train")
    environment = {**os.environ, **study.environment, **workers, "PYTHONUNBUFFERED": "1"}
    with (
        staged(study, options.stage, lambda line: output.write(f"{line}\n".encode())) as moved,
        claimed_gpus(options.gpus) as (gpus, claims),
    ):
        environment.update({**moved, **gpus})
        running: list[subprocess.Popen[bytes]] = []
        with noted(lambda number: _hand_on(number, running)):
            for words, own in _shares(command, options, environment):
                program = executable(words[0]) if words[0] != sys.executable else words[0]
                running.append(
                    subprocess.Popen(
                        [program, *words[1:]],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env={**environment, **own},
                        cwd=study.folder,
                        pass_fds=[lock, *claims],  # so that job and GPUs stay locked as long as the command runs
                    )
                )
            ended = [process.wait() for process in running]
    return next((status for status in ended if status), 0)


def _shares(
    command: Sequence[str], options: Options, environment: dict[str, str]
) -> list[tuple[list[str], dict[str, str]]]:
    """The commands that run side by side, one for each GPU where the job is a part of a prediction."""
    if options.part is None:
        return [([*command], {})]
    part, parts = options.part
    if options.gpus < 2:
        return [([*command, "-num_parts", str(parts), "-part_id", str(part)], {})]
    gpus = [gpu for gpu in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    gpus = gpus[: options.gpus] if len(gpus) >= options.gpus else [str(gpu) for gpu in range(options.gpus)]
    return [
        (
            [*command, "-num_parts", str(parts * len(gpus)), "-part_id", str(part * len(gpus) + number)],
            {"CUDA_VISIBLE_DEVICES": gpu},
        )
        for number, gpu in enumerate(gpus)
    ]


def _workers(cpus: int, gpus: int, *, trains: bool) -> dict[str, str]:
    """nnU-Net's numbers of workers, which it takes from the node and not from the job.

    A training on one CPU does the augmentation itself: a worker beside it would wait for its turn, and be taken for
    dead. nnU-Net's planners make as many threads, and one at least.
    """
    augmentation = max(cpus // gpus - 1, 0 if trains else 1)
    return {"nnUNet_n_proc_DA": str(augmentation), "nnUNet_def_n_proc": str(cpus)}


def _hand_on(number: int, running: Sequence[subprocess.Popen[bytes]]) -> None:
    """To the commands, which end in their own way; this process waits for them."""
    if number == signal.SIGINT and _is_in_terminal():
        return  # Ctrl-C has reached the commands, too, and a second one would interrupt how they end
    for process in running:
        if process.poll() is None:
            process.send_signal(number)


def _is_in_terminal() -> bool:
    """Whether this process is one of those that a terminal sends its Ctrl-C to."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):  # no terminal, no standard input, Windows
        return False


def _said(log: Path, start: int) -> str:
    """What the command has logged from ``start`` on."""
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def _say(sentence: str) -> None:
    print(f"maskmed: {sentence}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m maskmed_nnu.workflow.job", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--study", required=True, type=Path)
    parser.add_argument("--cpus", type=int, default=0)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--part", nargs=2, type=int, metavar=("NUMBER", "OF"))
    parser.add_argument("--stage", nargs=2, metavar=("PLANS", "CONFIGURATION"))
    parser.add_argument("--copy", nargs=2, type=Path, metavar=("FROM", "TO"))
    parser.add_argument("--inputs", nargs="*", type=Path, default=())
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index("--")
    given, command = parser.parse_args(words[:end]), words[end + 1 :]
    part, copy, stage = (value and tuple(value) for value in (given.part, given.copy, given.stage))
    options = Options(given.cpus, given.gpus, part, stage, copy, tuple(given.inputs))
    try:
        status = run_job(read_study(given.study), given.name, command, options)
    except InputError as error:
        _say(str(error))
        return 1
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
