"""nnU-Net's planning and preprocessing command on data sets of generated cells."""

from __future__ import annotations

import json
import pickle

import blosc2
import numpy as np
import pytest

from tests.e2e.conftest import Workspace
from tests.instances.cells import write_cells

COMMAND = "nnUNetv2_plan_and_preprocess"
OPTIONS = ("-pl", "IAUNetPlanner", "-c", "2d", "-npfp", 1, "-np", 1)


def test_from_label_files_to_layers_of_ids(workspace: Workspace):
    folder = write_cells(workspace.raw, overlapping=True, classes=3, images=3)
    printed = workspace.run(COMMAND, "-d", 11, *OPTIONS, "--verify_dataset_integrity")
    assert "Measuring objects" in printed and "IAUNet 2d: patch 128×160" in printed
    assert "matrix: a region without objects" in printed

    preprocessed = workspace.preprocessed / folder.name
    fingerprint = json.loads((preprocessed / "dataset_fingerprint.json").read_text())
    assert fingerprint["objects"]["slices"] == 4
    plans = json.loads((preprocessed / "IAUNetPlans.json").read_text())
    assert plans["image_reader_writer"] == "InstanceIO" and plans["label_manager"] == "InstanceLabelManager"
    layers = plans["configurations"]["2d"]["instances"]["layer_classes"]
    assert {1, 2} == set(layers)
    for case in ("cells_000", "cells_003"):
        seg = np.asarray(blosc2.open(str(preprocessed / "IAUNetPlans_2d" / f"{case}_seg.b2nd"))[:])
        rows = pickle.loads((preprocessed / "IAUNetPlans_2d" / f"{case}.pkl").read_bytes())["class_locations"]
        assert seg.dtype == np.int16 and len(seg) == 1 + len(layers)
        assert sum(len(found) for found in rows.values()) == len(np.unique(seg[1:])) - 1
        assert (seg[1:].max() > 0) == (case == "cells_000")  # the last image is empty


@pytest.mark.parametrize("fault", ["semantic", "empty"])
def test_refusals_are_one_sentence(workspace: Workspace, fault: str):
    dataset_id = 12 if fault == "semantic" else 13
    folder = write_cells(workspace.raw, dataset_id=dataset_id, images=1, count=0)
    if fault == "semantic":
        file = folder / "dataset.json"
        dataset = json.loads(file.read_text())
        del dataset["overwrite_image_reader_writer"]
        file.write_text(json.dumps(dataset))
    printed = workspace.run(COMMAND, "-d", dataset_id, *OPTIONS, "--no_pp", fails=True)
    wanted = "is a semantic data set" if fault == "semantic" else "has no objects"
    assert f"{folder.name} {wanted}" in printed.splitlines()[-1]
    assert "Traceback" not in printed


@pytest.mark.slow
def test_volumes_get_both_configurations(workspace: Workspace):
    folder = write_cells(
        workspace.raw, dataset_id=14, images=2, shape=(8, 48, 56), spacing=(4.0, 1.0, 1.0), ending=".nii.gz"
    )
    options = ("-pl", "IAUNetPlanner", "-c", "2d", "3d_fullres", "-npfp", 1, "-np", 1)
    printed = workspace.run(COMMAND, "-d", 14, *options, "--verify_dataset_integrity")
    assert "IAUNet 2d: patch" in printed and "IAUNet 3d_fullres: patch 8×48×" in printed
    preprocessed = workspace.preprocessed / folder.name
    found = {}
    for name in ("2d", "3d_fullres"):
        seg = np.asarray(blosc2.open(str(preprocessed / f"IAUNetPlans_{name}" / "cells_000_seg.b2nd"))[:])
        rows = pickle.loads((preprocessed / f"IAUNetPlans_{name}" / "cells_000.pkl").read_bytes())["class_locations"]
        assert seg.shape[:2] == (2, 8)
        found[name] = len(rows[1])
    assert found["3d_fullres"] == len(np.unique(seg[1])) - 1 < found["2d"]
