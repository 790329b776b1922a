"""The commands of the README on MSD's Hippocampus, as the folder of real data holds it."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from real_cases import copy_cases
from tiny_data import shrink_plans

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(7200)]

NAME = "Dataset004_Hippocampus"
PLAN = ("-d", 4, "-pl", "MaskMedPlanner", "-c", "2d", "3d_fullres", "--verify_dataset_integrity", "-np", 1, "-npfp", 1)


def predict_and_check(workspace, configuration: str, trainer: str) -> float:
    """Predict the unseen cases, compare geometry and probabilities; the mean Dice of `nnUNetv2_evaluate_folder`."""
    raw, output = workspace.raw / NAME, workspace.root / f"out_{configuration}"
    model = ("-p", "MaskMedPlans", "-tr", trainer, "-f", 0, "-device", "cpu")
    arguments = ("-i", raw / "imagesTs", "-o", output, "-d", 4, "-c", configuration, *model, "--save_probabilities")
    workspace.run("nnUNetv2_predict", *arguments, "-npp", 1, "-nps", 1)
    for path in sorted((raw / "imagesTs").glob("*.nii.gz")):
        predicted = output / path.name.replace("_0000", "")
        image, mask = sitk.ReadImage(str(path)), sitk.ReadImage(str(predicted))
        for question in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(mask, question)() == getattr(image, question)()
        np.testing.assert_array_equal(nibabel.load(predicted).affine, nibabel.load(path).affine)
        probabilities = np.load(str(predicted).replace(".nii.gz", ".npz"))["probabilities"]
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=2e-3)
    files = ("-djfile", output / "dataset.json", "-pfile", output / "plans.json", "-np", 1)
    workspace.run("nnUNetv2_evaluate_folder", raw / "labelsTs", output, *files)
    return json.loads((output / "summary.json").read_text())["foreground_mean"]["Dice"]


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_commands_on_a_few_cases(workspace, real_data, configuration):
    if not (workspace.raw / NAME).exists():
        copy_cases(real_data / NAME, workspace.raw / NAME, train=10, test=2)
        workspace.run("nnUNetv2_plan_and_preprocess", *PLAN, nnUNet_n_proc_DA="1")
        shrink_plans(workspace.preprocessed / NAME / "MaskMedPlans.json")
    trainer = "nnUNetTrainerMaskMedTiny_1epochs"  # two without the suffix
    model = ("-p", "MaskMedPlans", "-tr", trainer, "-device", "cpu")
    printed = workspace.run("nnUNetv2_train", 4, configuration, 0, *model)
    assert "Epoch 0" in printed and "Epoch 1" not in printed
    predict_and_check(workspace, configuration, trainer)


@pytest.mark.slow
def test_two_full_epochs(workspace, real_data):
    """Everything as planned, nothing made smaller: half an hour on two cores."""
    shutil.rmtree(workspace.raw / NAME, ignore_errors=True)
    shutil.rmtree(workspace.preprocessed / NAME, ignore_errors=True)
    copy_cases(real_data / NAME, workspace.raw / NAME, train=120, test=20)
    printed = workspace.run("nnUNetv2_plan_and_preprocess", *PLAN, nnUNet_n_proc_DA="1")
    assert "MaskMed 3d_fullres: patch 40×56×40" in printed
    trainer = "nnUNetTrainerMaskMed_2epochs"
    workspace.run("nnUNetv2_train", 4, "3d_fullres", 0, "-p", "MaskMedPlans", "-tr", trainer, "-device", "cpu")
    # 0.885 measured on 29 unseen cases of fold 0
    assert predict_and_check(workspace, "3d_fullres", trainer) > 0.8
