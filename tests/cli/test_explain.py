"""`maskmed explain`: files, the table, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.cli.main import main
from tests.nnunet.tiny_models import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "attention", "MaskAttnUNet", channels=("T1", "T2"))


@pytest.fixture
def image(tmp_path):
    """The channels of a volume of three slices."""
    volume = np.random.default_rng(0).standard_normal((3, 40, 50)).astype(np.float32)
    for channel in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(volume + channel), str(tmp_path / f"case_{channel:04d}.nii.gz"))
    return tmp_path / "case_0000.nii.gz"


def explain(*words):
    return main(["explain", *map(str, words), "--device", "cpu"])


def test_files_and_a_table(model, image, tmp_path, capsys):
    assert explain(model, image, "-o", tmp_path / "out", "--at", 2, 30, 11) == 0
    printed = capsys.readouterr()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["arrays.npz", "attention.png", "modules.csv"]
    rows = [line.split("|")[1].strip() for line in printed.out.splitlines() if line.startswith("|")]
    assert rows[0] == "module" and rows[2:] == [f"encoder.{n}.1" for n in range(3)] + ["decoder.1.1", "decoder.0.1"]
    assert "was not trained" in printed.err
    assert printed.out.splitlines()[-1].startswith("MaskAttnUNet, fold 0, voxels (2, 8, 0) to (2, 39, 31): ")
    with np.load(tmp_path / "out" / "arrays.npz") as arrays:
        assert arrays["image"].shape == (2, 32, 32) and arrays["box"][0] == 2


def test_json_is_all_that_is_printed(model, image, tmp_path, capsys):
    files = [image, image.with_name("case_0001.nii.gz")]
    assert explain(model, *files, "-o", tmp_path / "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"] == "MaskAttnUNet" and len(told["tables"]["modules"]) == 5
    assert len(told["first_voxel"]) == 3 and any("was not trained" in note for note in told["notes"])


def test_the_folder_of_the_image_is_refused(model, image, tmp_path, capsys):
    assert explain(model, image, "-o", image.parent) == 1
    assert "is the input folder" in capsys.readouterr().err
    assert not (tmp_path / "attention.png").exists()
