"""The attempts of a job: a line of JSON when one begins and when it ends, in a file that one process writes at a time.

The file is locked while an attempt runs, and the command inherits the lock: an engine that was killed and started again
waits for a job that has outlived it, instead of training in the same folder.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from maskmed_nnu.workflow.scheduler import still_runs

POLL = 0.5
"""Seconds between two looks at a lock."""
ASKING = 60
"""Seconds between two questions to the scheduler."""


@dataclass(frozen=True)
class Attempt:
    """``job`` is the scheduler's number of it, ``gpus`` and ``cpus`` what it was given.

    ``status`` is the command's, None while it runs or where nothing could be told any more; ``broken`` counts images
    that could not be predicted.
    """

    began: str
    node: str
    job: str
    cpus: int
    gpus: str
    command: str
    ended: str | None = None
    status: int | None = None
    out_of_memory: bool = False
    broken: int = 0

    def succeeded_since(self, time: float) -> bool:
        """``time``: seconds as of files."""
        return self.status == 0 and self.ended is not None and datetime.fromisoformat(self.ended).timestamp() >= time

    def first_line(self, number: int) -> str:
        """Of the log."""
        job = f"job {self.job}" if self.job else f"process {os.getpid()}"
        gpus = f", GPUs {self.gpus}" if self.gpus else ""
        return f"attempt {number} on {self.node}, {job}, {self.cpus} CPUs{gpus}, {self.began}: {self.command}"


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def new_attempt(command: str) -> Attempt:
    """One that begins here and now."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    number = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return Attempt(now(), socket.gethostname(), number, available_cpus(), gpus, command)


def available_cpus() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_attempts(path: Path) -> list[Attempt]:
    """All of a job, the last one last; a line that was cut off by a kill is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    attempts: list[Attempt] = []
    for line in lines:
        try:
            content: Any = json.loads(line)
            if "began" in content:
                attempts.append(Attempt(**content))
            elif attempts:
                attempts[-1] = Attempt(**{**asdict(attempts[-1]), **content})
        except (ValueError, TypeError):
            continue
    return attempts


def is_locked(path: Path) -> bool:
    """Whether an attempt runs, as far as this machine and the file system can tell."""
    try:
        with path.open("rb") as file:
            return not try_lock(file.fileno(), shared=True)
    except OSError:
        return False


class Record:
    """The file of a job, locked by `alone`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: int = -1

    @contextmanager
    def alone(self, report: Any) -> Iterator[None]:
        """Wait until no other process works on the job; ``report`` is called once with whom it is waited for."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            told = other = False
            while not try_lock(self.file) or (other := self._elsewhere()):
                if not told:
                    last = read_attempts(self.path)
                    report(last[-1] if last else None)
                    told = True
                time.sleep(POLL if not other else ASKING)
            yield
        finally:
            os.close(self.file)

    def _elsewhere(self) -> bool:
        """Whether the attempt before is still running, on a node that this one's locks do not reach."""
        attempts = read_attempts(self.path)
        return bool(attempts) and attempts[-1].ended is None and still_runs(attempts[-1].job)

    def begin(self, attempt: Attempt) -> None:
        content = asdict(attempt)
        self._write({key: content[key] for key in ("began", "node", "job", "cpus", "gpus", "command")})

    def end(self, status: int, *, out_of_memory: bool, broken: int) -> None:
        self._write({"ended": now(), "status": status, "out_of_memory": out_of_memory, "broken": broken})

    def _write(self, content: dict[str, Any]) -> None:
        # a line that a kill has cut off ends here
        os.write(self.file, (("\n" if self._cut_off() else "") + json.dumps(content) + "\n").encode())
        os.fsync(self.file)

    def _cut_off(self) -> bool:
        size = os.fstat(self.file).st_size
        return size > 0 and os.pread(self.file, 1, size - 1) != b"\n"


def try_lock(file: int, *, shared: bool = False) -> bool:
    """False where another process has the lock. File systems without locks let everybody have it."""
    try:
        import fcntl
    except ImportError:  # Windows, where studies run on one machine
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    if shared:
        fcntl.flock(file, fcntl.LOCK_UN)
    return True
