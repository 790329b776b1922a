"""The files of a case are compared by their headers; planning refuses a data set with all its faults at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.discovery.names import NAMES, load
from maskmed_nnu.nnunet.preprocessing.grid_checks import GridIssues, check_grid

SIZE = (12, 11, 4)
SHEARED = np.eye(4) + 0.05 * np.eye(4, k=1) * [[1], [0], [0], [0]]


def moved(x: float = 20.0) -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = x
    return affine


def nifti(path: Path, affine: np.ndarray | None = None, size: tuple[int, ...] = SIZE, qform: Any = None) -> str:
    image = nibabel.Nifti1Image(np.zeros(size, np.uint8), np.eye(4) if affine is None else affine)
    if qform is not None:
        image.set_sform(affine, 2)
        image.set_qform(qform, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return str(path)


def check(tmp_path: Path, label: Any = None, *, reader: str = "SimpleITKIO", **more: Any) -> GridIssues:
    image = nifti(tmp_path / "a_0000.nii.gz", more.pop("image", None))
    return check_grid([image], nifti(tmp_path / "a.nii.gz", label, **more), reader=reader)


def test_one_grid_has_no_issues(tmp_path):
    assert check(tmp_path) == GridIssues()
    assert check(tmp_path, moved(0.01)) == GridIssues()


@pytest.mark.parametrize("reader", ["SimpleITKIO", "InstanceIO", "NibabelIO", "SimpleITKIOWithReorient"])
def test_labels_elsewhere(tmp_path, reader):
    (fault,) = check(tmp_path, moved(), reader=reader).faults
    assert "a.nii.gz is not on the grid of its image a_0000.nii.gz: it has its first voxel" in fault
    assert "20 voxels away" in fault


def test_a_channel_elsewhere(tmp_path):
    files = [nifti(tmp_path / "a_0000.nii.gz"), nifti(tmp_path / "a_0001.nii.gz", moved())]
    (fault,) = check_grid(files, None, reader="SimpleITKIO").faults
    assert "a_0001.nii.gz is not on the grid of a_0000.nii.gz of the same case" in fault


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_other_volumes(tmp_path, ending):
    files = []
    for name, origin in (("a_0000", (0, 0, 0)), ("a", (0, 7, 0))):
        image = sitk.GetImageFromArray(np.zeros(SIZE[::-1], np.uint8))
        image.SetOrigin(origin)
        files.append(str(tmp_path / f"{name}{ending}"))
        sitk.WriteImage(image, files[-1])
    (fault,) = check_grid(files[:1], files[1], reader="SimpleITKIO").faults
    assert "7 voxels away" in fault


def test_pictures_and_what_cannot_be_read_are_left_to_the_reader(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    files = [nifti(tmp_path / "a_0000.nii.gz"), str(tmp_path / "a.png")]
    assert check_grid(files, str(tmp_path / "a.nii.gz"), reader="SimpleITKIO") == GridIssues()


def test_labels_of_another_size(tmp_path):
    (fault,) = check(tmp_path, size=(12, 11, 5)).faults
    assert "a.nii.gz: the labels have the shape 5×11×12, the image has 4×11×12" in fault


def test_an_axis_of_one_voxel_may_be_left_out(tmp_path):
    image = nifti(tmp_path / "a_0000.nii.gz", size=(12, 11, 1))
    for size in ((12, 11), (12, 11, 1), (12, 11, 1, 1)):
        assert not check_grid([image], nifti(tmp_path / "a.nii.gz", size=size), reader="SimpleITKIO").faults


def test_layers_of_objects_are_no_slices(tmp_path):
    image = nifti(tmp_path / "a_0000.nii.gz", size=(12, 11, 1))
    assert not check_grid([image], nifti(tmp_path / "a.nii.gz", size=(12, 11, 3)), reader="InstanceIO").faults
    label = nifti(tmp_path / "a.nii.gz", moved(), size=(12, 11, 3))
    assert len(check_grid([image], label, reader="InstanceIO").faults) == 1


def test_a_label_map_that_nnunet_turns_first(tmp_path):
    """The same place, stored from right to left: only a reader that turns images takes it."""
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = SIZE[0] - 1
    assert "the direction" in check(tmp_path, flipped).faults[0]
    for reader in ("SimpleITKIOWithReorient", "NibabelIOWithReorient"):
        assert not check(tmp_path, flipped, reader=reader).faults


def test_a_sheared_volume_is_refused_where_its_reader_would_fail(tmp_path):
    issues = check(tmp_path, SHEARED, image=SHEARED)
    assert len(issues.faults) == 2 and "a_0000.nii.gz is sheared" in issues.faults[0]
    issues = check(tmp_path, SHEARED, image=SHEARED, reader="NibabelIO")
    assert not issues.faults
    assert issues.notes() == [
        "The axes of 2 files (a_0000.nii.gz, a.nii.gz) are sheared (not perpendicular); nnU-Net takes them as if they "
        "were perpendicular."
    ]


def test_forms_that_disagree_are_told_once_for_many_files(tmp_path):
    issues = GridIssues()
    for name in "abcde":
        image = nifti(tmp_path / f"{name}_0000.nii.gz", moved(), qform=np.eye(4))
        issues.add(check_grid([image], None, reader="SimpleITKIO"))
    (note,) = issues.notes()
    assert note.startswith(
        "sform and qform disagree in 5 files (a_0000.nii.gz, b_0000.nii.gz, c_0000.nii.gz and 2 more)"
    )
    assert "the qform is used" in note
    assert "sform" in check_grid([image], None, reader="NibabelIO").forms  # nibabel prefers it


def write_data_set(raw: Path, number: int, **more: object) -> Path:
    folder = raw / f"Dataset{number:03d}_G"
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}, "numTraining": 3}
    for name in "abc":
        nifti(folder / "imagesTr" / f"{name}_0000.nii.gz")
        nifti(folder / "labelsTr" / f"{name}.nii.gz", moved() if name != "a" else None)
    (folder / "dataset.json").write_text(json.dumps(description | {"file_ending": ".nii.gz"} | more))
    return folder


@pytest.mark.parametrize("planner", sorted(NAMES["planner"]))
def test_every_planner_looks_at_the_grids_first(nnunet_env, planner):
    more = {"overwrite_image_reader_writer": "InstanceIO"} if "IAUNet" in planner else {}
    write_data_set(nnunet_env.raw, 5, **more)
    with pytest.raises(
        InputError, match=r"Dataset005_G has 2 faults:\n- .*b.nii.gz is not on the grid of(.|\n)*- .*c.nii.gz"
    ):
        load(NAMES["planner"][planner]).check_data_set(5)


def test_planning_tells_what_may_stay(nnunet_env, capsys):
    folder = write_data_set(nnunet_env.raw, 5)
    for name in "abc":
        nifti(folder / "imagesTr" / f"{name}_0000.nii.gz", SHEARED)
        nifti(folder / "labelsTr" / f"{name}.nii.gz", SHEARED)
    load(NAMES["planner"]["MaskMedPlanner"]).check_data_set(5)  # nnU-Net takes nibabel's reader where ITK's fails
    assert "Note: The axes of 6 files" in capsys.readouterr().out


def test_planning_leaves_missing_files_to_nnunet(nnunet_env):
    check_data_set = load(NAMES["planner"]["MaskMedPlanner"]).check_data_set
    folder = write_data_set(nnunet_env.raw, 5)
    for path in (folder / "imagesTr").iterdir():
        path.unlink()
    check_data_set(5)
    (folder / "imagesTr").rmdir()
    check_data_set(5)
