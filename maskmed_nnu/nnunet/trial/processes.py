"""Plans and training steps that are tried out in processes of their own, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.cpus import process_count
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.nnunet.preflight.folders import folder_of
from maskmed_nnu.nnunet.preflight.planning import FINGERPRINT

Report = Callable[[str], None] | None


def trial_plans(
    data_set: str, planners: Mapping[str, str], *, cases: int, progress: Report = None
) -> tuple[dict[str, Any], Path | None]:
    """What each planner makes of a data set in ``nnUNet_raw``; nothing is written below nnU-Net's folders.

    ``planners`` maps a planner to the name of its plans. For each there is ``plans``, what it ``printed`` and
    ``costs``, or an ``error``. The second value is the fingerprint that was taken over, None where one was extracted.
    """
    with tempfile.TemporaryDirectory(prefix="maskmed_plan_") as name:
        folder = Path(name)
        (folder / data_set).mkdir()
        reused = _fingerprint(data_set, cases)
        if reused is not None:
            shutil.copyfile(reused, folder / data_set / FINGERPRINT)
        processes = process_count()
        job = {"data_set": data_set, "planners": dict(planners), "processes": processes}
        return _run("plan_process", folder, job, progress), reused


def trial_steps(
    rows: Sequence[Mapping[str, Any]], *, dataset_json: Mapping[str, Any], device: str, progress: Report = None
) -> list[dict[str, Any]]:
    """Seconds of a training step on this machine for each of ``rows``: ``plans``, ``trainer``, ``configuration``."""
    with tempfile.TemporaryDirectory(prefix="maskmed_steps_") as name:
        job = {"rows": [dict(row) for row in rows], "dataset_json": dict(dataset_json), "device": device}
        result: list[dict[str, Any]] = _run("step_process", Path(name), job, progress)
        return result


def _fingerprint(data_set: str, cases: int) -> Path | None:
    """One that nnU-Net has extracted, of as many cases as there are now."""
    parent = folder_of("nnUNet_preprocessed")
    path = parent / data_set / FINGERPRINT if parent is not None else None
    if path is None or not path.is_file():
        return None
    try:
        content = read_json(path, expected="nnU-Net's fingerprint of the data set")
        return path if len(content["spacings"]) == cases else None
    except (InputError, LookupError, TypeError):
        return None


def _run(module: str, folder: Path, job: object, progress: Report) -> Any:
    write_json(folder / "job.json", job)
    variables = {name: str(folder) for name in ("nnUNet_preprocessed", "nnUNet_results")}
    command = [sys.executable, "-m", f"{__package__}.{module}", str(folder)]
    with (folder / "errors.txt").open("w+b") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **variables},
            text=True,
        )
        try:
            for line in process.stdout or ():
                if progress is not None:
                    progress(line.strip())
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if status:
        raise InputError(said[-1] if said else f"Trying it out ended with status {status}; run it again.")
    return read_json(folder / "result.json", expected="the results of a trial")
