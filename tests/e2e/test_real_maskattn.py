"""MaskAttn-UNet on real images through the stock three commands, with a narrow network and a short training."""

from __future__ import annotations

import json

import pytest
import SimpleITK as sitk
from object_data import CPU, DataSet
from real_cases import few_pictures
from tiny_cells import shrink_maskattn_plans

from maskmed_nnu.cli.main import main

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(7200)]


def dataset(workspace, number: int, name: str, trainer: str) -> DataSet:
    return DataSet(workspace, number, name, "MaskAttnUNetPlanner", trainer, shrink_maskattn_plans)


def test_photographs_of_foot_ulcers_at_low_resolution(workspace, real_data):
    """Labels; colours; predictions of 512×512 from images of 128×128."""
    source = real_data / "fuseg"
    target = ("--id", "140", "--name", "Ulcers", "--output", str(workspace.raw), "--test", "5")
    masks = ("--images", str(source / "images"), "--masks", str(source / "masks"))
    assert main(["convert", *masks, "--semantic", "--classes", "ulcer", *target]) == 0
    raw, plans = workspace.raw / "Dataset140_Ulcers", "MaskAttnUNetLowResPlans"
    command = ("-d", 140, "-pl", "MaskAttnUNetPlannerLowRes", "-c", "2d", "--verify_dataset_integrity")
    printed = workspace.run("nnUNetv2_plan_and_preprocess", *command, "-np", 1, "-npfp", 1, nnUNet_n_proc_DA="1")
    assert "patch 128×128" in printed and "spacing of 4 × 4" in printed
    shrink_maskattn_plans(workspace.preprocessed / raw.name / f"{plans}.json", patch=128)
    model = ("-p", plans, "-tr", "nnUNetTrainerMaskAttnUNetTiny")
    workspace.run("nnUNetv2_train", 140, "2d", 0, *model, *CPU)
    output = workspace.root / "out_140"
    arguments = ("-i", raw / "imagesTs", "-o", output, "-d", 140, "-c", "2d", "-f", 0, *model, *CPU)
    workspace.run("nnUNetv2_predict", *arguments, "-npp", 1, "-nps", 1)
    truths = list((raw / "labelsTs").iterdir())
    assert len(truths) == 5
    everything = []
    for truth in truths:
        label = sitk.ReadImage(str(truth))
        assert sitk.ReadImage(str(output / truth.name)).GetSize() == label.GetSize()
        share = float((sitk.GetArrayViewFromImage(label) > 0).mean())
        everything.append(2 * share / (1 + share))
    files = ("-djfile", output / "dataset.json", "-pfile", output / "plans.json", "-np", 1)
    workspace.run("nnUNetv2_evaluate_folder", raw / "labelsTs", output, *files)
    # how well so little training does differs from machine to machine; calling all of it an ulcer is no skill
    dice = json.loads((output / "summary.json").read_text())["foreground_mean"]["Dice"]
    assert dice > 1.5 * sum(everything) / len(everything)


def test_dsb2018_objects(workspace, real_data):
    """Twelve of the 200 images."""
    source = few_pictures(workspace.root / "dsb2018", real_data / "dsb2018", 12)
    data = dataset(workspace, 141, "Nuclei", "nnUNetTrainerMaskAttnUNetInstanceTiny")
    data.convert(f"--images {source}/images --masks {source}/masks --classes nucleus")
    assert data.through_the_commands(patch=128)["nucleus"]["recall@0.5"] > 0.1


@pytest.mark.slow
def test_isbi2014_background_cytoplasm_and_nuclei(workspace, real_data):
    data = dataset(workspace, 143, "Cytology", "nnUNetTrainerMaskAttnUNetPanopticTiny")
    source = real_data / "isbi2014"
    data.convert(f"--coco {source}/instances.json --images {source}/images")
    assert data.description["overlap_layers"] and data.description["label_divisor"] == 1000
    assert set(data.through_the_commands(patch=256)) == {"cytoplasm", "nucleus"}
