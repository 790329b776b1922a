"""A study of two networks × two folds by Snakemake: the same predictions and scores as its commands by hand.

On this machine, and through Slurm where one answers (``with_slurm.sh``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_data import write_dataset

from maskmed_nnu.workflow.job_records import read_attempts
from maskmed_nnu.workflow.new_study import _write
from maskmed_nnu.workflow.status import read_status
from maskmed_nnu.workflow.study import BEST, Study, read_study

pytest.importorskip("snakemake", reason="Snakemake is missing: pip install 'maskmed-nnu[cluster]'")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

NUMBER, NAME = 141, "Dataset141_Study"
FOLDS = (0, 1)
CPU = ("-device", "cpu")


def slurm_answers() -> bool:
    if find_spec("snakemake_executor_plugin_slurm") is None or shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True).returncode == 0


OPTIONS = {
    "local": ("--cores", "2"),
    "slurm": ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3"),
}
"""The second are for a cluster without accounting."""
NO_SLURM = pytest.mark.skipif(not slurm_answers(), reason="no Slurm answers (sinfo), or its executor is missing")


def write_study(workspace, name: str) -> Study:
    """On one CPU for each job, so that a training augments in its own process and is the same each time."""
    networks = [
        {
            "name": name.lower(),
            "planner": f"{name}Planner",
            "plans": f"{name}Plans",
            "trainer": f"nnUNetTrainer{name}Tiny",
            "configurations": ["2d"],
        }
        for name in ("MaskMed", "SimpleUNet")
    ]
    job = {"cpus": 1, "memory_gb": 4, "hours": 1}
    kinds = ("prepare", "preprocess", "train", "predict", "evaluate")
    jobs = {kind: job | ({"gpus": 1} if kind in ("train", "predict") else {}) for kind in kinds}
    raw = workspace.raw / NAME
    values = {
        "dataset": NAME,
        "networks": networks,
        "folds": list(FOLDS),
        "ensemble": True,
        "device": "cpu",
        "predict": {"images": str(raw / "imagesTs"), "truth": str(raw / "labelsTs"), "parts": 3},
        "jobs": jobs,
        "gpus": 0,
        "raw": str(workspace.raw),
        "preprocessed": "nnUNet_preprocessed",
        "results": "nnUNet_results",
    }
    _write(workspace.root / name, values)
    return read_study(workspace.root / name)


@pytest.fixture(scope="module")
def raw_data(workspace) -> Path:
    return write_dataset(workspace.raw, NAME, test_cases=12)


@pytest.fixture(scope="module", params=["local", pytest.param("slurm", marks=NO_SLURM)])
def study(request, workspace, raw_data) -> Study:
    study = write_study(workspace, f"study_{request.param}")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", f"profiles/{request.param}", *OPTIONS[request.param]],
        env={**os.environ, **workspace.environ},
        cwd=study.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return study


@pytest.fixture(scope="module")
def by_hand(workspace, raw_data) -> Path:
    """The commands in another place; the folder of the final predictions."""
    study = write_study(workspace, "by_hand")
    workspace.run("nnUNetv2_extract_fingerprint", "-d", NUMBER, "--verify_dataset_integrity", "-np", 1)
    for model in study.models:
        planner = study.planners[model.plans]
        workspace.run("nnUNetv2_plan_experiment", "-d", NUMBER, "-pl", planner, nnUNet_n_proc_DA="1")
        workspace.run("nnUNetv2_preprocess", "-d", NUMBER, "-plans_name", model.plans, "-c", "2d", "-np", 1)
        for fold in FOLDS:
            # not in a process that was forked from one with torch: sums are rounded in another order there
            workspace.run_in_new_interpreter(
                "nnUNetv2_train", NUMBER, "2d", fold, "-tr", model.trainer, "-p", model.plans, "--npz", *CPU
            )
    plans, trainers = [model.plans for model in study.models], [model.trainer for model in study.models]
    names = ("-p", *plans, "-tr", *trainers, "-c", "2d", "-f", *FOLDS)
    workspace.run("nnUNetv2_find_best_configuration", NUMBER, *names, "-np", 1)
    information = json.loads((workspace.results / NAME / "inference_information.json").read_text())
    best = information["best_model_or_ensemble"]
    predicted = []
    for model in best["selected_model_or_models"]:
        predicted.append(workspace.root / f"predicted_{model['plans_identifier']}")
        workspace.run_in_new_interpreter(
            "nnUNetv2_predict",
            *("-i", workspace.raw / NAME / "imagesTs", "-o", predicted[-1], "-d", NUMBER, "-c", "2d", "-f", *FOLDS),
            *("-tr", model["trainer"], "-p", model["plans_identifier"], "--save_probabilities", "-npp", 1, "-nps", 1),
            *CPU,
        )
    source = predicted[0]
    if len(predicted) > 1:
        source = workspace.root / "ensemble"
        workspace.run("nnUNetv2_ensemble", "-i", *predicted, "-o", source, "-np", 1)
    final = workspace.root / "final"
    steps = ("-pp_pkl_file", best["postprocessing_file"], "-plans_json", best["some_plans_file"])
    workspace.run("nnUNetv2_apply_postprocessing", "-i", source, "-o", final, *steps, "-np", 1)
    return final


def test_the_results_are_those_of_the_commands_by_hand(workspace, study, by_hand):
    found = study.final_predictions()
    names = sorted(file.name for file in by_hand.glob("*.nii.gz"))
    assert len(names) == 12
    assert names == sorted(file.name for file in found.glob("*.nii.gz"))
    for name in names:
        maps = [sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name))) for folder in (by_hand, found)]
        np.testing.assert_array_equal(*maps)
    files = (workspace.results / NAME / "inference_information.json", study.folder / BEST)
    information = [json.loads(file.read_text())["all_results"] for file in files]
    assert information[0] == information[1] and len(information[0]) == 3


def test_everything_is_done_once_and_told(study):
    status = read_status(study)
    assert status.finished and not status.failures
    assert [one.state for one in status.trainings] == ["done"] * 4
    assert all(one.epoch == one.epochs == 2 and one.attempts == 1 for one in status.trainings)
    assert all(step.done == step.total and step.failed == 0 for step in status.steps)
    attempts = read_attempts(study.records("measure/MaskMedPlans"))
    assert attempts[0].status == 0
    needs = json.loads((study.folder / "needs" / "MaskMedPlans.json").read_text())["2d"]
    assert needs["seconds"] > 0 and needs["memory_gb"] > 0
    page = (study.folder / "report.html").read_text()
    assert "12 images of" in page and "Wilcoxon" in page
    scores = json.loads((study.folder / "scores.json").read_text())
    labels = json.loads((study.preprocessed / "dataset.json").read_text())["labels"]
    assert scores["kind"] == "semantic" and set(labels) - {"background"} < set(scores["summary"])
