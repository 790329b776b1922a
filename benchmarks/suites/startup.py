"""What an interpreter and a plan wait for before their work begins.

hook: ``python -c pass`` with and without our start-up hook, of an interpreter that does not use nnU-Net. "without
again" shows how far two measurements of the same thing lie apart. check: the check before planning of a data set of
--data-set tiny cases of two channels, beside reading each image's header once.

    python -m benchmarks startup
    python -m benchmarks startup --cases hook --repeats 400
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness.case import Case, Method, Run
from benchmarks.subjects.folders import temporary_folder
from benchmarks.subjects.raw_data import write_cases

CHECKOUT = Path(__file__).resolve().parents[2]
CASES_OF_DATA_SET = 1000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-set", type=int, default=CASES_OF_DATA_SET, metavar="CASES", help=f"default: {CASES_OF_DATA_SET}"
    )


def make_environment(folder: Path, *, with_hook: bool) -> Path:
    """A virtual environment without pip in ``folder``; returns its interpreter."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if with_hook:
        command = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site_packages = Path(subprocess.check_output([python, "-c", command], text=True).strip())
        shutil.copytree(CHECKOUT / "maskmed_nnu", site_packages / "maskmed_nnu")
        shutil.copy(CHECKOUT / "maskmed_nnu.pth", site_packages)
        subprocess.run([python, "-m", "compileall", "-q", site_packages], check=True)  # as pip does
        subprocess.run([python, "-c", "import sys; assert 'maskmed_nnu._startup' in sys.modules"], check=True)
    return python


def hook(options: argparse.Namespace) -> Case:
    hidden = ("PYTHONPATH", "MASKMED_NNU_DISABLE_HOOK")
    environ = {key: value for key, value in os.environ.items() if key not in hidden}

    @functools.cache
    def interpreter(with_hook: bool) -> Path:
        return make_environment(temporary_folder(), with_hook=with_hook)

    def start(with_hook: bool, **variables: str) -> Run:
        command = [interpreter(with_hook), "-c", "pass"]
        return Run(lambda: subprocess.run(command, check=True, env=environ | variables) and None, counted=False)

    peer = "without"
    return Case(
        title="python -c pass",
        unit="start",
        peer=peer,
        methods=[
            Method(peer, lambda: start(False)),
            Method("with hook", lambda: start(True)),
            Method("switched off", lambda: start(True, MASKMED_NNU_DISABLE_HOOK="1")),
            Method("without again", lambda: start(False)),
        ],
        repeats=2 if options.smoke else 200,
        clock="wall",
    )


def check(options: argparse.Namespace) -> Case:
    cases = 3 if options.smoke else options.data_set

    @functools.cache
    def images() -> Path:
        root = temporary_folder()
        for name in ("raw", "preprocessed"):
            (root / name).mkdir()
            os.environ[f"nnUNet_{name}"] = str(root / name)
        return write_cases(root / "raw", cases)

    def headers() -> Callable[[], object]:
        from maskmed_nnu.nnunet.preflight.headers import read_header

        return lambda: [read_header(path) for path in images().iterdir()] and None

    def whole_check() -> Callable[[], object]:
        from maskmed_nnu.nnunet.preflight.planning import planning_faults

        asked = {"planner": "MaskMedPlanner", "configurations": ("2d", "3d_fullres"), "verify": True}
        return lambda: planning_faults([1], **asked)

    def places() -> Callable[[], object]:
        from maskmed_nnu.nnunet.experiment_planning.data_set_grids import check_grids

        return lambda: check_grids(1)

    def method(work: Callable[[], Callable[[], object]]) -> Run:
        images()
        return Run(work(), counted=False)

    def no_faults(results: dict[str, object]) -> None:
        assert not any(results.values()), results

    peer = "each image's header once"
    return Case(
        title=f"The check before planning, {cases:,} cases of two channels",
        unit="data set",
        peer=peer,
        methods=[
            Method(peer, lambda: method(headers)),
            Method("names, dataset.json, headers, disk", lambda: method(whole_check)),
            Method("where images and label maps lie", lambda: method(places)),
        ],
        repeats=3,
        check=no_faults,
    )


CASES = {"hook": hook, "check": check}
DEFAULT = tuple(CASES)
