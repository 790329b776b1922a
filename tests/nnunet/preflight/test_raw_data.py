"""A raw data set before it is planned: each fault that users make, and none where there is none."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from maskmed_nnu.nnunet.preflight import disk
from maskmed_nnu.nnunet.preflight.faults import Fault
from maskmed_nnu.nnunet.preflight.headers import read_header
from maskmed_nnu.nnunet.preflight.planning import planning_faults
from maskmed_nnu.nnunet.preflight.raw_data import check_raw_data
from tests.nnunet.preflight.data_sets import clear, describe, write_nifti, write_png, write_raw


@pytest.fixture
def root(tmp_path) -> Path:
    return write_raw(tmp_path)


def grave(root: Path, *, verify: bool = False) -> list[Fault]:
    return [fault for fault in check_raw_data(root, verify=verify).faults if not fault.note]


def only(root: Path, **options: bool) -> str:
    """The one fault, as a sentence."""
    faults = grave(root, **options)
    assert len(faults) == 1, faults
    return faults[0].sentence


def notes(root: Path) -> str:
    return "\n".join(fault.sentence for fault in check_raw_data(root, verify=False).faults if fault.note)


def test_a_data_set_that_is_right(root):
    assert check_raw_data(root, verify=True).faults == []
    assert check_raw_data(root, verify=True).values == 3 * 6 * 5 * 4


def test_files_without_a_channels_number(root):
    for case in ("c0", "c1"):
        (root / "imagesTr" / f"{case}_0000.nii.gz").rename(root / "imagesTr" / f"{case}.nii.gz")
        (root / "labelsTr" / f"{case}.nii.gz").unlink()
    assert "2 files without a channel's number: c0.nii.gz, c1.nii.gz; rename c0.nii.gz to c0_0000.nii.gz" in only(root)
    assert "numTraining" not in only(root, verify=True) + notes(root)  # 3 is right as soon as they are renamed


def test_hidden_files_of_macos_are_no_images(root):
    (root / "imagesTr" / "._c0_0000.nii.gz").write_bytes(b"x")
    (root / "imagesTr" / ".DS_Store").write_bytes(b"x")
    sentence = only(root)
    assert "1 hidden file" in sentence and "DS_Store" not in sentence and "-delete" in sentence


def test_an_empty_folder_one_of_another_ending_and_none(root):
    clear(root / "imagesTr")
    assert "no image ends with _0000.nii.gz; the folder is empty" in only(root)
    write_png(root / "imagesTr" / "a_0000.png")
    assert "no image ends with _0000.nii.gz; 1 with .png; convert the images to .nii.gz, or write" in only(root)
    (root / "imagesTr" / "a_0000.png").unlink()
    (root / "imagesTr" / "patient").mkdir()
    assert "there are folders: patient; put the images there, not into subfolders" in only(root)
    (root / "imagesTr" / "patient").rmdir()
    (root / "imagesTr").rmdir()
    assert "imagesTr: there is no such folder" in only(root)


def test_endings_in_capitals(root):
    (root / "imagesTr" / "c0_0000.nii.gz").rename(root / "imagesTr" / "c0_0000.NII.GZ")
    (root / "labelsTr" / "c0.nii.gz").unlink()
    assert "not spelled .nii.gz: c0_0000.NII.GZ" in only(root)
    for folder in ("imagesTr", "labelsTr"):
        for path in list((root / folder).iterdir()):
            path.rename(path.with_name(path.name.replace("nii.gz", "NII.GZ")))
    describe(root, numTraining=2, file_ending=".NII.GZ")
    assert "imagesTr" not in " ".join(fault.where for fault in grave(root))  # as dataset.json says


def test_files_of_another_ending_beside_the_right_ones_are_noted(root):
    write_png(root / "imagesTr" / "picture.png")
    (root / "imagesTr" / "notes.txt").touch()
    assert grave(root) == [] and "1 file ending in .png, not .nii.gz: picture.png" in notes(root)


def test_links_to_nothing_and_empty_files(root):
    image, label = root / "imagesTr" / "c0_0000.nii.gz", root / "labelsTr" / "c1.nii.gz"
    for path in (image, label):
        path.unlink()
    image.symlink_to(root / "gone.nii.gz")
    label.touch()
    found = [fault.what for fault in grave(root)]
    assert found == [
        "1 unreadable file (empty, or a broken link): c0_0000.nii.gz",
        "1 unreadable file (empty, or a broken link): c1.nii.gz",
    ]


def test_a_header_that_cannot_be_read(root):
    (root / "imagesTr" / "c0_0000.nii.gz").write_bytes(b"<html>not found</html>")
    assert "1 file whose header cannot be read: c0_0000.nii.gz; copy them again" in only(root)


def test_labels_that_are_missing_or_called_like_images(root):
    (root / "labelsTr" / "c0.nii.gz").unlink()
    (root / "labelsTr" / "c1.nii.gz").rename(root / "labelsTr" / "c1_0000.nii.gz")
    found = " ".join(fault.sentence for fault in grave(root))
    assert "1 image without a label map: c0; add c0.nii.gz" in found
    assert "1 label map with a channel's number" in found and "rename c1_0000.nii.gz to c1.nii.gz" in found
    for path in list((root / "labelsTr").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii.gz", ".nrrd")))
    assert "3 images without a label map: c0, c1, c2; other files end 2 with .nrrd" in only(root)


def test_labels_without_an_image_are_noted(root):
    write_nifti(root / "labelsTr" / "c9.nii.gz")
    assert grave(root) == [] and "1 label map without an image: c9" in notes(root)


def test_channels_missing_in_between_and_too_many(root):
    describe(root, channel_names={"0": "T1", "1": "T2"})
    write_nifti(root / "imagesTr" / "c0_0001.nii.gz")
    (root / "imagesTr" / "c1_0000.nii.gz").rename(root / "imagesTr" / "c1_0001.nii.gz")
    write_nifti(root / "imagesTr" / "c2_0001.nii.gz")
    write_nifti(root / "imagesTr" / "c2_0002.nii.gz")
    found = " ".join(fault.sentence for fault in grave(root))
    assert "1 case with a gap in the channels' numbers: c1; give each case the files _0000 to _0001" in found
    assert "1 case with 3 files: c2; dataset.json declares 2 channels" in found and "c0" not in found
    (root / "imagesTr" / "c0_0001.nii.gz").unlink()
    assert "1 case with 1 file: c0" in " ".join(fault.what for fault in grave(root))


def test_a_picture_in_colour_holds_three_channels(tmp_path):
    root = write_raw(tmp_path, file_ending=".png", channel_names={"0": "R", "1": "G", "2": "B"})
    for folder in ("imagesTr", "labelsTr"):
        clear(root / folder)
    for case in ("a", "b", "c"):
        write_png(root / "imagesTr" / f"{case}_0000.png", colour=case != "c")
        write_png(root / "labelsTr" / f"{case}.png")
    assert "1 case with 1 file: c; dataset.json declares 3 channels" in only(root)


def test_names_that_break_something(root):
    for name in ("x_seg", "a b ", "C0"):
        write_nifti(root / "imagesTr" / f"{name}_0000.nii.gz")
        write_nifti(root / "labelsTr" / f"{name}.nii.gz")
    assert "the case's name x_seg ends in _seg" in only(root)
    noted = notes(root)
    assert (
        "C0 and c0 are the same name on systems that ignore case" in noted
        and "a b  begins or ends with a space" in noted
    )
    assert len(grave(root, verify=True)) == 4  # and numTraining


def test_the_number_of_cases(root):
    describe(root, numTraining=4)
    assert "numTraining is 4, but imagesTr holds 3 cases" in notes(root) and grave(root) == []
    assert "write 3, or add what is missing" in only(root, verify=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"labels": {"0": "background", "1": "a"}}, 'names before numbers: {"background": 0, "a": 1}.'),
        ({"file_ending": "nii.gz"}, "must begin with the dot"),
        ({"channel_names": ["MR"]}, 'write an object with a number for each channel, {"0": "MR"}.'),
        ({"labels": {"background": 0, "a": 2}}, "no class has 1"),
    ],
)
def test_faults_of_dataset_json_come_with_those_of_the_files(root, change, expected):
    describe(root, **change)
    sentence = only(root)
    assert sentence.startswith(f"{root / 'dataset.json'}: ") and expected in sentence
    (root / "labelsTr" / "c0.nii.gz").unlink()
    assert [fault.where for fault in grave(root)] == ["dataset.json", "labelsTr"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"{", "is not valid JSON"),
        (b"[]", "an object with channel_names"),
        (codecs.BOM_UTF8, "byte-order mark"),
        (codecs.BOM_UTF16_LE, "written in UTF-16, at which nnU-Net's reader fails; save it as UTF-8"),
    ],
)
def test_a_dataset_json_that_cannot_be_used(root, content, expected):
    path = root / "dataset.json"
    if content is None:
        path.unlink()
    else:
        encoding = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16"}.get(content)
        path.write_bytes(path.read_text().encode(encoding) if encoding else content)
    assert expected in only(root)


def test_cases_that_dataset_json_lists(root):
    case = {"images": ["imagesTr/c0_0000.nii.gz"], "label": "labelsTr/c9.nii.gz"}
    describe(root, dataset={"c0": case})
    assert "1 file of its list of cases that do not exist" in only(root)
    case["label"] = str(root / "labelsTr" / "c0.nii.gz")
    describe(root, dataset={"c0": case}, numTraining=1)
    assert check_raw_data(root, verify=True).faults == []
    describe(root, dataset={"c0_seg": case})
    assert "the case's name c0_seg ends in _seg" in only(root) and "but its list of cases holds 1 case" in notes(root)
    describe(root, dataset={"c0": {**case, "images": case["images"] * 2}})
    assert "1 case of its list with no image, or more than there are channels: c0" in only(root)
    (root / "imagesTr" / "c0_0000.nii.gz").write_bytes(b"<html>")
    describe(root, dataset={"c0": case})
    assert "1 file of its list of cases whose header cannot be read" in only(root)


@pytest.mark.parametrize(
    "listed", [{}, [], None, {"c0": "imagesTr/c0_0000.nii.gz"}, {"c0": {"images": "x", "label": "y"}}]
)
def test_lists_of_cases_of_another_form(root, listed):
    describe(root, dataset=listed, numTraining=None)
    assert [fault.what.partition(" is ")[0] for fault in grave(root)] == ["numTraining", "dataset"]


def planning(nnunet_env, **options) -> list[str]:
    given = {"planner": "MaskMedPlanner", "configurations": ("2d", "3d_fullres"), **options}
    return [fault.sentence for fault in planning_faults([10], **given)]


def test_planning_of_what_is_right(nnunet_env):
    write_raw(nnunet_env.raw)
    assert planning(nnunet_env) == []


def test_nnunets_folders(nnunet_env, monkeypatch, tmp_path):
    write_raw(nnunet_env.raw)
    (tmp_path / "file").touch()
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "file"))
    assert planning(nnunet_env) == [
        f"nnUNet_preprocessed: {tmp_path / 'file'} is not a folder; name a folder, or move that file away."
    ]
    monkeypatch.delenv("nnUNet_preprocessed")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    first, second = planning(nnunet_env)
    assert first.startswith("nnUNet_raw:") and "does not exist" in first
    assert second == "nnUNet_preprocessed: is not set; export nnUNet_preprocessed=FOLDER."


def test_which_data_set(nnunet_env):
    (nnunet_env.raw / "Dataset10_X").mkdir()
    assert "rename Dataset10_X: names are as in Dataset010_NAME, with three digits" in planning(nnunet_env)[0]
    (nnunet_env.raw / "Dataset10_X").rename(nnunet_env.raw / "Dataset011_X")
    assert "there is no Dataset010_… in" in planning(nnunet_env)[0]
    assert planning(nnunet_env)[0].endswith("take one of the existing ones, Dataset011_X.")
    write_raw(nnunet_env.raw)
    (nnunet_env.preprocessed / "Dataset010_Old").mkdir()
    assert "-d 10: 2 data sets have the number 10: Dataset010_T" in planning(nnunet_env)[0]


def test_configurations_that_would_be_passed_over(nnunet_env):
    write_raw(nnunet_env.raw)
    assert planning(nnunet_env, configurations=("3d_fulres",))[0].startswith(
        "-c: nnU-Net plans no configuration 3d_ful"
    )
    only_2d = {"planner": "IAUNetPlanner", "planned": ("2d",)}
    assert "does not plan 3d_fullres, so nothing" in planning(nnunet_env, configurations=("3d_fullres",), **only_2d)[0]
    assert planning(nnunet_env, **only_2d) == []


def test_too_small_a_disk(nnunet_env, monkeypatch):
    """Two configurations of 360 voxels of 4 + 2 bytes are 4,320 bytes; what is there already is overwritten."""
    write_raw(nnunet_env.raw)
    room = {"total": 10**9, "free": 400}
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: type("Usage", (), room))
    faults = planning_faults([10], planner="MaskMedPlanner", configurations=("2d", "3d_fullres", "3d_lowres"))
    assert [fault.note for fault in faults] == [False] and "take up to 0.0 MB" in faults[0].what
    room["free"] = 500
    assert [fault.note for fault in planning_faults([10], planner="P", configurations=("2d", "3d_fullres"))] == [True]
    room["free"] = 4400
    assert planning_faults([10], planner="P", configurations=("2d", "3d_fullres")) == []
    earlier = nnunet_env.preprocessed / "Dataset010_T" / "PPlans_2d"
    earlier.mkdir(parents=True)
    (earlier / "c0.b2nd").write_bytes(bytes(4300))
    (earlier.parent / "PPlans.json").write_text(json.dumps({"experiment_planner_used": "P"}))
    room["free"] = 15
    assert planning_faults([10], planner="P", configurations=("2d", "3d_fullres"))[0].note
    room.update(total=0, free=0)  # as some drives of networks report
    assert planning_faults([10], planner="P", configurations=("2d",)) == []


def test_a_nifti_in_colour_and_one_of_four_axes_hold_their_channels(tmp_path):
    colours = np.zeros((6, 5, 4), np.dtype([(name, np.uint8) for name in "RGB"]))
    four = np.zeros((6, 5, 4, 3), np.float32)
    for name, values in (("rgb", colours), ("four", four)):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
        assert read_header(tmp_path / f"{name}.nii.gz") == (6 * 5 * 4 * 3, 3, False)


def test_an_uncompressed_file_of_a_compressed_name_is_read_by_itk(tmp_path):
    write_nifti(tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "a.nii.gz")
    assert read_header(tmp_path / "a.nii.gz") == (6 * 5 * 4, 1, False)


def test_other_formats_have_headers_too(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.uint8)), str(tmp_path / "a.nrrd"))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 6), np.uint8), photometric="minisblack")
    write_png(tmp_path / "a.png", colour=True)
    assert [read_header(tmp_path / f"a.{ending}").values for ending in ("nrrd", "tif", "png")] == [120, 120, 60]
    for ending in ("nrrd", "tif", "png"):
        (tmp_path / f"a.{ending}").write_bytes(b"<html>")
        assert read_header(tmp_path / f"a.{ending}").damaged
    assert read_header(tmp_path / "a.npy") == (None, None, False)
