"""From a layer to layers of labels with their tables, by toy models."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas
import pytest

import maskmed_nnu as mm
from maskmed_nnu.napari_plugin.label_layers import label_layers
from maskmed_nnu.napari_plugin.layer_image import layer_image
from maskmed_nnu.napari_plugin.segmentation import segment
from tests.napari_plugin.fake_layers import MM, UM, fake_layer, fake_reader
from tests.nnunet.tiny_models import tiny_model


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 30, shape).astype(np.float32)


def test_objects_have_a_row_for_each_label(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "IAUNet"), device="cpu")
    picture = noise(40, 50)
    layer = fake_layer(picture, name="cells", scale=np.array([0.5, 0.25]), units=(UM, UM))
    ((labels, arguments, kind),) = segment(layer, model)
    expected = model.predict(picture)
    np.testing.assert_array_equal(labels, expected.labels)
    assert kind == "labels" and labels.dtype.kind == "i" and arguments["name"] == "cells objects"
    np.testing.assert_array_equal(arguments["scale"], (0.5, 0.25))
    table = arguments["features"]
    assert len(table) > 1 and table["index"].tolist() == sorted(set(np.unique(labels)) - {0})
    scores = dict(zip(expected.ids, expected.scores, strict=True))
    for row in table.itertuples():
        assert row.score == scores[row.index] and row.area_um2 == pytest.approx(row.pixels * 0.125)


def test_objects_of_a_volume_have_a_row_each(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "IAUNet", dim=3, ending=".tif"), device="cpu")
    volume = noise(8, 14, 16)
    layer = fake_layer(volume, name="nuclei", scale=np.array([2, 0.5, 0.5]), units=(UM,) * 3)
    ((labels, arguments, kind),) = segment(layer, model)
    np.testing.assert_array_equal(labels, model.predict(volume, spacing=(2e-3, 5e-4, 5e-4)).labels)
    assert labels.shape == volume.shape and kind == "labels"
    table = arguments["features"]
    assert table["index"].tolist() == sorted(set(np.unique(labels)) - {0}) and len(table) > 1
    np.testing.assert_allclose(table["volume_um3"], table["pixels"] * 0.5)
    np.testing.assert_allclose(table["equivalent_diameter_um"], (6 * table["volume_um3"] / np.pi) ** (1 / 3))


def test_stuff_has_rows_too(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "MaskAttnUNetPanoptic"), device="cpu")
    ((labels, arguments, _),) = segment(fake_layer(noise(40, 50)), model)
    table = arguments["features"].set_index("index")
    assert set(table.index) == set(np.unique(labels)) - {0} and (labels % 1000 == 0).any()
    for value, row in table.iterrows():
        assert row["class"] == model.names[value // 1000]
        if value % 1000 == 0:
            assert row["pixels"] == (labels == value).sum() and np.isnan(row["score"])


def test_objects_that_overlap_get_a_layer_for_each_of_the_data_set():
    """Their ids are unique in the image; a layer without objects is left out."""
    labels = np.zeros((3, 8, 9), np.uint16)
    labels[0, 1:5, 1:5] = 1
    labels[1, 3:7, 3:7], labels[1, :2, 7:] = 2, 3
    table = pandas.DataFrame({"id": [2, 1, 3, 0], "class": ["cell"] * 4, "score": [0.9, 0.8, 0.7, 0.6]})
    prediction = SimpleNamespace(
        labels=labels, axes="YX", has_objects=True, spacing=None, notes=["n"], names={}, to_table=lambda: table
    )
    model = SimpleNamespace(source=SimpleNamespace(name="m", dataset_json={"overlap_layers": True}))
    image = layer_image([fake_layer(np.zeros((8, 9)))], fake_reader())
    layers = label_layers(prediction, image, model)
    assert [arguments["name"] for _, arguments, _ in layers] == ["CT objects 1", "CT objects 2"]
    for (data, arguments, _), expected, ids in zip(layers, labels[:2], ([1], [2, 3]), strict=True):
        np.testing.assert_array_equal(data, expected)
        assert arguments["features"]["index"].tolist() == ids
    assert layers[0][1]["features"]["score"].tolist() == [0.8]


def test_classes_of_a_volume_with_channels(tmp_path):
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3, channels=("CT", "PET"))
    model = mm.load(folder, device="cpu")
    data = noise(2, 6, 20, 17)
    scale = np.array([5, 2.5, 0.8, 0.7])
    ((labels, arguments, _),) = segment(fake_layer(data, scale=scale, units=(MM,) * 4), model)
    np.testing.assert_array_equal(labels, model.predict(data, spacing=(2.5, 0.8, 0.7)).labels)
    np.testing.assert_array_equal(arguments["scale"], scale[1:])
    table = arguments["features"]
    assert table["index"].tolist() == [1, 2] and table["class"].tolist() == ["liver", "spleen"]
    np.testing.assert_allclose(table["volume_mm3"], [(labels == one).sum() * 1.4 for one in (1, 2)])
    mixed = data.transpose(1, 0, 2, 3)
    ((between, _, _),) = segment(fake_layer(mixed, scale=scale[[1, 0, 2, 3]], units=(MM,) * 4), model, axes="ZCYX")
    np.testing.assert_array_equal(between, labels[:, None])
    with pytest.raises(mm.InputError, match="does not fit the model, which takes a volume of 2 channels"):
        segment(fake_layer(data[0], units=(MM,) * 3), model)


def test_frames_and_slices_of_a_model_of_planes(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "IAUNet"), device="cpu")
    data = noise(3, 40, 50)
    ((labels, _, _),) = segment(fake_layer(data, axis_labels=("t", "y", "x")), model)
    np.testing.assert_array_equal(labels, model.predict(data).labels)


def test_a_prediction_can_be_stopped(tmp_path):
    told = []

    def stop(now: mm.Progress) -> None:
        told.append(now.stage)
        raise KeyError

    with pytest.raises(KeyError):
        segment(fake_layer(noise(40, 50)), tiny_model(tmp_path / "model", "IAUNet"), progress=stop)
    assert told == ["loading"]
