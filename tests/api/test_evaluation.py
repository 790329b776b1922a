"""`mm.evaluate` and `mm.compare` on folders, files and arrays, tidy and messy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

import maskmed_nnu as mm
from tests.nnunet.tiny_models import tiny_model

DATASET = {"labels": {"background": 0, "left": 1, "right": 2, "spleen": 3}, "file_ending": ".nii.gz"}


def write(path: Path, labels: np.ndarray, spacing: tuple[float, ...] = (1, 1, 2), x: float = 0.0) -> None:
    path.parent.mkdir(exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = x
    nibabel.save(nibabel.Nifti1Image(labels, affine), path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three cases; `left` and `right` exchange a voxel in the prediction."""
    rng = np.random.default_rng(0)
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    for name in "abc":
        labels = np.zeros((8, 7, 5), np.uint8)
        labels[1:3, 1:4, 1:4], labels[5:7, 2:5, 1:4] = 1, 2
        write(tmp_path / "labelsTr" / f"{name}.nii.gz", labels)
        predicted = np.roll(labels, int(rng.integers(0, 2)), 1)
        predicted[1, 2, 2] = 2
        write(tmp_path / "predicted" / f"{name}.nii.gz", predicted.astype(np.float32))
    return tmp_path / "labelsTr", tmp_path / "predicted"


def test_folders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done: list[mm.Progress] = []
    plans = {"configurations": {"3d_fullres": {"mirroring": {"axes": [2], "swap": {"2": [[1, 2]]}}}}}
    (folders[1] / "plans.json").write_text(json.dumps(plans))
    result = mm.evaluate(*folders, progress=done.append)
    assert [(now.done, now.total) for now in done] == [(1, 3), (2, 3), (3, 3)]
    table = result.to_table()
    assert table["case"].tolist() == [name for name in "abc" for _ in range(3)]
    assert table["class"].tolist()[:3] == ["left", "right", "spleen"]
    assert table["volume_truth"][0] == 18 * 2
    assert (
        result.wrong_side_table()[["first", "second", "wrong_side", "true_voxels"]].values.tolist()
        == [["left", "right", 1, 36]] * 3
    )
    assert any("no file has spleen" in note for note in result.notes)
    for name in ("out.csv", "out.json"):
        result.save(tmp_path / name)
        result.save(tmp_path / name)
    assert json.loads((tmp_path / "out.json").read_text())["cases"]["a"]["spleen"]["dice"] is None
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(mm.InputError, match="not replaced"):
        result.save(tmp_path / "other.json")
    assert "<table" in result._repr_html_()
    assert "left" in repr(result)


def test_files_arrays_and_images_give_the_same(folders: tuple[Path, Path]) -> None:
    files = [folder / "a.nii.gz" for folder in folders]
    images = [nibabel.load(file) for file in files]
    arrays = [np.asarray(image.dataobj).T for image in images]
    tables = [
        mm.evaluate(*files).to_table(),
        mm.evaluate(*images, dataset=DATASET).to_table(),
        mm.evaluate(*arrays, dataset=DATASET, spacing=(2, 1, 1)).to_table(),
    ]
    for table in tables:
        assert table.drop(columns="case").equals(tables[0].drop(columns="case"))


def test_all_faults_at_once(folders: tuple[Path, Path]) -> None:
    prediction = folders[1]
    labels = np.zeros((8, 7, 5), np.uint8)
    write(prediction / "a.nii.gz", labels, x=5.0)
    write(prediction / "b.nii.gz", labels[:7])
    (prediction / "c.nii.gz").rename(prediction / "d.nii.gz")
    with pytest.raises(mm.InputError) as refused:
        mm.evaluate(*folders)
    for said in ("4 faults", "lacks the predictions of 1 case", "lacks the true", "first voxel at", "5 × 7 × 7 voxels"):
        assert said in str(refused.value)


def test_files_that_cannot_be_used_are_told_together(folders: tuple[Path, Path]) -> None:
    write(folders[1] / "a.nii.gz", np.full((8, 7, 5), 0.5, np.float32))
    content = (folders[1] / "b.nii.gz").read_bytes()
    (folders[1] / "b.nii.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(mm.InputError, match=r"(?s)2 faults.*value 0.5.*b.nii.gz cannot be read"):
        mm.evaluate(*folders)


def test_without_a_dataset_json_labels_are_classes(folders: tuple[Path, Path]) -> None:
    (folders[0].parent / "dataset.json").unlink()
    assert mm.evaluate(*folders).classes == ("1", "2")


def test_compare(folders: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = mm.compare(folders[0], folders[1], folders[0])
    assert (comparison.differences("dice")["difference"] > 0).all()
    assert f"A  {folders[1]}\nB  {folders[0]}" in repr(comparison)
    assert "B is better by" in comparison.conclusion()
    assert "may well be chance (p = 0.25)" in comparison.conclusion()
    same = mm.compare(folders[0], folders[1], folders[1])
    assert "the same mean Dice" in same.conclusion()
    assert {"class", "metric", "p"} <= set(comparison.to_table().columns)
    comparison.save(tmp_path / "comparison.csv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tolerance": -1}, "tolerance"),
        ({"workers": 0}, "workers"),
        ({"partners": [(1, 9)]}, "is not a class"),
        ({"partners": [(1, 2), (2, 3)]}, "more than once"),
        ({"flat": True}, "only objects"),
        ({"tolerance": "1"}, "tolerance is '1'"),
    ],
)
def test_wrong_arguments(folders: tuple[Path, Path], change: dict, words: str) -> None:
    with pytest.raises(mm.InputError, match=words):
        mm.evaluate(*folders, **change)


def test_images_that_lie_elsewhere_are_refused(folders: tuple[Path, Path]) -> None:
    truth = nibabel.load(folders[0] / "a.nii.gz")
    labels = np.asarray(truth.dataobj)
    flipped = nibabel.Nifti1Image(labels[::-1].copy(), np.diag([-1, 1, 2, 1.0]))
    for prediction in (flipped, SimpleITK.GetImageFromArray(labels.T)):
        with pytest.raises(mm.InputError, match="prediction is not on the grid of truth"):
            mm.evaluate(truth, prediction, dataset=DATASET)
    with pytest.raises(mm.InputError, match="reverse.*array.T"):
        mm.evaluate(folders[0] / "a.nii.gz", labels, dataset=DATASET)


def test_only_predicted_cases_on_request(folders: tuple[Path, Path]) -> None:
    (folders[1] / "b.nii.gz").unlink()
    with pytest.raises(mm.InputError, match=r"1 case of .*: b; .*only_predicted"):
        mm.evaluate(*folders)
    result = mm.evaluate(*folders, only_predicted=True)
    assert [case.name for case in result.cases] == ["a", "c"]
    assert any("1 case" in note and "(b)" in note for note in result.notes)
    shutil.rmtree(folders[1])
    folders[1].mkdir()
    with pytest.raises(mm.InputError, match="holds no label map"):
        mm.evaluate(*folders, only_predicted=True)


def test_messy_folders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    truth, predicted = folders
    nibabel.save(nibabel.load(predicted / "a.nii.gz"), predicted / "a.nii")
    (predicted / "a.nii.gz").unlink()
    (predicted / "b.png").write_bytes(b"an overlay")
    truth.rename(tmp_path / "elsewhere")
    linked = tmp_path / "data_set"
    linked.mkdir()
    (tmp_path / "dataset.json").rename(linked / "dataset.json")
    (linked / "labelsTr").symlink_to(tmp_path / "elsewhere")
    assert mm.evaluate(linked / "labelsTr", predicted).classes == ("left", "right", "spleen")
    with pytest.raises(mm.InputError, match="data_set holds no label map; name one of its folders labelsTr"):
        mm.evaluate(linked, predicted)
    (linked / "labelsTr" / "d.nii.gz").symlink_to("nowhere.nii.gz")
    with pytest.raises(mm.InputError, match="lacks the predictions of 1 case"):
        mm.evaluate(linked / "labelsTr", predicted)


def test_exchanged_folders_and_labels(folders: tuple[Path, Path]) -> None:
    (folders[1] / "predicted_by.json").write_text("{}")
    with pytest.raises(mm.InputError, match="exchange them"):
        mm.evaluate(folders[1], folders[0])
    other = {**DATASET, "labels": {"background": 0, "left": 2, "right": 1, "spleen": 3}}
    (folders[1] / "dataset.json").write_text(json.dumps(other))
    assert any("left, right differ" in note for note in mm.evaluate(*folders).notes)
    (folders[1] / "dataset.json").write_text(json.dumps(DATASET))
    assert not any("differ" in note for note in mm.evaluate(*folders).notes)


def test_the_validation_of_a_fold_finds_its_model(folders: tuple[Path, Path], tmp_path: Path) -> None:
    validation = tmp_path / "model" / "fold_0" / "validation"
    shutil.copytree(folders[1], validation)
    (folders[0].parent / "dataset.json").rename(tmp_path / "model" / "dataset.json")
    (validation / "summary.json").write_text("{}")
    assert mm.evaluate(folders[0], validation).classes == ("left", "right", "spleen")


def test_what_a_model_predicts_is_evaluated_as_it_is(tmp_path: Path) -> None:
    model = mm.load(tiny_model(tmp_path / "model", "SimpleUNet", dim=3), device="cpu")
    image = nibabel.Nifti1Image(
        np.random.default_rng(0).normal(size=(20, 24, 28)).astype(np.float32),
        np.array([[0, 2, 0, 3], [1, 0, 0, 5], [0, 0, -3.0, 7], [0, 0, 0, 1]]),
    )
    prediction = model.predict(image)
    assert prediction.labels.any()
    exact = [1.0 if np.any(prediction.labels == label) else np.nan for label in (1, 2)]
    prediction.save(tmp_path / "labels.nii.gz")
    file = nibabel.load(tmp_path / "labels.nii.gz")
    tables = [
        mm.evaluate(truth, prediction).to_table() for truth in (prediction.labels, tmp_path / "labels.nii.gz", file)
    ]
    for table in tables:
        assert table["class"].tolist() == ["liver", "spleen"]
        np.testing.assert_array_equal(table["dice"], exact)
        assert table["volume_truth"].tolist() == [np.sum(prediction.labels == label) * 6.0 for label in (1, 2)]
    with pytest.raises(mm.InputError, match="is not on the grid of"):
        mm.evaluate(nibabel.Nifti1Image(np.asarray(file.dataobj), np.eye(4)), prediction)


def test_objects_of_one_image(tmp_path: Path) -> None:
    model = mm.load(tiny_model(tmp_path / "model", "IAUNet"), device="cpu")
    prediction = model.predict(np.random.default_rng(0).integers(0, 255, (80, 200)).astype(np.uint8))
    result = mm.evaluate(prediction.labels, prediction)
    assert result.scored
    assert result.scores["F1@0.5"] == 1
    truth = prediction.labels.copy()
    truth[truth == truth.max()] = 0
    without_scores = mm.evaluate(truth, prediction.labels, dataset=model.source.dataset_json)
    assert not without_scores.scored
    assert 0 < without_scores.scores["F1@0.5"] == mm.evaluate(truth, prediction).scores["F1@0.5"] < 1
    with pytest.raises(mm.InputError, match="prediction has 80 × 200 voxels, but truth has 80 × 50"):
        mm.evaluate(truth[:, :50], prediction)


@pytest.mark.parametrize(
    ("prediction", "spacing", "words"),
    [
        (None, None, "prediction is a NoneType, which is not a label map"),
        (["a.nii.gz"], None, "prediction is a list"),
        (np.ma.masked_equal(np.zeros((4, 4), int), 1), None, "hides voxels"),
        (np.zeros((4, 4)), 2.0, "spacing of truth is 2.0; it must be 2 positive numbers"),
        (np.zeros((4, 4)), "12", "spacing of truth is '12'"),
    ],
)
def test_wrong_images(prediction: object, spacing: object, words: str) -> None:
    with pytest.raises(mm.InputError, match=words):
        mm.evaluate(np.zeros((4, 4), int), prediction, spacing=spacing)
