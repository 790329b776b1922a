"""A training is stopped at random, again and again, and goes on with ``--c``: nothing twice, nothing left out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.survival.study import NAME, PLANNING, STEPS, Study, left_over, shrink_plans, write_raw

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
SECONDS = 2.0
"""After the first step of a run, at most, until the signal."""
GRACE = 3600.0
"""In which a stopped command must have ended."""


HEADING = (
    *("signal", "to", "status", "stopped after", "began off by", "steps in a row", "one sentence"),
    *("processes left", "files left"),
)


def stops(folder: Path, repetitions: int, seed: int) -> list[list[str]]:
    """A row for each run of the training; the last one is not stopped and ends with the validation."""
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # the training would inherit it from nohup or a shell's background
    rng = np.random.default_rng(seed)
    notes = folder / "notes"
    notes.mkdir(parents=True)
    study = Study(folder / "study", notes)
    write_raw(study.root / "raw" / NAME)
    study.run(*PLANNING)
    shrink_plans(study.root)
    rows = []
    for _ in range(repetitions):
        before = len(study.trace)
        job = study.train(*(["--c"] if before else []))
        study.wait_for_steps(before + 1, job)
        time.sleep(rng.uniform(0, SECONDS))
        number = SIGNALS[rng.integers(len(SIGNALS))]
        everyone = bool(rng.integers(2))  # as a scheduler does it, or to the command alone
        (os.killpg if everyone else os.kill)(job.process.pid, number)
        status = job.wait(GRACE)
        processes, files = job.processes(), left_over(study.root)
        for process in processes:
            process.kill()
        told = job.said.count(f"Stopped by {number.name} after") == 1 and "Traceback" not in job.said
        to = "all its processes" if everyone else "the command"
        rows.append([number.name, to, _status(status, 128 + number), *_steps(study.trace, before)])
        rows[-1] += ["yes" if told else f"no: {job.log}", str(len(processes)), str(len(files))]
    before = len(study.trace)
    job = study.train("--c", EPOCHS=str(study.trace[-1][0] + 2))
    status = job.wait(GRACE)
    ended = (study.fold / "checkpoint_final.pth").is_file() and (study.fold / "validation" / "summary.json").is_file()
    rows.append(["none", "", _status(status, 0), *_steps(study.trace, before)])
    rows[-1] += [
        "at its end" if ended else f"no: {job.log}",
        str(len(job.processes())),
        str(len(left_over(study.root))),
    ]
    return rows


def failed(row: list[str]) -> bool:
    """Another status, more than a step lost or done twice, no sentence, processes or files left."""
    return "(!)" in "".join(row) or abs(int(row[4])) > 1 or row[6].startswith("no") or row[7:] != ["0", "0"]


def _status(status: int, expected: int) -> str:
    return str(status) if status == expected else f"{status} (!)"


def _steps(trace: Sequence[tuple[int, int]], before: int) -> list[str]:
    """Of a run that began after so many lines of the trace: its last step, how many steps were left out between the
    run before and this one (less than 0: done twice), and how many it did, one after the other.

    >>> _steps([(0, 0), (0, 1), (0, 1), (0, 2)], 2)
    ['epoch 0, step 2', '-1', '2']
    """
    places = [epoch * STEPS + step for epoch, step in trace]
    run = places[before:]
    off = run[0] - (places[before - 1] + 1 if before else 0)
    whole = run == list(range(run[0], run[0] + len(run)))
    return [f"epoch {trace[-1][0]}, step {trace[-1][1]}", str(off), f"{len(run)}" if whole else f"{len(run)} (!)"]
