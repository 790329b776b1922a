"""From a microscopist's folder to id maps: conversion, the stock three commands, and the comparison with the truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from object_data import TRAINER, DataSet
from tiny_cells import write_coco, write_label_maps, write_volumes

from maskmed_nnu.instances.detections import unpack
from maskmed_nnu.instances.files import read_ids
from tests.instances.cells import write_cells

pytestmark = pytest.mark.timeout(1800)  # the first test of each data set waits for the commands before it


@pytest.fixture(scope="module")
def touching(workspace):
    """One class, PNG; the training is killed after an epoch and goes on."""
    data = DataSet(workspace, 31, "Touching")
    write_label_maps(workspace.root / "touching")
    data.convert("--images @touching/images --masks @touching/masks --split-pieces")
    printed = {"plan": data.plan(), "killed": data.train(fails=True, TINY_KILL_AFTER="0"), "trained": data.train("--c")}
    return data, printed | {"predicted": data.predict(new_interpreter=True)}


@pytest.fixture(scope="module")
def overlapping(workspace):
    """Cells that overlap, each with a nucleus: layers of a TIFF, from COCO json."""
    data = DataSet(workspace, 32, "Overlapping")
    write_coco(workspace.root / "overlapping")
    data.convert("--coco @overlapping/cells.json --images @overlapping/images")
    return data, {"plan": data.plan(), "trained": data.train(), "predicted": data.predict()}


@pytest.fixture(scope="module")
def with_stuff(workspace):
    """Cells with nuclei in holes of them, and a matrix around them that is no object."""
    write_cells(workspace.raw, dataset_id=33, images=7, classes=3, count=12, radius=(6.0, 10.0), seed=6)
    data = DataSet(workspace, 33, "Cells")
    data.keep_two()
    return data, {"plan": data.plan(), "trained": data.train(), "predicted": data.predict()}


@pytest.fixture(scope="module")
def volumes(workspace):
    """NIfTI volumes on oblique grids, of a spacing that differs between the axes."""
    data = DataSet(workspace, 34, "Volumes")
    write_volumes(data.raw)
    data.keep_two()
    return data, {"plan": data.plan(), "trained": data.train(), "predicted": data.predict()}


OBJECTS = {"touching": "no overlaps", "overlapping": "share a pixel", "with_stuff": "matrix: a region without objects"}
"""Fixture → what planning says of its objects."""
FIXTURES = ["touching", *(pytest.param(name, marks=pytest.mark.slow) for name in ("overlapping", "with_stuff"))]


@pytest.mark.parametrize("objects", FIXTURES)
def test_planning_says_what_it_found_and_chose(request, objects):
    _, printed = request.getfixturevalue(objects)
    assert "If you didn't see any error messages then your dataset is most likely OK!" in printed["plan"]
    assert "IAUNet 2d: patch" in printed["plan"] and "queries: a patch of a dense image shows" in printed["plan"]
    assert OBJECTS[objects] in printed["plan"]


def test_a_killed_training_continues(touching):
    data, printed = touching
    assert "Epoch 0" in printed["killed"] and "Epoch 1" not in printed["killed"]
    assert "Epoch 1" in printed["trained"] and "Epoch 0" not in printed["trained"]
    checkpoint = torch.load(data.fold / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["current_epoch"] == 2 and checkpoint["trainer_name"] == TRAINER
    assert len(checkpoint["logging"]["train_losses"]) == 2
    assert np.isfinite(checkpoint["logging"]["train_losses"]).all()


@pytest.mark.parametrize("objects", FIXTURES)
def test_training_leaves_scores_of_whole_images(request, objects):
    data, printed = request.getfixturevalue(objects)
    assert "whole images: AP " in printed["trained"] and "Validation complete: AP " in printed["trained"]
    assert {"checkpoint_best.pth", "progress.png"} <= {path.name for path in data.fold.iterdir()}
    scores = json.loads((data.fold / "validation" / "instances.json").read_text())
    assert 0 <= scores["AP50"] <= 1 and 0 <= scores["PQ"] <= 1
    assert len(list((data.fold / "validation").glob(f"*{data.description['file_ending']}"))) >= 1


def test_validation_alone_says_the_same(touching):
    data, _ = touching
    written = data.fold / "validation" / "instances.json"
    before = written.read_text()
    written.unlink()
    assert "Epoch" not in data.train("--val", "--npz")
    assert written.read_text() == before
    kept = sorted(written.parent.glob("*.npz"))
    assert len(kept) == len(list(written.parent.glob("*.png")))
    assert all(len(unpack(np.load(path)["detections"])) == 1 for path in kept)


def test_touching_cells_are_ids_in_one_png(touching):
    data, _ = touching
    assert data.description["file_ending"] == ".png" and "label_divisor" not in data.description
    data.check_predictions()
    records = sorted(path.stem for path in (data.predictions / "predicted_from").iterdir())
    assert records == sorted(path.stem for path in data.predictions.glob("*.png"))
    scores = data.evaluate()
    assert scores["images"] == 2 and scores["per_class"]["object"]["recall@0.5"] > 0.3


def test_maskmed_predict_writes_the_same_ids(touching, workspace):
    data, _ = touching
    output = workspace.root / "again"
    model = ("-m", data.fold.parent, "--device", "cpu")
    workspace.run("maskmed", "predict", "-i", data.raw / "imagesTs", "-o", output, *model)
    for path in sorted(data.predictions.glob("*.png")):
        np.testing.assert_array_equal(
            read_ids(output / path.name, overlap_layers=False), read_ids(path, overlap_layers=False)
        )
    results = json.loads((output / "predictions_coco.json").read_text())
    assert results and {result["category_id"] for result in results} == {1}


@pytest.mark.slow
def test_overlapping_cells_and_nuclei_are_layers_of_panoptic_ids(overlapping):
    data, _ = overlapping
    assert data.description["overlap_layers"] and data.description["label_divisor"] == 1000
    layers = data.configuration["instances"]["layer_classes"]
    assert layers.count(1) >= 2 and layers.count(2) >= 1
    found = data.check_predictions()
    assert 1 < max(len(raw) for raw in found) <= len(layers)
    assert any(((raw > 0).sum(axis=0) > 1).any() for raw in found), "no pixel belongs to two objects"
    scores = data.evaluate()["per_class"]
    assert set(scores) == {"cell", "nucleus"} and scores["cell"]["recall@0.5"] > 0.3


@pytest.mark.slow
def test_stuff_stands_beside_the_objects(with_stuff):
    data, _ = with_stuff
    data.check_stuff()


@pytest.mark.slow
def test_volumes_keep_their_geometry(volumes):
    data, printed = volumes
    assert "objects are predicted slice by slice" in printed["predicted"]
    data.check_predictions()
    data.evaluate()
    data.check_geometry()
