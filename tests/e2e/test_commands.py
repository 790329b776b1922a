"""The way of a user: the stock commands, one after the other, with our names after -pl, -p and -tr.

Planning, and training and prediction in 3D, are the installed commands in new interpreters, as at a user's.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_data import make_case, shrink_plans, write_dataset, write_image

pytestmark = pytest.mark.timeout(1800)  # the first test of each kind waits for the commands before it

NAME = "Dataset101_Plain"
TRAINER = "nnUNetTrainerMaskMedTiny"
MODEL = ("-p", "MaskMedPlans", "-tr", TRAINER)
CPU = ("-device", "cpu")


def model_folder(workspace, configuration: str) -> Path:
    return workspace.results / NAME / f"{TRAINER}__MaskMedPlans__{configuration}"


@pytest.fixture(scope="module")
def planned(workspace):
    write_dataset(workspace.raw, NAME, test_cases=2)
    printed = workspace.run_in_new_interpreter(
        "nnUNetv2_plan_and_preprocess",
        *("-d", 101, "-pl", "MaskMedPlanner", "-c", "2d", "3d_fullres", "--verify_dataset_integrity"),
        *("-np", 1, "-npfp", 1),
        nnUNet_n_proc_DA="1",
    )
    shrink_plans(workspace.preprocessed / NAME / "MaskMedPlans.json")
    return printed


@pytest.fixture(scope="module")
def trained(workspace, planned):
    """Both configurations, fold 0; the first is killed after an epoch and continued."""
    printed = [
        workspace.run_in_new_interpreter(
            "nnUNetv2_train", 101, "3d_fullres", 0, *MODEL, *CPU, fails=True, TINY_KILL_AFTER="0"
        ),
        workspace.run_in_new_interpreter("nnUNetv2_train", 101, "3d_fullres", 0, *MODEL, *CPU, "--npz", "--c"),
        workspace.run("nnUNetv2_train", 101, "2d", 0, *MODEL, *CPU, "--npz"),
    ]
    return printed


@pytest.fixture(scope="module")
def predicted(workspace, trained):
    """Folders with the predictions of the two test cases, per configuration."""
    folders = {}
    for configuration in ("2d", "3d_fullres"):
        folders[configuration] = workspace.root / f"predicted_{configuration}"
        run = workspace.run_in_new_interpreter if configuration == "3d_fullres" else workspace.run
        run(
            "nnUNetv2_predict",
            *("-i", workspace.raw / NAME / "imagesTs", "-o", folders[configuration]),
            *("-d", 101, "-c", configuration, "-f", 0, *MODEL, *CPU, "--save_probabilities", "-npp", 1, "-nps", 1),
        )
    return folders


def test_planning_explains_itself(workspace, planned):
    assert "If you didn't see any error messages then your dataset is most likely OK!" in planned
    assert "MaskMed 3d_fullres: patch 20×28×24" in planned
    assert "8 queries: 1.5 for each of 3 classes" in planned
    assert "old nnU-Net default" not in planned


def test_a_killed_training_continues(workspace, trained):
    killed, continued, _ = trained
    assert "Epoch 0" in killed and "Epoch 1" not in killed
    assert "Epoch 1" in continued and "Epoch 0" not in continued
    assert "training: iteration 1/3, loss" in continued
    checkpoint = torch.load(
        model_folder(workspace, "3d_fullres") / "fold_0" / "checkpoint_final.pth", weights_only=False
    )
    assert checkpoint["current_epoch"] == 2 and checkpoint["trainer_name"] == TRAINER
    assert len(checkpoint["logging"]["train_losses"]) == 2


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_training_leaves_what_nnunet_leaves(workspace, trained, configuration):
    fold = model_folder(workspace, configuration) / "fold_0"
    names = {path.name for path in fold.iterdir()}
    assert {"checkpoint_final.pth", "checkpoint_best.pth", "progress.png", "debug.json"} <= names
    assert not any(name.endswith(".partial") for name in names)
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert 0 <= summary["foreground_mean"]["Dice"] <= 1
    assert len(list((fold / "validation").glob("*.npz"))) == 2


def test_validation_alone(workspace, trained):
    summary = model_folder(workspace, "2d") / "fold_0" / "validation" / "summary.json"
    before = json.loads(summary.read_text())["foreground_mean"]["Dice"]
    summary.unlink()
    printed = workspace.run("nnUNetv2_train", 101, "2d", 0, *MODEL, *CPU, "--val")
    assert "Epoch 0" not in printed and "Mean Validation Dice" in printed
    assert json.loads(summary.read_text())["foreground_mean"]["Dice"] == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_predictions_lie_on_the_grid_of_the_images(workspace, predicted, configuration):
    images = sorted((workspace.raw / NAME / "imagesTs").glob("*.nii.gz"))
    assert len(images) == 2
    for path in images:
        output = predicted[configuration] / path.name.replace("_0000", "")
        image, mask = sitk.ReadImage(str(path)), sitk.ReadImage(str(output))
        assert mask.GetSize() == image.GetSize() and mask.GetSpacing() == image.GetSpacing()
        assert mask.GetOrigin() == image.GetOrigin() and mask.GetDirection() == image.GetDirection()
        np.testing.assert_array_equal(nibabel.load(output).affine, nibabel.load(path).affine)
        assert set(np.unique(sitk.GetArrayFromImage(mask))) <= {0, 1, 2}
        probabilities = np.load(str(output).replace(".nii.gz", ".npz"))["probabilities"]
        assert probabilities.shape == (3, *sitk.GetArrayFromImage(image).shape)
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=2e-3)
        np.testing.assert_array_equal(probabilities.argmax(0), sitk.GetArrayFromImage(mask))


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_predictions_say_what_they_were_made_from(predicted, configuration):
    folder = predicted[configuration]
    maps = sorted(path.name for path in folder.glob("*.nii.gz"))
    records = {path.stem: json.loads(path.read_text()) for path in (folder / "predicted_from").iterdir()}
    assert [f"{name}.nii.gz" for name in sorted(records)] == maps
    assert all(list(record["outputs"]) == [f"{name}.nii.gz", f"{name}.npz"] for name, record in records.items())
    assert json.loads((folder / "predicted_by.json").read_text())["trainer"] == TRAINER


def test_ensemble_and_evaluation(workspace, predicted):
    folder = workspace.root / "ensembled"
    workspace.run("nnUNetv2_ensemble", "-i", *predicted.values(), "-o", folder, "-np", 1)
    assert len(list(folder.glob("*.nii.gz"))) == 2
    description = ("-djfile", predicted["2d"] / "dataset.json", "-pfile", predicted["2d"] / "plans.json")
    for output in (folder, predicted["3d_fullres"]):
        workspace.run("nnUNetv2_evaluate_folder", workspace.raw / NAME / "labelsTs", output, *description, "-np", 1)
        summary = json.loads((output / "summary.json").read_text())
        assert len(summary["metric_per_case"]) == 2 and set(summary["mean"]) == {"1", "2"}


def test_find_best_configuration(workspace, trained):
    workspace.run(
        "nnUNetv2_find_best_configuration",
        *(101, "-p", "MaskMedPlans", "-tr", TRAINER, "-c", "2d", "3d_fullres", "-f", 0, "-np", 1),
    )
    information = json.loads((workspace.results / NAME / "inference_information.json").read_text())
    assert len(information["all_results"]) == 3  # two models and their ensemble
    instructions = (workspace.results / NAME / "inference_instructions.txt").read_text()
    assert "nnUNetv2_predict" in instructions and TRAINER in instructions


def test_pretrained_weights(workspace, trained):
    weights = model_folder(workspace, "2d") / "fold_0" / "checkpoint_final.pth"
    printed = workspace.run(
        "nnUNetv2_train", 101, "2d", 1, *MODEL, *CPU, "-pretrained_weights", weights, "--disable_checkpointing"
    )
    assert "Loading pretrained weights" in printed and "Mean Validation Dice" in printed


def last_line(printed: str) -> str:
    return printed.strip().splitlines()[-1]


def predict(workspace, images: Path) -> str:
    return workspace.run(
        "nnUNetv2_predict",
        *("-i", images, "-o", workspace.root / "none", "-d", 101, "-c", "2d", "-f", 0, *MODEL, *CPU),
        *("-npp", 1, "-nps", 1),
        fails=True,
    )


def test_an_image_with_a_channel_too_many(workspace, trained):
    image, _ = make_case(0)
    for channel in range(2):
        write_image(workspace.root / "channels" / f"case_{channel:04d}.nii.gz", image)
    printed = predict(workspace, workspace.root / "channels")
    assert last_line(printed).endswith(
        "channels: 1 case with 2 files: case; dataset.json declares 1 channel; give each case the files _0000, or "
        "correct channel_names."
    )
    assert "Traceback" not in printed


def test_an_image_with_nan(workspace, trained):
    image, _ = make_case(0)
    image[0, 0, :3] = np.nan
    write_image(workspace.root / "nan" / "case_0000.nii.gz", image)
    printed = predict(workspace, workspace.root / "nan")
    assert "case_0000.nii.gz: the file holds 3 of 13440 voxels that are NaN or infinite" in printed
    assert "1 of 1 images could not be predicted; the reason for each is printed above." in last_line(printed)
    assert "Traceback" not in printed


def test_a_configuration_that_the_plans_do_not_have(workspace, planned):
    printed = workspace.run("nnUNetv2_train", 101, "3d_lowres", 0, *MODEL, *CPU, fails=True)
    assert last_line(printed).endswith(
        "plans MaskMedPlans have no configuration '3d_lowres'; they have: 2d, 3d_fullres."
    )
    assert "Traceback" not in printed
