"""Stock planning and preprocessing of real scans, through our names in the parent and in its spawned workers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASES = 4


@pytest.mark.real_data
def test_stock_command_plans_and_preprocesses_hippocampus_with_our_planner(real_data, nnunet_env):
    source = real_data / "Dataset004_Hippocampus"
    target = nnunet_env.raw / source.name
    labels = sorted((source / "labelsTr").glob("*.nii.gz"))[:CASES]
    for folder, pattern in (("imagesTr", "{}_0000.nii.gz"), ("labelsTr", "{}.nii.gz")):
        (target / folder).mkdir(parents=True)
        for label in labels:
            name = pattern.format(label.name.removesuffix(".nii.gz"))
            shutil.copy(source / folder / name, target / folder / name)
    dataset = json.loads((source / "dataset.json").read_text()) | {"numTraining": CASES}
    (target / "dataset.json").write_text(json.dumps(dataset))

    script = Path(sys.executable).with_name("nnUNetv2_plan_and_preprocess")
    options = "-d 4 -pl MaskMedPlanner -c 3d_fullres -npfp 1 -np 1 --verify_dataset_integrity".split()
    done = subprocess.run([script, *options], env=nnunet_env.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    folder = nnunet_env.preprocessed / source.name
    plans = json.loads((folder / "MaskMedPlans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    assert plans["experiment_planner_used"] == "MaskMedPlanner"
    assert configuration["architecture"]["network_class_name"] == "maskmed_nnu.networks.maskmed.MaskMed"
    assert len(list((folder / configuration["data_identifier"]).glob("*.pkl"))) == CASES
