"""MaskAttn-UNet through the stock three commands: labels, objects, and objects with a region around them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from object_data import CPU, DataSet
from tiny_cells import shrink_maskattn_plans, write_label_maps
from tiny_data import write_dataset

from tests.instances.cells import write_cells

# the first test of each data set waits for the commands before it
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LABELS = {
    "plain": (121, "Dataset121_Plain", "MaskAttnUNetPlanner", "MaskAttnUNetPlans", 24),
    "regions_ignore": (122, "Dataset122_Regions", "MaskAttnUNetPlannerLowRes", "MaskAttnUNetLowResPlans", 64),
}
"""Scenario → number, name, planner, plans, patch. Slices are small, so that the other preset enlarges them."""
SCENARIOS = ["plain", "regions_ignore"]
OBJECTS = ["touching", "with_stuff"]
"""Fixtures of data sets of objects."""


@pytest.fixture(scope="module")
def labels(workspace) -> Callable[[str], tuple[Path, str]]:
    """``labels(scenario)``: the folder with the predictions of two test cases, and what planning printed."""

    @functools.cache
    def train_and_predict(scenario: str) -> tuple[Path, str]:
        number, name, planner, plans, patch = LABELS[scenario]
        write_dataset(workspace.raw, name, scenario=scenario, test_cases=2)
        command = ("-d", number, "-pl", planner, "-c", "2d", "--verify_dataset_integrity", "-np", 1, "-npfp", 1)
        printed = workspace.run("nnUNetv2_plan_and_preprocess", *command, nnUNet_n_proc_DA="1")
        shrink_maskattn_plans(workspace.preprocessed / name / f"{plans}.json", patch=patch)
        model = ("-p", plans, "-tr", "nnUNetTrainerMaskAttnUNetTiny")
        workspace.run("nnUNetv2_train", number, "2d", 0, *model, *CPU)
        folder = workspace.root / f"predicted_{number}"
        images = workspace.raw / name / "imagesTs"
        arguments = ("-i", images, "-o", folder, "-d", number, "-c", "2d", "-f", 0, *model, *CPU)
        workspace.run("nnUNetv2_predict", *arguments, "-npp", 1, "-nps", 1)
        return folder, printed

    return train_and_predict


@pytest.fixture(scope="module")
def touching(workspace) -> tuple[DataSet, dict[str, str]]:
    """One class, PNG; the training is killed after an epoch and goes on."""
    data = dataset(workspace, 131, "Touching", "nnUNetTrainerMaskAttnUNetInstanceTiny")
    write_label_maps(workspace.root / "touching")
    data.convert("--images @touching/images --masks @touching/masks --split-pieces")
    printed = {"plan": data.plan(), "killed": data.train(fails=True, TINY_KILL_AFTER="0"), "trained": data.train("--c")}
    return data, printed | {"predicted": data.predict()}


@pytest.fixture(scope="module")
def with_stuff(workspace) -> tuple[DataSet, dict[str, str]]:
    """Cells with nuclei in holes of them, and a matrix around them that is no object."""
    data = dataset(workspace, 133, "Cells", "nnUNetTrainerMaskAttnUNetPanopticTiny")
    write_cells(workspace.raw, dataset_id=133, images=7, classes=3, count=12, radius=(6.0, 10.0), seed=6)
    data.keep_two()
    return data, {"plan": data.plan(), "trained": data.train(), "predicted": data.predict()}


def dataset(workspace, number: int, name: str, trainer: str) -> DataSet:
    return DataSet(workspace, number, name, "MaskAttnUNetPlanner", trainer, shrink_maskattn_plans)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_labels_lie_on_the_grid_and_on_the_truth(workspace, labels, scenario):
    folder, printed = labels(scenario)
    assert "If you didn't see any error messages then your dataset is most likely OK!" in printed
    assert f"patch {'128×128' if scenario == 'regions_ignore' else '28×24'}, batch size" in printed
    raw = workspace.raw / LABELS[scenario][1]
    truths = sorted((raw / "labelsTs").glob("*.nii.gz"))
    assert len(truths) == 2
    for path in truths:
        truth, mask = sitk.ReadImage(str(path)), sitk.ReadImage(str(folder / path.name))
        for question in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(mask, question)() == getattr(truth, question)()
        wanted, found = sitk.GetArrayFromImage(truth), sitk.GetArrayFromImage(mask)
        assert set(np.unique(found)) <= {0, 1, 2}
        known = wanted != 3
        overlap = ((found > 0) & (wanted > 0) & known).sum()
        assert 2 * overlap / ((found[known] > 0).sum() + (wanted[known] > 0).sum()) > 0.5


@pytest.mark.parametrize("objects", OBJECTS)
def test_planning_says_what_it_found_and_chose(request, objects):
    _, printed = request.getfixturevalue(objects)
    assert "If you didn't see any error messages then your dataset is most likely OK!" in printed["plan"]
    assert "MaskAttnUNet 2d: 1," in printed["plan"] and "objects in" in printed["plan"]


def test_a_killed_training_continues(touching):
    data, printed = touching
    assert "Epoch 0" in printed["killed"] and "Epoch 1" not in printed["killed"]
    assert "Epoch 1" in printed["trained"] and "Epoch 0" not in printed["trained"]
    checkpoint = torch.load(data.fold / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["current_epoch"] == 2 and checkpoint["trainer_name"] == data.trainer
    assert np.isfinite(checkpoint["logging"]["train_losses"]).all()


@pytest.mark.parametrize("objects", OBJECTS)
def test_training_leaves_scores_of_whole_images(request, objects):
    data, printed = request.getfixturevalue(objects)
    score = "AP50" if objects == "touching" else "PQ"
    assert f"({score} replaces the pseudo Dice)" in printed["trained"]
    assert "Validation complete: AP " in printed["trained"]
    scores = json.loads((data.fold / "validation" / "instances.json").read_text())
    assert 0 <= scores["AP50"] <= 1 and 0 <= scores["PQ"] <= 1
    summary = json.loads((data.fold / "validation" / "summary.json").read_text())
    assert summary["foreground_mean"][score] == scores[score] and 0 <= summary["foreground_mean"]["Dice"] <= 1


def test_objects_are_ids(touching):
    data, _ = touching
    data.check_predictions()
    scores = data.evaluate()
    assert scores["images"] == 2 and scores["per_class"]["object"]["recall@0.5"] > 0.3


def test_stuff_stands_beside_the_objects(with_stuff):
    data, _ = with_stuff
    data.check_stuff()


def test_a_trainer_of_another_kind(touching, labels):
    data, _ = touching
    labels("plain")
    model = ("-p", data.plans, "-tr", "nnUNetTrainerMaskAttnUNet")
    printed = data.workspace.run("nnUNetv2_train", data.number, "2d", 0, *model, *CPU, fails=True)
    assert "are for the objects of Dataset131_Touching" in printed.strip().splitlines()[-1]
    model = ("-p", data.plans, "-tr", "nnUNetTrainerMaskAttnUNetPanoptic")
    printed = data.workspace.run("nnUNetv2_train", LABELS["plain"][0], "2d", 0, *model, *CPU, fails=True)
    assert "Dataset121_Plain is a semantic data set" in printed.strip().splitlines()[-1]
    assert "Traceback" not in printed
