"""Left and right through the stock commands: planned, trained and predicted in a mirror, with our plans and without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_sides import SHAPE, write_sides

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CPU = ("-device", "cpu")
SWAP = {"2": [[1, 2]]}
MODELS = {
    "ours, regions": (121, "SimpleUNetPlans", "nnUNetTrainerSimpleUNetTiny"),
    "nnU-Net's own": (122, "nnUNetPlans", "nnUNetTrainerMirrorAwareTiny"),
}


@pytest.fixture(scope="module", params=list(MODELS))
def model(workspace, request) -> tuple[int, Path, str]:
    """Number of the data set, folder of the trained model, and what planning and training printed."""
    number, plans, trainer = MODELS[request.param]
    name = f"Dataset{number}_Sides"
    write_sides(workspace.raw, name, regions="regions" in request.param)
    planner = "SimpleUNetPlanner" if plans == "SimpleUNetPlans" else "ExperimentPlanner"
    printed = workspace.run(
        "nnUNetv2_plan_and_preprocess",
        *("-d", number, "-pl", planner, "-c", "3d_fullres", "-np", 1, "-npfp", 1, "--verify_dataset_integrity"),
        nnUNet_n_proc_DA="1",
    )
    file = workspace.preprocessed / name / f"{plans}.json"
    content = json.loads(file.read_text())
    configuration = content["configurations"]["3d_fullres"]
    configuration["batch_size"] = 2
    if planner == "ExperimentPlanner":
        kwargs = configuration["architecture"]["arch_kwargs"]
        kwargs["features_per_stage"] = [8] * kwargs["n_stages"]
    file.write_text(json.dumps(content))
    printed += workspace.run("nnUNetv2_train", number, "3d_fullres", 0, "-p", plans, "-tr", trainer, *CPU)
    return number, workspace.results / name / f"{trainer}__{plans}__3d_fullres", printed


def test_what_was_found_is_said_and_kept(model):
    _, folder, printed = model
    assert "left-right: one and other take each other's places (8 cases" in printed
    assert "along 2 the labels 1 and 2 change places" in printed
    checkpoint = torch.load(folder / "fold_0" / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    for plans in (json.loads((folder / "plans.json").read_text()), checkpoint["init_args"]["plans"]):
        section = plans["configurations"]["3d_fullres"]["mirroring"]
        assert section["axes"] == [0, 1, 2] and section["swap"] == SWAP and section["orientations"] == {"LPS": 8}


def test_a_mirrored_image_is_predicted_in_the_mirror(workspace, model):
    number, folder, _ = model
    trainer, plans, _ = folder.name.split("__")
    output = workspace.root / f"predicted_{number}"
    workspace.run(
        "nnUNetv2_predict",
        *("-i", workspace.raw / f"Dataset{number}_Sides" / "imagesTs", "-o", output, "-d", number),
        *("-c", "3d_fullres", "-f", 0, "-p", plans, "-tr", trainer, *CPU, "--save_probabilities", "-npp", 1, "-nps", 1),
    )
    there, back = (np.load(output / f"{case}.npz")["probabilities"] for case in "ab")
    np.testing.assert_allclose(back[..., ::-1], there[[0, 2, 1, 3][: len(there)]], atol=1e-6)
    image, mirrored = (sitk.GetArrayFromImage(sitk.ReadImage(str(output / f"{case}.nii.gz"))) for case in "ab")
    assert image.shape == SHAPE
    if len(there) == 4:  # of two regions that hold both, the later one is written
        np.testing.assert_array_equal(mirrored[..., ::-1], np.choose(image, [0, 2, 1, 3]))
    halves = image[..., : SHAPE[2] // 2], image[..., SHAPE[2] // 2 :]
    assert [np.bincount(half.ravel(), minlength=4)[1:3].argmax() for half in halves] == [0, 1], "one right, other left"


def test_the_training_goes_on_with_what_it_found(workspace, model):
    """Nothing is looked for again, though nnU-Net's plans, with which it is started, do not say it."""
    number, folder, _ = model
    trainer, plans, _ = folder.name.split("__")
    (folder / "fold_0" / "checkpoint_final.pth").rename(folder / "fold_0" / "checkpoint_latest.pth")
    printed = workspace.run("nnUNetv2_train", number, "3d_fullres", 0, "-p", plans, "-tr", trainer, *CPU, "--c")
    assert "along 2 the labels 1 and 2 change places" in printed and "Mirroring, by the labels of" not in printed
