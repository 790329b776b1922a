"""Real images of cells: converted, and through the stock three commands, with a small network and a short training."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from instance_data import DataSet

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(7200)]


def few(folder: Path, source: Path, count: int) -> Path:
    """The first ``count`` images and masks of a folder pair."""
    for path in sorted((source / "images").iterdir())[:count]:
        mask = next((source / "masks").glob(f"{path.stem}.*"))
        for file in (path, mask):
            target = folder / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return folder


def through_the_commands(data: DataSet, *, patch: int) -> dict[str, dict]:
    """Scores per class of the unseen images."""
    printed = data.plan(patch=patch)
    assert "If you didn't see any error messages then your dataset is most likely OK!" in printed
    assert "Validation complete: AP " in data.train()
    data.predict()
    found = data.check_predictions()
    assert all(len(np.unique(raw)) > 1 for raw in found)
    return data.evaluate()["per_class"]


def test_dsb2018(workspace, real_data):
    """Twelve of the 200 images."""
    source = few(workspace.root / "dsb2018", real_data / "dsb2018", 12)
    data = DataSet(workspace, 41, "Nuclei")
    data.convert(f"--images {source}/images --masks {source}/masks --classes nucleus")
    assert through_the_commands(data, patch=128)["nucleus"]["recall@0.5"] > 0.2


@pytest.mark.slow
def test_isbi2014_cytoplasm(workspace, real_data):
    """Overlapping objects of one class: layers without a divisor."""
    data = DataSet(workspace, 42, "Cytoplasm")
    source = real_data / "isbi2014"
    data.convert(f"--coco {source}/instances.json --images {source}/images --classes cytoplasm")
    assert data.description["overlap_layers"] and "label_divisor" not in data.description
    assert set(through_the_commands(data, patch=256)) == {"cytoplasm"}


@pytest.mark.slow
def test_isbi2014_cytoplasm_and_nuclei(workspace, real_data):
    data = DataSet(workspace, 43, "Cytology")
    source = real_data / "isbi2014"
    data.convert(f"--coco {source}/instances.json --images {source}/images")
    assert data.description["overlap_layers"] and data.description["label_divisor"] == 1000
    assert set(through_the_commands(data, patch=256)) == {"cytoplasm", "nucleus"}


@pytest.mark.slow
def test_usiigaci(workspace, real_data):
    """Large images, and objects in several pieces, which become objects of their own."""
    data = DataSet(workspace, 44, "Phase")
    source = real_data / "usiigaci"
    data.convert(
        f"--images {source}/images --masks {source}/masks --classes cell --split-pieces", test=1
    )  # folds need five
    assert set(through_the_commands(data, patch=256)) == {"cell"}
