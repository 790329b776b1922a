"""Which files make up which case."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import tifffile
from nnunetv2.utilities.utils import create_lists_from_splitted_dataset_folder
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.input_cases import check_numbers, find_cases, numbered_files


def cases(folder, channels):
    return [(case.name, [path.name for path in case.files]) for case in find_cases(folder, channels=channels)]


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def test_numbered_files_are_channels_only_where_the_model_wants_that_many(tmp_path):
    touch(tmp_path, "a_0000.png", "a_0001.png", "b_0000.tif", "c.nii.gz", "notes.txt", ".hidden.png")
    assert cases(tmp_path, 2) == [("a", ["a_0000.png", "a_0001.png"]), ("b", ["b_0000.tif"]), ("c", ["c.nii.gz"])]
    assert cases(tmp_path, 1) == [
        ("a_0000", ["a_0000.png"]),
        ("a_0001", ["a_0001.png"]),
        ("b", ["b_0000.tif"]),
        ("c", ["c.nii.gz"]),
    ]


def test_a_file_is_a_case_and_a_folder_without_images_is_refused(tmp_path):
    touch(tmp_path, "a_0000.jpg", "b.txt")
    assert cases(tmp_path / "a_0000.jpg", 1) == [("a", ["a_0000.jpg"])]
    assert cases(tmp_path / "b.txt", 1) == [("b", ["b.txt"])]  # its reader says what is wrong
    (tmp_path / "a_0000.jpg").unlink()
    with pytest.raises(InputError, match="holds no image: its files have other endings; legal are .png"):
        cases(tmp_path, 1)
    with pytest.raises(InputError, match="does not exist"):
        cases(tmp_path / "nowhere", 1)


def test_a_link_to_nothing_is_a_case_that_cannot_be_read(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to("elsewhere.png")
    (tmp_path / "c.png").mkdir()
    assert [name for name, _ in cases(tmp_path, 1)] == ["a", "b"]


def test_two_images_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "a.png", "a_0000.tif")
    with pytest.raises(InputError, match="would both be written as a; rename one"):
        cases(tmp_path, 1)


def test_pictures_in_colour_are_images_of_their_own(tmp_path):
    grey = np.zeros((4, 5), np.uint8)
    for k in range(3):
        Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / f"frame_{k:04d}.png")
        Image.fromarray(grey).save(tmp_path / f"grey_{k:04d}.PNG")
        tifffile.imwrite(tmp_path / f"tiff_{k:04d}.tif", np.zeros((3, 4, 5), np.uint8), imagej=True)
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 2, 3)), np.eye(4)), tmp_path / f"vol_{k:04d}.nii.gz")
    single = {f"{stem}_000{k}": 1 for stem in ("frame", "tiff", "vol") for k in range(3)}
    assert {case.name: len(case.files) for case in find_cases(tmp_path, channels=3)} == {**single, "grey": 3}
    Image.fromarray(grey).save(tmp_path / "frame_0001.png")
    (mixed,) = (case for case in find_cases(tmp_path, channels=3) if case.fault)
    assert (
        mixed.name == "frame"
        and "frame_0001.png holds one channel and frame_0000.png 3, but by their names" in mixed.fault
    )


def test_cases_as_nnunet_groups_them(tmp_path):
    """Links to nothing among them, which nnU-Net does not see."""
    touch(tmp_path, "b_0000.png", "a_b_0000.png", "b_0001.png", "a_0000.png", "c.png", "d_0000.tif", ".e_0000.png")
    (tmp_path / "f_0000.png").mkdir()
    names = [".e", "a", "a_b", "b"]
    nnunet = create_lists_from_splitted_dataset_folder(str(tmp_path), ".png", names, 1)
    found = [[str(path) for path in files] for files in numbered_files(tmp_path, ".png")]
    assert found == nnunet and [len(files) for files in found] == [1, 1, 1, 2]
    (tmp_path / "g_0000.png").symlink_to("elsewhere.png")
    assert numbered_files(tmp_path, ".png")[-1] == [tmp_path / "g_0000.png"]


def test_a_gap_in_the_numbers_is_refused():
    check_numbers("a", ["x/a_0000.png", "x/a_0001.png"], ".png")
    for files, missing in ((["x/a_0001.png"], "a_0000.png"), (["x/a_0000.png", "x/a_0002.png"], "a_0001.png")):
        with pytest.raises(
            InputError, match=f"{missing} is missing, but there is {files[-1]}; each channel needs a file"
        ):
            check_numbers("a", files, ".png")
