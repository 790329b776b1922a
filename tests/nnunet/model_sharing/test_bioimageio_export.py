"""Packages for bioimage.io: its own test of them passes, and what it cannot describe is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maskmed_nnu as mm
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.model_source import open_model
from maskmed_nnu.nnunet.model_sharing.bioimageio_tensors import _axis, normalize, preprocessing
from tests.api.test_model import save_nifti
from tests.nnunet.tiny_models import OBJECTS, REGIONS, tiny_model

OPTIONS = {"format": "bioimageio", "authors": ["Ada Lovelace"], "licence": "CC-BY-4.0"}


def picture(folder: Path, *, objects: bool) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (40, 48)).astype(np.uint8)
    if objects:
        Image.fromarray(values).save(folder / "example.png")
        return folder / "example.png"
    return save_nifti(folder / "example.nii.gz", values[None].astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("network", ["IAUNet", "SimpleUNet", "MaskAttnUNetPanoptic"])
def test_the_zoos_own_test_passes(tmp_path, network):
    core = pytest.importorskip("bioimageio.core")
    labels = REGIONS if network == "SimpleUNet" else None
    folder = tiny_model(tmp_path / "model", network, labels=labels)
    example = picture(tmp_path, objects=network in OBJECTS)
    file = mm.export(folder, tmp_path / "zoo.zip", example=example, card="Made of noise.", **OPTIONS)
    summary = core.test_description(file)
    assert summary.status == "passed", summary.format()
    model = core.load_description(file)
    assert str(model.license) == "CC-BY-4.0" and [author.name for author in model.authors] == ["Ada Lovelace"]
    with zipfile.ZipFile(file) as archive:
        card = archive.read("README.md").decode()
        tensors = {
            name.removesuffix(".npy"): np.load(archive.open(name)) for name in archive.namelist() if "npy" in name
        }
    assert "Made of noise." in card and "| licence of the model | CC-BY-4.0 |" in card and "maskmed predict" not in card
    if network == "SimpleUNet":  # PyTorch's answer to the test input, without ONNX and without bioimage.io
        loaded = open_model(folder).predictor(["0"], device="cpu", mirroring=False).network.eval()
        image = tensors["image"]
        image = (image - image.mean()) / image.std()
        with torch.no_grad():
            expected = loaded(torch.from_numpy(image)).sigmoid().numpy()
        np.testing.assert_allclose(tensors["probabilities"], expected, atol=1e-4)
        assert mm.export(folder, file, example=example, **OPTIONS) == file, "an older one is replaced"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"authors": []}, "requires the authors of the model, and none are given"),
        ({"example": None}, "requires an image to test the model with, and none is given"),
        ({"example": "missing.png"}, "missing.png is not a file"),
        ({"licence": None}, "requires the licence of the model, and none is given"),
        ({"precision": "float16"}, "precision applies to packages"),
        ({"format": "tflite"}, "There is no format 'tflite' for models; legal are package, onnx, bioimageio"),
        ({"format": "onnx"}, "An ONNX file cannot contain example, authors, licence"),
    ],
)
def test_what_is_refused(tmp_path, options, fault):
    pytest.importorskip("bioimageio.spec")
    folder, example = tiny_model(tmp_path / "model", "SimpleUNet"), picture(tmp_path, objects=False)
    with pytest.raises(InputError, match=fault):
        mm.export(folder, tmp_path / "x.zip", **{**OPTIONS, "example": example, **options})
    assert not (tmp_path / "x.zip").exists()


def test_a_model_of_volumes_is_refused(tmp_path):
    pytest.importorskip("bioimageio.spec")
    folder, example = tiny_model(tmp_path / "model", "SimpleUNet", dim=3), picture(tmp_path, objects=False)
    with pytest.raises(InputError, match="is a model of volumes, and only models of images"):
        mm.export(folder, tmp_path / "x.zip", example=example, **OPTIONS)


def test_without_the_extra(tmp_path, monkeypatch):
    from maskmed_nnu.nnunet.model_sharing import output_file

    monkeypatch.setattr(output_file, "find_spec", lambda name: None)
    example = picture(tmp_path, objects=False)
    with pytest.raises(InputError, match=r"onnxruntime, bioimageio.spec, .* pip install 'maskmed-nnu\[export\]'"):
        mm.export(tmp_path / "model", tmp_path / "x.zip", example=example, **OPTIONS)


def test_axes_lie_on_the_image():
    """Coarser maps have larger pixels, windows those of the patch; channels come in the order of the labels."""
    settings = {
        "preprocessing": {"spacing": [0.5, 0.25], "reader": "InstanceIO"},
        "sliding_window": {"patch_size": [64, 32]},
        "labels": {"names": {"background": 0, "stroma": 2, "nucleus": 1}},
        "objects": {"thing_classes": [1]},
    }
    axis = {"type": "space", "id": "y", "unit": "millimeter"}
    assert _axis("y", 64, "semantic", settings) == {**axis, "size": 64, "scale": 0.5}
    assert _axis("y", 16, "heatmap", settings) == {**axis, "size": 16, "scale": 2.0}
    assert _axis("y", 16, "masks", settings) == {**axis, "size": 16, "scale": 0.5}
    named = {output: _axis("channel", size, output, settings)["channel_names"] for output, size in
             {"semantic": 3, "heatmap": 1, "peaks": 2, "embeddings": 3}.items()}  # fmt: skip
    assert named["semantic"] == ["background", "nucleus", "stroma"] and named["heatmap"] == ["nucleus"]
    assert named["peaks"] == ["x", "y"] and named["embeddings"] == ["channel0", "channel1", "channel2"]
    settings["preprocessing"]["spacing"] = [1.0, 1.0]
    assert "unit" not in _axis("x", 8, "heatmap", settings), "pictures need not have a spacing"
    settings["preprocessing"]["reader"] = "SimpleITKIO"
    assert _axis("x", 32, "logits", settings)["unit"] == "millimeter"


def channel(scheme: str, *, mask: bool = False, **numbers: float) -> dict:
    return {"name": scheme, "normalization": scheme, "use_mask_for_norm": mask, **numbers}


CT = {"percentile_00_5": -100.0, "percentile_99_5": 200.0, "mean": 40.0, "std": 90.0}


@pytest.mark.parametrize(
    "one", [channel("ZScoreNormalization"), channel("CTNormalization", **CT), channel("RGBTo01Normalization"),
            channel("RescaleTo01Normalization"), channel("NoNormalization")], ids=lambda one: one["name"]
)  # fmt: skip
def test_normalisation_is_nnunets(one):
    from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes

    image = np.random.default_rng(0).uniform(0, 255, (12, 10)).astype(np.float32)
    expected = getattr(schemes, one["normalization"])(False, CT).run(image.copy(), None)
    steps = preprocessing({"channels": [one]})
    np.testing.assert_allclose(normalize(image[None, None], steps)[0, 0], expected, atol=1e-5)


def test_normalisation_that_the_zoo_cannot_describe():
    for channels, fault in (
        ([channel("ZScoreNormalization", mask=True)], "are normalised inside a mask"),
        ([channel("CTNormalization", **CT), channel("ZScoreNormalization")], "in several ways"),
        ([channel("CTNormalization", **CT)] * 2, "Several channels are clipped, each to its own range"),
    ):
        with pytest.raises(InputError, match=fault):
            preprocessing({"channels": channels})


def test_a_licence_that_spdx_does_not_list(tmp_path):
    pytest.importorskip("bioimageio.spec")
    from maskmed_nnu.nnunet.model_sharing.bioimageio_export import _licence_of, check_licence

    with pytest.raises(InputError, match="'for all' is not a licence that SPDX lists"):
        check_licence("for all")
    assert _licence_of(json.loads('{"licence": " MIT "}')) == "MIT"
