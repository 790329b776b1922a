"""A disk is full at each of the moments at which a study writes: one sentence, nothing lost, nothing left over."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.survival.study import (
    NAME,
    NUMBER,
    PLANNING,
    PLANS,
    TRAINER,
    Job,
    Study,
    files_below,
    left_over,
    shrink_plans,
    write_raw,
)

MEGABYTES = 64
LOGS = ("training_log", "debug.json", "progress.png", "ballast")
"""What a command that was refused may have written again, and what fills the disk."""
SENTENCE = re.compile(
    r"cannot be used: (the disk is full|your quota)|could not be written whole|are free on the disk|is full"
)
HEADING = ("moment", "status", "one sentence", "what was there is intact", "left over", "processes", "goes on after")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system in memory; only root may mount one.

    Raises:
        SystemExit: where it cannot be mounted.
    """
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        raise SystemExit(f"No small disk could be mounted ({mounted.stderr.decode().strip()}); run as root on Linux.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(study: Study, room: int = 0) -> None:
    """Leave so many bytes."""
    with (study.root / "ballast").open("wb") as file:
        while (free := shutil.disk_usage(study.root).free - room) > 0:
            try:
                file.write(bytes(min(free, 2**16)))
                file.flush()
            except OSError:
                return


@dataclass(frozen=True)
class Moment:
    """A ``command`` whose disk fills: before it starts, or once ``when`` holds.

    ``room`` is left in bytes, ``prepare`` comes before, ``signal`` is sent when the disk is full, ``again`` are options
    with which the command does the rest.
    """

    command: Callable[[Study], Sequence[str]]
    prepare: Callable[[Study], object] = lambda study: None
    room: int = 0
    when: Callable[[Study, Job], bool] | None = None
    signal: signal.Signals | None = None
    again: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


def _converting(study: Study) -> Sequence[str]:
    folders = ("--images", str(study.root / "pictures"), "--masks", str(study.root / "masks"))
    return ("maskmed", "convert", *folders, "--id", "8", "--name", "Converted", "--output", str(study.root / "raw"))


def _pictures(study: Study) -> None:
    for kind, source, ending in (("pictures", "imagesTr", "_0000.png"), ("masks", "labelsTr", ".png")):
        (study.root / kind).mkdir()
        for path in (study.root / "raw" / NAME / source).iterdir():
            shutil.copy(path, study.root / kind / path.name.replace(ending, ".png"))


def _training(study: Study) -> Sequence[str]:
    return ("nnUNetv2_train", NUMBER, "2d", "0", "-p", PLANS, "-tr", TRAINER, "-device", "cpu")


def _predicting(study: Study) -> Sequence[str]:
    files = ("-i", str(study.root / "raw" / NAME / "imagesTs"), "-o", str(study.root / "predicted"))
    return ("nnUNetv2_predict", *files, "-d", NUMBER, "-c", "2d", "-f", "0", "-p", PLANS, "-tr", TRAINER, *CPU)


def _predicting_ours(study: Study) -> Sequence[str]:
    images = str(study.root / "raw" / NAME / "imagesTs")
    return (
        "maskmed",
        "predict",
        "-i",
        images,
        "-m",
        str(study.fold.parent),
        "-o",
        str(study.root / "predicted"),
        *CPU_OURS,
    )


def _exporting(study: Study) -> Sequence[str]:
    return ("maskmed", "export", str(study.fold.parent), str(study.root / "model.zip"))


def _untrained(study: Study) -> None:
    shutil.rmtree(study.fold.parent, ignore_errors=True)
    (study.notes / "trace.txt").unlink(missing_ok=True)


def _unpreprocessed(study: Study) -> None:
    shrink_plans(study.root)
    for folder in (study.root / "preprocessed" / NAME).iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)


def _unpredicted(study: Study) -> None:
    shutil.rmtree(study.root / "predicted", ignore_errors=True)


def _after(steps: int) -> Callable[[Study, Job], bool]:
    return lambda study, job: len(study.trace) >= steps


CPU, CPU_OURS = ("-device", "cpu"), ("--device", "cpu")
TRAINING: dict[str, Any] = {"command": _training, "prepare": _untrained, "again": ("--c",)}
LONG = {"STEPS": "500"}
"""So that the disk is full before the epoch ends."""
MOMENTS = {
    "conversion": Moment(_converting, _pictures, room=20_000),
    "planning": Moment(lambda study: PLANNING),
    "preprocessing": Moment(
        lambda study: ("nnUNetv2_preprocess", "-d", NUMBER, "-plans_name", PLANS, "-c", "2d", "-np", "2"),
        _unpreprocessed,
        room=60_000,
    ),
    "start of a training": Moment(**TRAINING),
    "checkpoint at a signal": Moment(**TRAINING, when=_after(3), signal=signal.SIGTERM, settings=LONG),
    "checkpoint after ten minutes": Moment(**TRAINING, when=_after(3), settings={"SAVE_SECONDS": "1", **LONG}),
    "checkpoint of an epoch": Moment(**TRAINING, when=_after(3)),
    "final checkpoint": Moment(
        **TRAINING,
        when=lambda study, job: (study.fold / "checkpoint_best.pth").is_file(),
        settings={"EPOCHS": "1"},
    ),
    "validation": Moment(**TRAINING, when=lambda study, job: "Training done" in job.said),
    "nnUNetv2_predict": Moment(_predicting, _unpredicted, room=20_000, again=("--continue_prediction",)),
    "maskmed predict": Moment(_predicting_ours, _unpredicted, room=20_000),
    "maskmed export": Moment(_exporting, room=20_000),
}


def disks(folder: Path, only: str | None) -> Iterator[list[str]]:
    """A row for each moment, or those whose names hold ``only``; the others before them are passed with room."""
    wanted = [name for name in MOMENTS if only is None or only in name]
    with small_disk(folder / "disk") as root:
        notes = folder / "notes"
        notes.mkdir()
        study = Study(root, notes, {"EPOCHS": "2"})
        write_raw(root / "raw" / NAME)
        for name, moment in list(MOMENTS.items())[: max(map(list(MOMENTS).index, wanted), default=-1) + 1]:
            if name in wanted:
                yield [name, *_filled(study, moment)]
            elif moment.prepare is not _untrained or name == "validation":
                moment.prepare(study)
                study.run(*moment.command(study), **moment.settings)


def failed(row: Sequence[str]) -> bool:
    """Anything but one sentence, status 1, everything kept, nothing left over, and the rest done afterwards."""
    return list(row[1:]) != ["1", "yes", "yes", "0", "0", "yes"]


def _filled(study: Study, moment: Moment) -> list[str]:
    moment.prepare(study)
    if moment.when is None:
        fill(study, moment.room)
    before = files_below(study.root, without=LOGS)
    job = study.start(*moment.command(study), **moment.settings)
    if moment.when is not None:
        while not moment.when(study, job) and job.process.poll() is None:
            time.sleep(0.005)
        fill(study, moment.room)
        before = files_below(study.root, without=LOGS)
    if moment.signal is not None:
        os.kill(job.process.pid, moment.signal)
    status = job.wait(3600)
    processes, parts = job.processes(), left_over(study.root)
    after = files_below(study.root, without=LOGS)
    changed = [name for name, content in before.items() if after.get(name) != content]
    (study.root / "ballast").unlink()
    sentences = [line for line in job.said.splitlines() if SENTENCE.search(line) and "Note:" not in line]
    again = study.start(*moment.command(study), *moment.again, **moment.settings)
    status_again = again.wait(3600)
    return [
        str(status),
        "yes" if len(sentences) == 1 and "Traceback" not in job.said else f"no: {job.log}",
        f"no: {', '.join(changed)}" if changed else "yes",
        str(len(parts)),
        str(len(processes)),
        f"no: {again.log}" if status_again else "yes",
    ]
