"""Objects in volumes through the stock three commands, in 3D."""

from __future__ import annotations

import json

import numpy as np
import pytest
from object_data import DataSet

from maskmed_nnu.instances.detections import unpack
from maskmed_nnu.instances.files import read_ids
from tests.instances.cells import write_cells

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SPACING = (2.0, 1.0, 1.0)
VOLUMES = {"shape": (12, 44, 48), "spacing": SPACING, "radius": (5.0, 8.0), "ending": ".nii.gz"}


def data_set(workspace, number: int, **cells) -> DataSet:
    """Six volumes for training, two unseen ones, of which one has no object."""
    folder = write_cells(workspace.raw, dataset_id=number, images=7, **VOLUMES, **cells)
    data = DataSet(workspace, number, folder.name.removeprefix(f"Dataset{number:03d}_"), model_of="3d_fullres")
    data.keep_two()
    return data


@pytest.fixture(scope="module")
def touching(workspace):
    """One class; the training is killed after an epoch and goes on."""
    data = data_set(workspace, 41, count=9, seed=2)
    printed = {
        "plan": data.plan(patch=32),
        "killed": data.train(fails=True, TINY_KILL_AFTER="0"),
        "trained": data.train("--c"),
    }
    return data, printed | {"predicted": data.predict()}


def test_planning_writes_both_configurations_and_says_which_to_take(touching):
    data, printed = touching
    assert "IAUNet 2d: patch" in printed["plan"] and "IAUNet 3d_fullres: patch" in printed["plan"]
    plans = json.loads((data.preprocessed / "IAUNetPlans.json").read_text())
    assert {"2d", "3d_fullres"} <= set(plans["configurations"])


def test_a_killed_training_continues_and_validates_alone(touching):
    data, printed = touching
    assert "Epoch 1" not in printed["killed"] and "Epoch 0" not in printed["trained"]
    assert "windows of volumes: AP " in printed["trained"] and "Validation complete: AP " in printed["trained"]
    written = data.fold / "validation" / "instances.json"
    before = written.read_text()
    written.unlink()
    assert "Epoch" not in data.train("--val", "--npz")
    assert written.read_text() == before
    kept = [unpack(np.load(path)["detections"]) for path in written.parent.glob("*.npz")]
    assert kept and all(len(one) == 1 and one[0].dim == 3 for one in kept)


def test_objects_are_found_in_3d_on_the_grid_of_the_image(touching):
    data, printed = touching
    assert "slice by slice" not in printed["predicted"]
    found = data.check_predictions()
    data.check_geometry()
    spans = [np.ptp(np.nonzero(raw[0] == number)[0]) for raw in found for number in np.unique(raw) if number]
    assert np.median(spans) >= 2, "objects go through several slices"
    scores = data.evaluate()
    assert scores["images"] == 2 and scores["per_class"]["cell"]["recall@0.5"] > 0.3


def test_maskmed_predict_writes_the_same_ids_and_a_table(touching, workspace):
    data, _ = touching
    output = workspace.root / "again"
    workspace.run(
        *("maskmed", "predict", "-i", data.raw / "imagesTs", "-o", output, "-m", data.fold.parent, "--device", "cpu")
    )
    for path in sorted(data.predictions.glob("*.nii.gz")):
        ids = read_ids(output / path.name, overlap_layers=False)
        np.testing.assert_array_equal(ids, read_ids(path, overlap_layers=False))
    assert (output / "objects.csv").is_file()


def test_cells_and_nuclei_among_stuff(workspace):
    data = data_set(workspace, 42, count=9, classes=3, seed=6)
    data.plan(patch=32)
    data.train()
    data.predict()
    data.check_stuff()


def test_overlapping_cells_are_layers(workspace):
    data = data_set(workspace, 43, count=8, classes=2, overlapping=True, seed=1)
    data.plan(patch=32)
    data.train()
    data.predict()
    layers = data.configuration["instances"]["layer_classes"]
    assert layers.count(1) >= 2 and layers.count(2) >= 1
    found = data.check_predictions()
    assert 1 < max(len(raw) for raw in found) <= len(layers)


def test_five_folds_are_an_ensemble(touching, workspace):
    data, _ = touching
    for fold in range(1, 5):
        data.train(fold=fold)
    output = workspace.root / "five"
    workspace.run(
        "nnUNetv2_predict",
        *("-i", data.raw / "imagesTs", "-o", output, "-d", data.number, "-c", "3d_fullres", "-f", 0, 1, 2, 3, 4),
        *(*data.model, "-device", "cpu", "-npp", 1, "-nps", 1),
    )
    assert len(list(output.glob("*.nii.gz"))) == 2
