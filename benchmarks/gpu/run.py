"""Checks in groups, each group in a process of its own: a crash or a hang of the GPU ends one group, not the others.

What a check has found is on the disk as soon as it has ended.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from maskmed_nnu.json_file import write_json

Finding = dict[str, Any]


@dataclass
class Run:
    """What a group of checks is given: where to compute, until when (``time.monotonic``), and whom to tell."""

    device: torch.device
    smoke: bool
    deadline: float
    data: Path | None = None
    _send: Callable[[Finding], None] = lambda finding: None

    @property
    def repeats(self) -> int:
        return 2 if self.smoke else 20

    @property
    def half(self) -> torch.dtype:
        """The CPU computes float16 too slowly for a trial."""
        return torch.bfloat16 if self.smoke else torch.float16

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def check(self, name: str, function: Callable[[], Finding], *, needs: float = 5) -> None:
        """Tell what ``function`` finds, ``ok`` among it where it can be wrong; skip it with less than ``needs`` seconds
        left."""
        if not self.smoke and self.left < needs:
            self._send({"check": name, "skipped": f"{max(self.left, 0):.0f} s left, {needs:.0f} needed"})
            return
        begin = time.monotonic()
        try:
            finding = function()
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            sentence = (str(error).strip().splitlines() or [""])[0]
            finding = {
                "ok": False,
                "error": f"{type(error).__name__}: {sentence[:200]}",
                "at": [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames],
            }
        self._send({"check": name, "s": round(time.monotonic() - begin, 1), **finding})
        if self.device.type == "cuda":
            with contextlib.suppress(RuntimeError):
                torch.cuda.empty_cache()


@dataclass
class Report:
    """All findings so far, in a file."""

    file: Path
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.findings.append(_plain(finding))
        write_json(self.file, self.findings, indent=1)
        print(as_line(finding), flush=True)

    @property
    def failed(self) -> list[str]:
        return [finding["check"] for finding in self.findings if finding.get("ok") is False]

    def table(self) -> str:
        """In Markdown, for the documentation."""
        return "\n".join(["| check | result |", "| --- | --- |", *map(as_row, self.findings)])


def run_group(group: Callable[[Run], None], run: Run, report: Report) -> None:
    """In a forked process, which is stopped at the deadline of ``run``; CUDA must not have been touched in this one."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(group, run, theirs))
    process.start()
    theirs.close()
    while True:
        if not ours.poll(None if run.smoke else max(run.left, 0)):
            report.add({"check": group.__name__, "stopped": "its time was over"})
            break
        try:
            finding = ours.recv()
        except EOFError:
            break
        if finding is None:
            break
        report.add(finding)
    if process.is_alive() and run.left <= 0 and not run.smoke:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the compiler's processes
    process.join()
    if process.exitcode and run.left > 0:
        report.add({"check": group.__name__, "ok": False, "error": f"its process ended with {process.exitcode}"})


def _work(group: Callable[[Run], None], run: Run, pipe: Connection) -> None:
    os.setpgrp()
    run._send = pipe.send
    torch.manual_seed(0)
    group(run)
    pipe.send(None)


def as_line(finding: Finding) -> str:
    if "skipped" in finding:
        return f"{finding['check']}: skipped, {finding['skipped']}"
    verdict = {True: "ok ", False: "WRONG ", None: ""}[finding.get("ok")]
    return f"{finding['check']}: {verdict}{_words(finding)}"


def as_row(finding: Finding) -> str:
    return "| {} | {} |".format(*as_line(finding).split(": ", 1))


def _plain(value: Any) -> Any:
    """What JSON can hold: it has no number for infinity."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _words(finding: Finding) -> str:
    return ", ".join(
        f"{name} {_number(value)}" for name, value in finding.items() if name not in ("check", "ok", "s", "at")
    )


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_number(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(_number, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
