"""Shared fixtures: an empty nnU-Net environment, real data, and a torchvision that can be imported."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

# Before torch is imported: tests run in parallel processes, and each would otherwise take every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if shutil.which("nvidia-smi") is None:  # before Triton is imported, whose kernels then run on the CPU
    os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import pytest
import torch

from benchmarks.subjects.torchvision_import import make_torchvision_importable

CHECKOUT = Path(__file__).resolve().parents[1]
REAL_DATA = Path(os.environ.get("MASKMED_REAL_DATA") or CHECKOUT.parent / "shared" / "data")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if REAL_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"no real data at {REAL_DATA}; set MASKMED_REAL_DATA to the folder that holds it")
    for item in items:
        if "real_data" in item.keywords:
            item.add_marker(skip)


@dataclass(frozen=True)
class NnunetFolders:
    """nnU-Net's three folders; ``environ`` is a copy of the environment for subprocesses."""

    raw: Path
    preprocessed: Path
    results: Path

    @property
    def environ(self) -> dict[str, str]:
        return dict(os.environ)


@pytest.fixture(autouse=True, scope="session")
def signals_as_in_a_terminal() -> None:
    """What starts the tests in the background may ignore some, and what is ignored stays so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def same_numbers_each_time() -> None:
    """Random numbers are the same in each run, and in whatever order tests run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def checkout() -> Path:
    """The root of the repository."""
    return CHECKOUT


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets; only for tests marked ``real_data``."""
    return REAL_DATA


@pytest.fixture
def nnunet_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NnunetFolders:
    """An empty nnU-Net environment below ``tmp_path``, set in ``os.environ`` and so inherited by subprocesses.

    One worker everywhere and no ``torch.compile``: tests run tiny data on few cores. nnU-Net forks twelve processes
    each time it matches file names; here they are threads, since copying a process that has loaded torch takes longer
    than planning.
    """
    folders = {name: tmp_path / f"nnUNet_{name}" for name in ("raw", "preprocessed", "results")}
    for name, folder in folders.items():
        folder.mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # 0 breaks planning
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    monkeypatch.setenv("nnUNet_compile", "f")
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", ThreadPool)
    return NnunetFolders(**folders)


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """``run_python(code, *, python=sys.executable, **environ)`` runs code in a new interpreter, away from the checkout.

    ``environ`` is added to the environment. Returns the completed process with ``stdout`` and ``stderr`` as text.
    """

    def run(code: str, *, python: str | Path = sys.executable, **environ: str) -> subprocess.CompletedProcess:
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environ
        command = [str(python), "-c", code]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def torchvision_ops() -> None:
    """Ask for it before importing timm, or Mask2Former from transformers, inside a test::

    def test_matches_hugging_face(torchvision_ops):
        from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss
    """
    make_torchvision_importable()
