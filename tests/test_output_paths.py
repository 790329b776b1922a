"""Paths that mean the same file or folder, and folders that keep a user's data."""

from __future__ import annotations

import os

import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.output_paths import refuse_data_set_folder, refuse_output_over_input


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "pictures" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    return path


def spellings(picture):
    folder = picture.parent
    (folder.parent / "link").symlink_to(folder)
    (folder / "soft.png").symlink_to(picture)
    (folder / "hard.png").hardlink_to(picture)
    yield picture
    yield os.path.relpath(picture)
    yield folder / ".." / folder.name / "a.png"
    yield folder.parent / "link" / "a.png"
    yield folder / "soft.png"
    yield folder / "hard.png"


def test_a_file_is_recognized_however_it_is_spelled(picture):
    for output in spellings(picture):
        with pytest.raises(InputError, match=r"is the input file.*which they would replace; name another folder\.$"):
            refuse_output_over_input([picture.parent / "new.png", output], [picture.parent / "b.png", picture])


def test_a_folder_is_recognized_and_one_inside_it_is_another(picture):
    folder = picture.parent
    (folder.parent / "link").symlink_to(folder)
    for output in (folder, folder.parent / "link", f"{folder}/"):
        with pytest.raises(InputError, match="is the input folder.*which they would mix with; name a file"):
            refuse_output_over_input([output], [folder], advice="name a file elsewhere")
    refuse_output_over_input([folder / "found", folder.parent, folder / "b.png"], [folder, picture])


def test_a_file_that_is_yet_to_be_written_is_recognized_by_its_place(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="is the input file"):
        refuse_output_over_input([tmp_path / "link" / "new.json"], [tmp_path / "new.json"])


@pytest.mark.parametrize("part", ["imagesTr", "imagesTs", "labelsTr", "labelsTs", "imagesVal", "gt_segmentations"])
def test_nothing_is_written_into_the_images_and_labels_of_a_data_set(tmp_path, part):
    data = tmp_path / "Dataset001_X"
    (data / part).mkdir(parents=True)
    (tmp_path / "link").symlink_to(data / part)
    refuse_data_set_folder(data / part)  # without a dataset.json it is any folder
    (data / "dataset.json").write_text("{}")
    for folder in (data / part, data / part / "found" / "here", data / "x" / ".." / part, tmp_path / "link"):
        with pytest.raises(InputError, match="belongs to the images and labels of the data set"):
            refuse_data_set_folder(folder)
    refuse_data_set_folder(data / "found")
    refuse_data_set_folder(data / "imagesTs_predicted")


@pytest.mark.parametrize("kept", ["imagesTr", "labelsTs", "dataset_fingerprint.json", "fold_0"])
def test_the_dataset_json_of_a_data_set_or_model_stays(tmp_path, kept):
    (tmp_path / "dataset.json").write_text("{}")
    refuse_data_set_folder(tmp_path)  # earlier predictions have one, too
    (tmp_path / kept).mkdir()
    with pytest.raises(InputError, match=f"it holds dataset.json and {kept}"):
        refuse_data_set_folder(tmp_path)
    refuse_data_set_folder(tmp_path / "found")
