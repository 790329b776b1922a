"""Reading the user's raw data set and holding cases back."""

from __future__ import annotations

import json

import pytest

from maskmed_nnu.demo.raw_dataset import Case, hold_out, read_raw_dataset, split
from maskmed_nnu.errors import InputError


@pytest.fixture
def source(tmp_path):
    """A raw data set of seven two-channel cases; the files are empty, since only names matter here."""
    folder = tmp_path / "somewhere" / "Dataset042_Organ"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for index in range(7):
        for channel in range(2):
            (folder / "imagesTr" / f"case_{index}_{channel:04d}.nii.gz").write_bytes(b"image")
        (folder / "labelsTr" / f"case_{index}.nii.gz").write_bytes(b"label")
    write(folder, {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1}})
    return folder


def write(folder, description):
    complete = {"numTraining": 7, "file_ending": ".nii.gz"} | description
    (folder / "dataset.json").write_text(json.dumps(complete))


@pytest.mark.parametrize(("number", "unseen"), [(2, 1), (5, 1), (7, 1), (8, 2), (20, 4), (261, 52)])
def test_the_last_fifth_is_unseen(tmp_path, number, unseen):
    cases = [Case(f"{index:03d}", [tmp_path], tmp_path) for index in range(number)]
    training, test = split(cases)
    assert len(test) == unseen
    assert training + test == cases


def test_hold_out_moves_the_last_cases_to_the_test_folders(source, tmp_path):
    folder = hold_out(source, tmp_path / "raw")
    assert folder == tmp_path / "raw" / "Dataset042_Organ"
    assert sorted(p.name for p in (folder / "imagesTs").iterdir()) == ["case_6_0000.nii.gz", "case_6_0001.nii.gz"]
    assert [p.name for p in (folder / "labelsTs").iterdir()] == ["case_6.nii.gz"]
    assert len(list((folder / "imagesTr").iterdir())) == 12
    assert (folder / "imagesTr" / "case_0_0000.nii.gz").read_bytes() == b"image"
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 6


def test_the_source_is_left_alone(source, tmp_path):
    before = sorted(source.rglob("*"))
    hold_out(source, tmp_path / "raw")
    assert sorted(source.rglob("*")) == before


def test_hold_out_again_changes_nothing(source, tmp_path):
    folder = hold_out(source, tmp_path / "raw")
    before = (folder / "dataset.json").stat().st_mtime_ns
    assert hold_out(source, tmp_path / "raw") == folder
    assert (folder / "dataset.json").stat().st_mtime_ns == before


def test_a_folder_made_from_other_data_is_refused(source, tmp_path):
    hold_out(source, tmp_path / "raw")
    write(source, {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1}})
    with pytest.raises(InputError, match=r"was not made from the present content of .*--out"):
        hold_out(source, tmp_path / "raw")


def test_a_folder_made_from_files_that_have_changed_is_refused(source, tmp_path):
    hold_out(source, tmp_path / "raw")
    (source / "labelsTr" / "case_2.nii.gz").write_bytes(b"corrected")
    with pytest.raises(InputError, match=r"was not made from the present content of.*--out"):
        hold_out(source, tmp_path / "raw")


def test_a_stopped_run_starts_again_and_what_is_not_ours_stays(source, tmp_path):
    folder = hold_out(source, tmp_path / "raw")
    (folder / "dataset.json").unlink()  # the last file
    renamed = source / "imagesTr" / "case_9_0000.nii.gz"
    (source / "imagesTr" / "case_0_0000.nii.gz").rename(renamed)
    (source / "imagesTr" / "case_0_0001.nii.gz").rename(source / "imagesTr" / "case_9_0001.nii.gz")
    (source / "labelsTr" / "case_0.nii.gz").rename(source / "labelsTr" / "case_9.nii.gz")
    hold_out(source, tmp_path / "raw")
    assert not list(folder.rglob("case_0*"))
    assert renamed.is_file()
    with pytest.raises(InputError, match="is the input folder"):
        hold_out(folder, tmp_path / "raw")
    foreign = tmp_path / "other" / source.name / "imagesTr" / "mine_0000.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    with pytest.raises(InputError, match="was not made from"):
        hold_out(source, tmp_path / "other")
    assert foreign.read_bytes() == b"mine"


def test_a_folder_of_any_name_gets_a_data_set_number(source, tmp_path):
    renamed = source.rename(source.parent / "scans")
    assert hold_out(renamed, tmp_path / "raw").name == "Dataset900_scans"


def test_files_listed_in_the_description_are_found_where_they_are(source, tmp_path):
    listed = {
        f"scan{index}": {
            "images": [f"imagesTr/case_{index}_{channel:04d}.nii.gz" for channel in range(2)],
            "label": f"labelsTr/case_{index}.nii.gz",
        }
        for index in range(3)
    }
    write(
        source, {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1}, "dataset": listed}
    )
    folder = hold_out(source, tmp_path / "raw")
    assert [p.name for p in (folder / "labelsTs").iterdir()] == ["scan2.nii.gz"]
    assert "dataset" not in json.loads((folder / "dataset.json").read_text())


def remove_description(folder):
    (folder / "dataset.json").unlink()


def break_description(folder):
    (folder / "dataset.json").write_text("{")


def drop_labels_key(folder):
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1"}, "file_ending": ".nii.gz"}))


def remove_label_folder(folder):
    (folder / "labelsTr").rename(folder / "labels")


def remove_one_label(folder):
    (folder / "labelsTr" / "case_3.nii.gz").unlink()


def remove_one_channel(folder):
    (folder / "imagesTr" / "case_3_0001.nii.gz").unlink()


def change_ending(folder):
    write(folder, {"channel_names": {"0": "T1"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".mha"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_description, "has no dataset.json"),
        (break_description, "not valid JSON"),
        (drop_labels_key, "lacks labels"),
        (remove_label_folder, "has no folder labelsTr"),
        (remove_one_label, "case_3 has no file .*labelsTr"),
        (remove_one_channel, r"case_3 has 1 channel\(s\).*lists 2"),
        (change_ending, r"holds 0 case\(s\) named CASE_0000.mha; at least 2"),
    ],
)
def test_a_damaged_data_set_gets_one_sentence(source, damage, message):
    damage(source)
    with pytest.raises(InputError, match=message) as caught:
        read_raw_dataset(source)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_gets_one_sentence(tmp_path):
    with pytest.raises(InputError, match="is not a folder; --data takes"):
        read_raw_dataset(tmp_path / "nowhere")
