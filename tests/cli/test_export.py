"""``maskmed export``, and prediction with what it writes where nnU-Net's folders are not set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmed_nnu.cli.main import main
from maskmed_nnu.nnunet.inference import model_package
from tests.nnunet.tiny_models import tiny_model


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A folder with a model of objects and a picture, as the working directory; nnU-Net's folders are not set."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)
    tiny_model(tmp_path / "model", "IAUNet", folds=(0, 1))
    (tmp_path / "pictures").mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (40, 48)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "pictures" / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_package_from_folder_to_prediction(work, capsys):
    (work / "about.md").write_text("From Ünal's microscope.", encoding="utf-8")
    (work / "scores.json").write_text('{"images": 3, "PQ": 0.5}')
    words = ["export", "model", "cells.zip", "--precision", "float32", "--card", "about.md", "--figures", "scores.json"]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("cells.zip: 2 folds (0, 1) in float32, ")
    package = model_package.PackageModel("cells.zip")
    card = package._package.read("README.md").decode()
    assert "From Ünal's microscope." in card and "| PQ | 0.500 |" in card
    for model, output in (("model", "by_folder"), ("cells.zip", "by_package")):
        assert main(["predict", "-m", model, "-i", "pictures", "-o", output, "--device", "cpu"]) == 0
    ours, theirs = (
        json.loads((work / name / "predictions_coco.json").read_text()) for name in ("by_package", "by_folder")
    )
    assert ours == theirs and ours
    assert (work / "by_package" / "a.png").read_bytes() == (work / "by_folder" / "a.png").read_bytes()


def test_formats_of_other_programs(work, capsys):
    """A flag may stand before or behind the file."""
    pytest.importorskip("bioimageio.spec")
    words = ["--author", "A. Name", "--licence", "CC-BY-4.0", "--example", "pictures/a.png", "-f", "1"]
    assert main(["export", "model", "--onnx", "cells.onnx", "-f", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    size = (work / "cells.onnx").stat().st_size
    assert told == {"onnx": "cells.onnx", "folds": ["1"], "precision": "float32", "bytes": size}
    assert main(["export", "--bioimageio", "model", "zoo.zip", *words]) == 0
    assert capsys.readouterr().out.endswith("Test it with: bioimageio test zoo.zip\n")


def test_a_model_of_ours_by_its_name(work, monkeypatch, capsys):
    (work / "models").mkdir()
    (work / "nuclei").mkdir()
    assert main(["export", "model", "models/nuclei.zip", "-f", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    size = (work / "models" / "nuclei.zip").stat().st_size
    assert told == {"package": "models/nuclei.zip", "folds": ["1"], "precision": "float16", "bytes": size}
    monkeypatch.setattr(model_package, "MODELS", work / "models")
    assert main(["predict", "--model", "nuclei", "-i", "pictures", "-o", "found", "--device", "cpu"]) == 0
    assert (work / "found" / "a.png").is_file()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["nowhere", "x.zip"], 1, "There is no model nowhere"),
        (["model", "x.zip", "--card", "missing.md"], 1, "missing.md cannot be read (No such file or directory)"),
        (["model", "x.tar"], 1, "does not end with .zip"),
        (["model", "x.zip", "-f", "4"], 1, "Fold 4 in"),
        (["model", "x.zip", "--precision", "int8"], 2, "'int8' is not one of 'float16', 'float32'"),
        (["model"], 2, "Missing argument 'FILE'"),
        (["model", "x.zip", "--onnx", "--bioimageio"], 1, "Give either --onnx or --bioimageio"),
        (["model", "x.zip", "--onnx"], 1, "does not end with .onnx"),
        (["model", "x.onnx", "--onnx", "--card", "about.md", "-f", "0"], 1, "An ONNX file cannot contain card"),
        (["model", "--onnx", "x.onnx"], 1, "name one fold, such as 0"),
        (["model", "x.zip", "--bioimageio"], 1, "none are given"),
    ],
)
def test_what_is_refused(work, capsys, words, status, sentence):
    (work / "about.md").write_text("Of noise.")
    assert main(["export", *words]) == status
    assert sentence in capsys.readouterr().err and not (work / "x.zip").exists()
