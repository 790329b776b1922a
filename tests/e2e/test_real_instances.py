"""Real images of cells: converted, and through the stock three commands, with a small network and a short training."""

from __future__ import annotations

import pytest
from object_data import DataSet
from real_cases import few_pictures

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(7200)]


def test_dsb2018(workspace, real_data):
    """Twelve of the 200 images."""
    source = few_pictures(workspace.root / "dsb2018", real_data / "dsb2018", 12)
    data = DataSet(workspace, 41, "Nuclei")
    data.convert(f"--images {source}/images --masks {source}/masks --classes nucleus")
    assert data.through_the_commands(patch=128)["nucleus"]["recall@0.5"] > 0.2


@pytest.mark.slow
def test_isbi2014_cytoplasm(workspace, real_data):
    """Overlapping objects of one class: layers without a divisor."""
    data = DataSet(workspace, 42, "Cytoplasm")
    source = real_data / "isbi2014"
    data.convert(f"--coco {source}/instances.json --images {source}/images --classes cytoplasm")
    assert data.description["overlap_layers"] and "label_divisor" not in data.description
    assert set(data.through_the_commands(patch=256)) == {"cytoplasm"}


@pytest.mark.slow
def test_isbi2014_cytoplasm_and_nuclei(workspace, real_data):
    data = DataSet(workspace, 43, "Cytology")
    source = real_data / "isbi2014"
    data.convert(f"--coco {source}/instances.json --images {source}/images")
    assert data.description["overlap_layers"] and data.description["label_divisor"] == 1000
    assert set(data.through_the_commands(patch=256)) == {"cytoplasm", "nucleus"}


@pytest.mark.slow
def test_usiigaci(workspace, real_data):
    """Large images, and objects in several pieces, which become objects of their own."""
    data = DataSet(workspace, 44, "Phase")
    source = real_data / "usiigaci"
    data.convert(
        f"--images {source}/images --masks {source}/masks --classes cell --split-pieces", test=1
    )  # folds need five
    assert set(data.through_the_commands(patch=256)) == {"cell"}
