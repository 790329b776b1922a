"""SimpleUNet through the stock three commands, with plans as they come: nothing has to be made smaller."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_data import write_dataset

pytestmark = pytest.mark.timeout(1800)  # the first test of each kind waits for the commands before it

TRAINER = "nnUNetTrainerSimpleUNetTiny"
MODEL = ("-p", "SimpleUNetPlans", "-tr", TRAINER)
CPU = ("-device", "cpu")
DATA = {"plain": (111, "Dataset111_Plain"), "regions_ignore": (112, "Dataset112_Regions")}
RUNS = [
    ("plain", "2d"),
    pytest.param("plain", "3d_fullres", marks=pytest.mark.slow),
    pytest.param("regions_ignore", "3d_fullres", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def planned(workspace) -> dict[str, str]:
    """What planning printed, per data set."""
    printed = {}
    for scenario, (number, name) in DATA.items():
        write_dataset(workspace.raw, name, scenario=scenario, test_cases=2)
        printed[scenario] = workspace.run(
            "nnUNetv2_plan_and_preprocess",
            *("-d", number, "-pl", "SimpleUNetPlanner", "-c", "2d", "3d_fullres", "--verify_dataset_integrity"),
            *("-np", 1, "-npfp", 1),
            nnUNet_n_proc_DA="1",
        )
    # one of the two with deep supervision
    plans_file = workspace.preprocessed / DATA["regions_ignore"][1] / "SimpleUNetPlans.json"
    plans = json.loads(plans_file.read_text())
    plans["configurations"]["3d_fullres"]["simple_unet"]["deep_supervision"] = True
    plans_file.write_text(json.dumps(plans))
    return printed


@pytest.fixture(scope="module")
def predicted(workspace, planned) -> Callable[[str, str], Path]:
    """``predicted(scenario, configuration)``: the folder with the predictions of the two test cases."""

    @functools.cache
    def train_and_predict(scenario: str, configuration: str) -> Path:
        number, name = DATA[scenario]
        workspace.run("nnUNetv2_train", number, configuration, 0, *MODEL, *CPU)
        folder = workspace.root / f"predicted_{number}_{configuration}"
        workspace.run(
            "nnUNetv2_predict",
            *("-i", workspace.raw / name / "imagesTs", "-o", folder, "-d", number, "-c", configuration, "-f", 0),
            *(*MODEL, *CPU, "--save_probabilities", "-npp", 1, "-nps", 1),
        )
        return folder

    return train_and_predict


def test_planning_explains_itself(planned):
    # a label more is a head of 12 weights and a bias more
    for scenario, parameters in (("plain", "28,527"), ("regions_ignore", "28,514")):
        printed = planned[scenario]
        assert "If you didn't see any error messages then your dataset is most likely OK!" in printed
        assert f"SimpleUNet 2d: {parameters} parameters, width 32, 3 stages, patch 28×24, batch size" in printed


@pytest.mark.parametrize(("scenario", "configuration"), RUNS)
def test_training_leaves_what_nnunet_leaves(workspace, predicted, scenario, configuration):
    predicted(scenario, configuration)
    fold = workspace.results / DATA[scenario][1] / f"{TRAINER}__SimpleUNetPlans__{configuration}" / "fold_0"
    names = {path.name for path in fold.iterdir()}
    assert {"checkpoint_final.pth", "checkpoint_best.pth", "progress.png", "debug.json"} <= names
    assert not any(name.endswith(".partial") for name in names)
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert summary["foreground_mean"]["Dice"] > 0.5
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["trainer_name"] == TRAINER and checkpoint["current_epoch"] == 2


@pytest.mark.parametrize(("scenario", "configuration"), RUNS)
def test_predictions_lie_on_the_grid_and_on_the_truth(workspace, predicted, scenario, configuration):
    raw, folder = workspace.raw / DATA[scenario][1], predicted(scenario, configuration)
    images = sorted((raw / "imagesTs").glob("*.nii.gz"))
    assert len(images) == 2
    for path in images:
        name = path.name.replace("_0000", "")
        image, mask = sitk.ReadImage(str(path)), sitk.ReadImage(str(folder / name))
        for question in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(mask, question)() == getattr(image, question)()
        found = sitk.GetArrayFromImage(mask)
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "labelsTs" / name)))
        assert set(np.unique(found)) <= {0, 1, 2}
        found_there, true_there = (labels[truth != 3] > 0 for labels in (found, truth))
        assert 2 * (found_there & true_there).sum() / (found_there.sum() + true_there.sum()) > 0.5
        probabilities = np.load(folder / name.replace(".nii.gz", ".npz"))["probabilities"]
        if scenario == "plain":
            np.testing.assert_allclose(probabilities.sum(0), 1, atol=2e-3)
            np.testing.assert_array_equal(probabilities.argmax(0), found)
        else:
            assert probabilities.shape == (2, *found.shape)
            np.testing.assert_array_equal(probabilities[1] > 0.5, found == 2)


def test_plans_of_another_planner(workspace, planned):
    model = ("-p", "SimpleUNetPlans", "-tr", "nnUNetTrainerMaskMed")
    printed = workspace.run("nnUNetv2_train", 111, "2d", 0, *model, *CPU, fails=True)
    last = printed.strip().splitlines()[-1]
    assert last.startswith("The plans SimpleUNetPlans were made by SimpleUNetPlanner for the network")
    assert "Traceback" not in printed
