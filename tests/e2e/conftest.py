"""nnU-Net's real commands in a workspace of their own, with tiny data sets and a tiny trainer."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parent / "site"
CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(SITE))


@dataclass
class Workspace:
    """nnU-Net's folders below ``root``, and its commands run in them."""

    root: Path
    checkout: Path = CHECKOUT
    server: subprocess.Popen | None = None
    """Runs commands without starting interpreters; see ``site/command_server.py``."""
    seconds: float = 300
    """After these a command of the server fails."""

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_def_n_proc": "1",
            "nnUNet_n_proc_DA": "0",
            "nnUNet_compile": "f",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",  # a killed process has said what it said
            "OMP_WAIT_POLICY": "passive",  # -device cpu starts a thread per core; they must not spin on a busy machine
            "PYTHONPATH": os.pathsep.join((str(SITE), str(self.checkout))),
        }

    def run(self, command: str, *arguments: object, fails: bool = False, **environ: str) -> str:
        """Everything that the command printed; it must succeed, or fail where ``fails``."""
        return self._checked(*self.attempt(command, *arguments, **environ), command, fails)

    def run_in_new_interpreter(self, command: str, *arguments: object, fails: bool = False, **environ: str) -> str:
        """The same, as a user runs it: the installed script, and new interpreters for all that it spawns."""
        return self._checked(*self.attempt_in_new_interpreter(command, *arguments, **environ), command, fails)

    def attempt_in_new_interpreter(self, command: str, *arguments: object, **environ: str) -> tuple[int, str]:
        """The exit status and everything that the command printed."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / command), *map(str, arguments)],
            env={**os.environ, **self.environ, **environ},
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,
            check=False,
        )
        return done.returncode, done.stdout

    def attempt(self, command: str, *arguments: object, **environ: str) -> tuple[int, str]:
        """The exit status of a command in the server, and everything that it printed."""
        log = self.root / "command.log"
        if self.server is None:
            self.server = subprocess.Popen(
                [sys.executable, str(SITE / "command_server.py"), str(log)],
                env={**os.environ, **self.environ},
                cwd=self.root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        request = {"argv": [command, *map(str, arguments)], "environ": environ}
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        try:
            if not select.select([self.server.stdout], [], [], self.seconds)[0]:
                pytest.fail(f"{command} did not end in {self.seconds:.0f} s:\n{log.read_text(encoding='utf-8')}")
            return int(self.server.stdout.readline()), log.read_text(encoding="utf-8")
        except BaseException:  # also the test's own time limit, and Ctrl-C
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
            self.server = None
            raise

    @staticmethod
    def _checked(status: int, printed: str, command: str, fails: bool) -> str:
        assert (status != 0) == fails, f"{command} ended with {status}:\n{printed}"
        return printed


@contextmanager
def open_workspace(root: Path, **settings: Any) -> Iterator[Workspace]:
    """A workspace with empty folders; the server of its commands ends with it."""
    workspace = Workspace(root, **settings)
    for folder in (workspace.raw, workspace.preprocessed, workspace.results):
        folder.mkdir(parents=True)
    yield workspace
    if workspace.server is not None:
        workspace.server.stdin.close()
        workspace.server.wait(timeout=60)


@pytest.fixture(scope="module")
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One workspace for all tests of a file. A command that hangs fails at half the time limit of its tests."""
    limit = request.node.get_closest_marker("timeout")
    seconds = limit.args[0] / 2 if limit else Workspace.seconds
    with open_workspace(tmp_path_factory.mktemp("nnunet"), seconds=seconds) as workspace:
        yield workspace
