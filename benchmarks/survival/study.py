"""A tiny study: pictures of cells, a network that trains in milliseconds a step, and commands all of whose processes
are known by a mark in their environment."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NUMBER, NAME, PLANS = "7", "Dataset007_Cells", "SimpleUNetPlans"
TRAINER = "nnUNetTrainerSimpleUNet"
STEPS, VALIDATION = 30, 4
PATIENCE = 5.0
"""Seconds, for Python's own helpers, which end when they miss their parent."""
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Job:
    """A command that runs, in a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    mark: str

    def wait(self, seconds: float) -> int:
        """Its status, as shells tell it.

        Raises:
            subprocess.TimeoutExpired: where it goes on for longer.
        """
        status = self.process.wait(seconds)
        return status if status >= 0 else 128 - status

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """All that have the command's mark and are still there when they have had time to end."""
        end = time.monotonic() + PATIENCE
        while (found := list(_marked(self.mark))) and time.monotonic() < end:
            time.sleep(0.05)
        return found


@dataclass
class Study:
    """Folders of nnU-Net below ``root``; logs and the trace of steps lie in ``notes``, outside of it."""

    root: Path
    notes: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def fold(self) -> Path:
        return self.root / "results" / NAME / f"{TRAINER}__{PLANS}__2d" / "fold_0"

    @property
    def trace(self) -> list[tuple[int, int]]:
        """Epoch and number of each step, in the order in which they were done."""
        path = self.notes / "trace.txt"
        lines = path.read_text().split("\n")[:-1] if path.is_file() else []
        return [(int(epoch), int(step)) for epoch, step in (line.split() for line in lines)]

    def start(self, *command: str, **settings: str) -> Job:
        mark = secrets.token_hex(8)
        log = self.notes / f"{len(list(self.notes.glob('*.log'))):03d}.log"
        environment = {
            **os.environ,
            **{f"nnUNet_{kind}": str(self.root / kind) for kind in ("raw", "preprocessed", "results")},
            "PYTHONPATH": str(CHECKOUT),
            "nnUNet_def_n_proc": "2",
            "nnUNet_n_proc_DA": "2",
            "nnUNet_compile": "f",
            "OMP_NUM_THREADS": "1",
            "TRACE": str(self.notes / "trace.txt"),
            **{"EPOCHS": "1000", "STEPS": str(STEPS), "VALIDATION": str(VALIDATION)},
            "SURVIVAL": mark,
            **self.settings,
            **settings,
        }
        line = [sys.executable, "-m", "benchmarks.survival.traced", *command]
        with log.open("wb") as file:
            process = subprocess.Popen(
                line,
                cwd=self.notes,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Job(process, log, mark)

    def run(self, *command: str, seconds: float = 3600, **settings: str) -> Job:
        """One that must succeed.

        Raises:
            SystemExit: with what it said, where it does not.
        """
        job = self.start(*command, **settings)
        status = job.wait(seconds)
        if status:
            raise SystemExit(f"{' '.join(command)} ended with status {status}:\n{job.said}")
        return job

    def train(self, *options: str, **settings: str) -> Job:
        command = ("nnUNetv2_train", NUMBER, "2d", "0", "-p", PLANS, "-tr", TRAINER, "-device", "cpu")
        return self.start(*command, *options, **settings)

    def wait_for_steps(self, count: int, job: Job, seconds: float = 3600) -> None:
        """Until the trace has so many lines.

        Raises:
            SystemExit: where the job ends before, or they do not come.
        """
        end = time.monotonic() + seconds
        while len(self.trace) < count:
            if job.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"The training did no {count} steps:\n{job.said}")
            time.sleep(0.01)


PLANNING = ("nnUNetv2_plan_and_preprocess", "-d", NUMBER, "-pl", "SimpleUNetPlanner", "-c", "2d", "-np", "2")


def write_raw(folder: Path, *, training: int = 6, test: int = 3) -> None:
    """Pictures with bright discs."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(training + test):
        y, x = np.indices((96, 96))
        label = np.zeros((96, 96), np.uint8)
        for centre in rng.integers(10, 86, (6, 2)):
            label[np.hypot(y - centre[0], x - centre[1]) < 8] = 1
        image = 60 + 90 * label + rng.normal(0, 12, label.shape)
        part, name = "Tr" if index < training else "Ts", f"cells_{index:02d}"
        for kind, file, array in (("images", f"{name}_0000.png", image), ("labels", f"{name}.png", label)):
            path = folder / f"{kind}{part}" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(path)
    description = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "cell": 1},
        "numTraining": training,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def shrink_plans(root: Path) -> None:
    """Patches and batches with which a step takes milliseconds."""
    path = root / "preprocessed" / NAME / f"{PLANS}.json"
    plans = json.loads(path.read_text())
    configuration = plans["configurations"]["2d"]
    configuration.update(batch_size=2, patch_size=[32, 32])
    kwargs = configuration["architecture"]["arch_kwargs"]
    kwargs.update(n_stages=3, strides=kwargs["strides"][:3], kernel_sizes=kwargs["kernel_sizes"][:3])
    path.write_text(json.dumps(plans))


def files_below(folder: Path, *, without: Sequence[str] = ()) -> dict[str, bytes]:
    """Content of each file that is complete, by its path; names that begin as one of ``without`` are left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(tuple(without))]
    paths = {str(path.relative_to(folder)): path for path in files}
    return {name: path.read_bytes() for name, path in paths.items() if ".partial" not in name}


def left_over(folder: Path) -> list[str]:
    """What is written beside its place, and should be gone."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if ".partial" in path.name]


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get("SURVIVAL") == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:
            continue
