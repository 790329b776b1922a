"""`mm.evaluate` and `mm.compare` on folders, files and arrays, tidy and messy."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

import maskmed_nnu as mm

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
    done: list[tuple[int, int]] = []
    plans = {"configurations": {"3d_fullres": {"mirroring": {"axes": [2], "swap": {"2": [[1, 2]]}}}}}
    (folders[1] / "plans.json").write_text(json.dumps(plans))
    result = mm.evaluate(*folders, progress=lambda *now: done.append(now))
    assert done == [(1, 3), (2, 3), (3, 3)]
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
    assert {"class", "metric", "p"} <= set(comparison.to_table().columns)
    comparison.save(tmp_path / "comparison.csv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tolerance": -1}, "tolerance"),
        ({"workers": 0}, "workers"),
        ({"partners": [(1, 9)]}, "is no class"),
        ({"partners": [(1, 2), (2, 3)]}, "more than once"),
        ({"flat": True}, "only objects"),
    ],
)
def test_wrong_arguments(folders: tuple[Path, Path], change: dict, words: str) -> None:
    with pytest.raises(mm.InputError, match=words):
        mm.evaluate(*folders, **change)
