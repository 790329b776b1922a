"""Which files make up which case."""

from __future__ import annotations

import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.input_cases import find_cases


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
    with pytest.raises(InputError, match="holds no image that can be read"):
        cases(tmp_path, 1)
    with pytest.raises(InputError, match="does not exist"):
        cases(tmp_path / "nowhere", 1)


def test_two_images_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "a.png", "a_0000.tif")
    with pytest.raises(InputError, match="would both be written as a; rename one"):
        cases(tmp_path, 1)
