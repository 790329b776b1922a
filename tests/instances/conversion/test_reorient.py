"""A copy of a folder with all volumes turned: complete or not there, never over what it is made from."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion import reorient as module
from maskmed_nnu.instances.conversion.reorient import reorient
from maskmed_nnu.instances.formats.reorientation import code_of

DESCRIPTION = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}


def nifti(path: Path, *, flipped: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0 if flipped else -1.0, 2, 3, 1])), path)
    return path


def itk(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5)), str(path))
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def source(tmp_path) -> Path:
    """A raw data set of two cases, stored either way round."""
    folder = tmp_path / "Dataset005_Mixed"
    for name, flipped in (("a", False), ("b", True)):
        nifti(folder / "imagesTr" / f"{name}_0000.nii.gz", flipped=flipped)
        nifti(folder / "labelsTr" / f"{name}.nii.gz", flipped=flipped)
    (folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
    (folder / ".DS_Store").write_text("")
    return folder


def test_a_raw_data_set(source, tmp_path):
    target = tmp_path / "Dataset006_Turned"
    lines = reorient(source, target, "RAS")
    assert lines == [
        "4 volumes in the orientation RAS; before: 2 LAS, 2 RAS",
        "1 other file copied unchanged: dataset.json",
    ]
    assert files(target) == [name for name in files(source) if name != ".DS_Store"]
    for name in files(target):
        if name.endswith(".nii.gz"):
            assert code_of(target / name) == "RAS"
            before, after = nibabel.load(source / name), nibabel.load(target / name)
            ornt = nibabel.io_orientation(before.affine)
            np.testing.assert_array_equal(after.dataobj, nibabel.apply_orientation(before.dataobj, ornt))
    # what was right already is the same file
    assert (target / "labelsTr/b.nii.gz").read_bytes() == (source / "labelsTr/b.nii.gz").read_bytes()
    assert json.loads((target / "dataset.json").read_text()) == DESCRIPTION
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, target.name]


def test_volumes_of_every_format_and_voxels_in_a_file_of_their_own(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    for ending in (".nrrd", ".nhdr", ".mha", ".mhd"):
        itk(source / "below" / f"c{ending}")
    for code in ("LPS", "SAR"):  # those that are right already, too
        reorient(source, target / code, code)
        endings = {path.suffix for path in (target / code / "below").iterdir()}
        assert {".nrrd", ".nhdr", ".mha", ".mhd"} <= endings and len(files(target / code)) == 6
        for ending in (".nrrd", ".nhdr", ".mha", ".mhd"):
            path = target / code / "below" / f"c{ending}"
            assert code_of(path) == code
            back = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
            np.testing.assert_array_equal(sitk.GetArrayFromImage(back).ravel(), np.arange(60))


def test_a_file_whose_name_ends_another_is_no_part_of_it(tmp_path):
    itk(tmp_path / "in" / "c11.mhd")
    (tmp_path / "in" / "1.raw").write_text("kept")
    reorient(tmp_path / "in", tmp_path / "out", "RAS")
    assert files(tmp_path / "out") == ["1.raw", "c11.mhd", "c11.zraw"]


def test_links_are_followed(source, tmp_path):
    images = tmp_path / "in"
    images.mkdir()
    (images / "imagesTs").symlink_to(source / "imagesTr")
    (images / "again").symlink_to(images)
    reorient(images, tmp_path / "out", "RAS")
    assert files(tmp_path / "out") == ["imagesTs/a_0000.nii.gz", "imagesTs/b_0000.nii.gz"]
    assert not (tmp_path / "out" / "imagesTs").is_symlink()


def test_no_output_over_an_input(source, tmp_path):
    taken = nifti(tmp_path / "taken" / "x.nii.gz").parent
    before = files(tmp_path)
    for folder, said in (
        (source, "is the input folder"),
        (source / "imagesTr" / "new", "belongs to the images and labels"),
        (source / "new", "is inside the input folder"),
        (taken, "exists and is not empty"),
        (tmp_path / "Dataset005_Other", "already holds Dataset005_Mixed"),
    ):
        with pytest.raises(InputError, match=said):
            reorient(source, folder, "RAS")
    assert files(tmp_path) == before


def test_an_empty_folder_is_filled(source, tmp_path):
    (tmp_path / "out").mkdir()
    reorient(source, tmp_path / "out", "RAS")
    assert len(files(tmp_path / "out")) == 5
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    reorient(source, tmp_path / "link", "RAS")
    assert len(files(tmp_path / "elsewhere")) == 5


def test_every_volume_that_does_not_say_how_it_lies_is_named_and_nothing_is_written(source, tmp_path):
    for name in ("a", "b"):
        image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
        image.set_qform(None, 0)
        image.set_sform(None, 0)
        nibabel.save(image, source / "labelsTr" / f"{name}.nii.gz")
    (source / "imagesTr" / "a_0000.nii.gz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"has 3 faults:\n- .*a_0000.nii.gz cannot be read(.|\n)*- .*labelsTr/b"):
        reorient(source, tmp_path / "out", "RAS")
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name]


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_a_volume_that_was_cut_off_leaves_nothing(tmp_path, ending):
    path = tmp_path / "in" / f"a{ending}"
    (nifti if ending == ".nii.gz" else itk)(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"a{ending} cannot be read"):
        reorient(tmp_path / "in", tmp_path / "out", "SAR")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


def test_a_run_that_was_stopped_is_continued(source, tmp_path, monkeypatch):
    turned: list[str] = []
    turn = module.turn

    def stopped_at_the_second(path, code):
        turned.append(path.name)
        if len(turned) == 2:
            raise KeyboardInterrupt
        return turn(path, code)

    monkeypatch.setattr(module, "turn", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        reorient(source, tmp_path / "out", "LPS")
    assert not (tmp_path / "out").exists()
    reorient(source, tmp_path / "out", "LPS")
    assert turned == ["a_0000.nii.gz", "b_0000.nii.gz", "b_0000.nii.gz", "a.nii.gz", "b.nii.gz"]
    assert len(files(tmp_path / "out")) == 5 and not (tmp_path / ".out.partial").exists()


def test_a_list_of_cases_must_hold_within_the_copy(source, tmp_path):
    def listed(path: str) -> None:
        case = {"images": [path], "label": "labelsTr/a.nii.gz"}
        (source / "dataset.json").write_text(json.dumps({**DESCRIPTION, "dataset": {"a": case}}))

    for path in (str(source / "imagesTr/a_0000.nii.gz"), "../elsewhere/a_0000.nii.gz"):
        listed(path)
        with pytest.raises(InputError, match="so a copy would still use the original file"):
            reorient(source, tmp_path / "out", "RAS")
    listed("imagesTr/a_0000.nii.gz")
    reorient(source, tmp_path / "out", "RAS")


def test_what_holds_no_volume(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("")
    with pytest.raises(InputError, match="holds no volume to reorient; legal endings are .nii.gz"):
        reorient(tmp_path / "in", tmp_path / "out", "RAS")
    for path in (tmp_path / "none", tmp_path / "in" / "a.txt"):
        with pytest.raises(InputError, match="is not a folder"):
            reorient(path, tmp_path / "out", "RAS")
