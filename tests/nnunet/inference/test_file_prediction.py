"""nnU-Net's prediction of files with networks of ours: what is refused, and what counts as predicted already."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.nnunet.inference.file_prediction import wrap_file_prediction
from tests.nnunet.oracle import Oracle, dataset, grid_of_cells, oracle_predictor, plans


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        draw(folder, name, seed)
    return folder


def draw(folder: Path, name: str, seed: int) -> None:
    Image.fromarray(grid_of_cells((40, 50), seed=seed).astype(np.uint16)).save(folder / f"{name}_0000.png")


def predict(images: Path, out: Path, *, score: float = 0.9, names: str = "abc", **options: object) -> None:
    """In one process, and with lists of files, for which nnU-Net starts no pool."""
    description = dataset()
    states = [{"score": torch.tensor(score)}]
    predictor = oracle_predictor(Oracle(), plans(description), description, states=states)
    out.mkdir(exist_ok=True)
    files = [[str(images / f"{name}_0000.png")] for name in names]
    predictor.predict_from_files_sequential(files, [str(out / name) for name in names], **options)


def is_of(out: Path, name: str, image: Path) -> bool:
    found, truth = read_ids(out / f"{name}.png", overlap_layers=False)[0], np.asarray(Image.open(image))
    return found.shape == truth.shape and np.array_equal(found > 0, truth > 0)


def test_only_what_was_predicted_from_these_images_is_skipped(images, tmp_path, capsys):
    out = tmp_path / "out"
    predict(images, out, names="ab")
    first = {name: (out / f"{name}.png").stat().st_mtime_ns for name in "ab"}
    os.utime(images / "a_0000.png")  # as a copy has it: another time, the same content
    draw(images, "b", 7)
    capsys.readouterr()
    predict(images, out, overwrite=False)
    printed = capsys.readouterr().out
    assert "1 of 3 cases are predicted already, by this model and from these files" in printed
    assert "predicted again, because their images have changed since: b\n" in printed
    assert (out / "a.png").stat().st_mtime_ns == first["a"] and (out / "b.png").stat().st_mtime_ns > first["b"]
    assert all(is_of(out, name, images / f"{name}_0000.png") for name in "abc")

    others = tmp_path / "day2"
    others.mkdir()
    Image.fromarray(np.full((30, 20), 5, np.uint16)).save(others / "a_0000.png")
    predict(others, out, names="a", overwrite=False)
    assert f"other images of the same names, in {images}: a" in capsys.readouterr().out
    assert is_of(out, "a", others / "a_0000.png")


def test_a_case_counts_as_predicted_once_all_of_its_files_are_written(images, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    predict(images, out)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr("maskmed_nnu.nnunet.inference.export_prediction.save_detections", out_of_space)
        predict(images, out, names="b", save_probabilities=True)
    (out / "predicted_from" / "c.json").write_text("{")
    half, other = out / ".77.partial.b.png", out / ".77.partial.z.png"  # a killed process's, and another one's at work
    half.touch()
    other.touch()
    capsys.readouterr()
    predict(images, out, overwrite=False)
    printed = capsys.readouterr().out
    assert "predicted again, because there is no record of the images that they were predicted from: b, c" in printed
    assert not half.exists() and other.exists()
    predict(images, out, overwrite=False)
    assert "3 of 3 cases are predicted already" in capsys.readouterr().out
    predict(images, out, overwrite=False, save_probabilities=True)
    assert "0 of 3 cases" in capsys.readouterr().out and len(list(out.glob("*.npz"))) == 3


def out_of_space(*arguments: object) -> None:
    raise OSError("no space")


def test_an_image_that_changes_while_it_is_predicted_is_not_taken_for_predicted(images, tmp_path, capsys, monkeypatch):
    stock = Oracle.predict_instances

    def and_draw(self, image):
        draw(images, "a", 9)
        return stock(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(Oracle, "predict_instances", and_draw)
        predict(images, tmp_path / "out", names="a")
    predict(images, tmp_path / "out", names="a", overwrite=False)
    assert "0 of 1 cases" in capsys.readouterr().out
    assert is_of(tmp_path / "out", "a", images / "a_0000.png")


def test_predictions_of_another_model_are_not_added_to(images, tmp_path, capsys):
    out = tmp_path / "out"
    predict(images, out, names="a")
    with pytest.raises(InputError, match=r"another model.*predicted_by\.json differs in weights.*--continue_predict"):
        predict(images, out, names="b", score=0.8, overwrite=False)
    assert not (out / "b.png").exists()
    # replaced; after a stop the rest of the first model's is not taken for the second's
    predict(images, out, names="b")
    predict(images, out, names="a", score=0.8)
    capsys.readouterr()
    predict(images, out, names="ab", score=0.8, overwrite=False)
    assert "by another model, or with other options: b\n" in capsys.readouterr().out
    (out / "predicted_by.json").unlink()
    (out / "plans.json").write_text(json.dumps({**plans(dataset()), "plans_name": "nnUNetPlans"}))
    with pytest.raises(InputError, match=r"another model.*plans\.json differs"):
        predict(images, out, names="b", overwrite=False)


def test_nothing_is_written_among_the_images_nor_over_anything_else(images, tmp_path):
    description = dataset()
    predictor = oracle_predictor(Oracle(), plans(description), description)
    (tmp_path / "link").symlink_to(images)
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "a.png").write_bytes(b"drawn by hand")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a.png").symlink_to(images / "a_0000.png")
    data = tmp_path / "Dataset001_X"
    (data / "imagesTs").mkdir(parents=True)
    (data / "dataset.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for folder, said in (
        (images, "is the input folder"),
        (tmp_path / "link", "is the input folder"),
        (linked, "a.png, where results would go, is the input file .*a_0000.png"),
        (masks, "a.png exists and is not a prediction"),
        (data / "imagesTs", "belongs to the images and labels of the data set"),
        (data, "the folder of a data set or of a model"),
    ):
        for method in (predictor.predict_from_files, predictor.predict_from_files_sequential):
            with pytest.raises(InputError, match=said):
                method(str(images), str(folder))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_without_names_of_files_the_maps_are_returned(images):
    description = dataset()
    predictor = oracle_predictor(Oracle(), plans(description), description)
    image = images / "a_0000.png"
    for nowhere in (None, images):  # nnU-Net takes folders as text
        (found,) = predictor.predict_from_files_sequential([[str(image)]], nowhere)
        assert np.array_equal(found[0] > 0, np.asarray(Image.open(image)) > 0)


def test_other_networks_are_left_to_nnunet(tmp_path):
    class Stock:
        """Of nnUNetPredictor what is wrapped, with a network that is not ours."""

        def __init__(self):
            predictor = oracle_predictor(Oracle(), plan, dataset())
            self.plans_manager, self.configuration_manager = predictor.plans_manager, predictor.configuration_manager
            self.calls = []

        def predict_from_files(self, source, output, save_probabilities=False, overwrite=True):
            self.calls.append((source, output, overwrite))

        def predict_from_files_sequential(self, source, output):
            self.calls.append((source, output))

        def _manage_input_and_output_lists(self, source, output, stage=None, overwrite=True):
            return source, output, overwrite

    plan = {key: value for key, value in plans(dataset()).items() if key != "label_manager"}
    wrap_file_prediction(Stock)
    stock, folder = Stock(), str(tmp_path)
    stock.predict_from_files(folder, folder, overwrite=False)
    stock.predict_from_files_sequential(folder, folder)
    assert stock.calls == [(folder, folder, False), (folder, folder)]
    assert stock._manage_input_and_output_lists([folder], [folder], overwrite=False) == ([folder], [folder], False)
    assert not list(tmp_path.iterdir())
