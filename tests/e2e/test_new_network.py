"""A network is added by three files, as CONTRIBUTING.md says, and goes through the stock three commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import SimpleITK as sitk
from tiny_data import write_dataset

from tests.e2e.conftest import CHECKOUT, open_workspace

NETWORK = """
from torch import nn


class TwoLayers(nn.Module):
    \"\"\"Two convolutions at full resolution.\"\"\"

    def __init__(self, *, input_channels, num_classes, conv_op, width, deep_supervision=False, **nnunet):
        super().__init__()
        self.hidden = conv_op(input_channels, width, 3, padding=1)
        self.logits = conv_op(width, num_classes, 1)

    def forward(self, image):
        return self.logits(self.hidden(image).relu())

    def compute_conv_feature_map_size(self, patch):
        size = 1
        for edge in patch:
            size *= edge
        return size * (self.hidden.out_channels + self.logits.out_channels)
"""
PLANNER = """
from maskmed_nnu.networks.two_layers import TwoLayers
from maskmed_nnu.nnunet.experiment_planning.planners.pixelwise import PixelwisePlanner


class TwoLayersPlanner(PixelwisePlanner):
    network = TwoLayers
    preset = {"width": 8}
    learning_rate = 1e-2
"""
TRAINER = """
from maskmed_nnu.nnunet.training.trainers.pixelwise import PixelwiseTrainer


class nnUNetTrainerTwoLayers(PixelwiseTrainer):
    planner = "TwoLayersPlanner"
"""
FILES = {
    "maskmed_nnu/networks/two_layers.py": NETWORK,
    "planners/TwoLayersPlanner.py": PLANNER,
    "trainers/nnUNetTrainerTwoLayers.py": TRAINER,
}
NAME = "Dataset141_New"
MODEL = ("-p", "TwoLayersPlans", "-tr", "nnUNetTrainerTwoLayers_1epochs", "-device", "cpu")


@pytest.mark.slow
def test_three_files_are_a_network(tmp_path: Path):
    checkout = tmp_path / "checkout"
    for part in ("maskmed_nnu", "planners", "trainers"):
        shutil.copytree(CHECKOUT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in FILES.items():
        assert not (checkout / file).exists()
        (checkout / file).write_text(text)
    with open_workspace(tmp_path / "nnunet", checkout=checkout) as workspace:
        write_dataset(workspace.raw, NAME)
        plan = ("-d", 141, "-pl", "TwoLayersPlanner", "-c", "3d_fullres", "-np", 1, "-npfp", 1)
        printed = workspace.run("nnUNetv2_plan_and_preprocess", *plan, nnUNet_n_proc_DA="1")
        assert "TwoLayers 3d_fullres: 251 parameters, " in printed
        workspace.run("nnUNetv2_train", 141, "3d_fullres", 0, *MODEL)
        found = workspace.root / "found"
        images = ("-i", workspace.raw / NAME / "imagesTs", "-o", found, "-npp", 1, "-nps", 1)
        workspace.run("nnUNetv2_predict", *images, "-d", 141, "-c", "3d_fullres", "-f", 0, *MODEL)
        (truth,) = (workspace.raw / NAME / "labelsTs").glob("*.nii.gz")
        wanted, label_map = (sitk.GetArrayFromImage(sitk.ReadImage(str(f / truth.name))) for f in (truth.parent, found))
        both = ((wanted > 0) & (label_map > 0)).sum()
        assert 2 * both / ((wanted > 0).sum() + (label_map > 0).sum()) > 0.8
        edited = workspace.preprocessed / NAME / "TwoLayersPlans.json"
        plans = json.loads(edited.read_text())
        plans["configurations"]["3d_fullres"]["training"]["learning_rate"] = -1
        edited.write_text(json.dumps(plans))
        refused = workspace.run("nnUNetv2_train", 141, "3d_fullres", 0, *MODEL, fails=True)
        assert "training.learning_rate" in refused.strip().splitlines()[-1] and "Traceback" not in refused
