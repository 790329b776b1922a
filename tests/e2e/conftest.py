"""nnU-Net's real commands in a workspace of their own, with tiny data sets and a tiny trainer."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SITE = Path(__file__).parent / "site"
sys.path.insert(0, str(SITE))


@dataclass(frozen=True)
class Workspace:
    """nnU-Net's folders below ``root``, and its commands run in them."""

    root: Path

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
            "PYTHONPATH": str(SITE),
        }

    def run(self, command: str, *arguments: object, fails: bool = False, **environ: str) -> str:
        """Everything that the command printed; it must succeed, or fail where ``fails``."""
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
        assert (done.returncode != 0) == fails, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One workspace for all tests of a file."""
    workspace = Workspace(tmp_path_factory.mktemp("nnunet"))
    for folder in (workspace.raw, workspace.preprocessed, workspace.results):
        folder.mkdir(parents=True)
    return workspace
