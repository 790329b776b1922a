"""Faults of dataset.json: each in a sentence with its cure, and none where nnU-Net's own classes take it."""

from __future__ import annotations

import json
import re

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from maskmed_nnu.dataset_json import dataset_json_faults, read_dataset_json
from maskmed_nnu.errors import InputError

GOOD = {
    "channel_names": {"0": "CT", "1": "PET"},
    "labels": {"background": 0, "a": 1, "b": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"labels": {"background": 0, "a": "1", "b": 2.0}},
        {"labels": {"b": 2, "a": 1, "background": 0, "ignore": 3}},
        {"labels": {"background": 0, "a": 1, "the same": 1, "ignore": None}},
        {"labels": {"background": 0, "a": [1], "b": 2}},
        {"labels": {"1": 1, "background": 0}},
        REGIONS,
        {"labels": {"background": 0, "all": [0, 1, 2], "a": 1, "ignore": 3}, "regions_class_order": [1, 2]},
        {"labels": {"background": 0, "brats": [1, 2, 4], "core": [1, 4]}, "regions_class_order": [1, 2]},
        {"channel_names": {"0": "anything"}},
        {"file_ending": ".NRRD"},
        {"file_ending": ".mhd", "overwrite_image_reader_writer": "SimpleITKIO"},
        {"overwrite_image_reader_writer": "None"},
        {"overwrite_image_reader_writer": "OurLabsReader"},
        {"name": "x", "training": [], "regions_class_order": None},
        {"dataset": {"a": {"images": ["$DATA/a.nii.gz"], "label": "b.nii.gz"}}},
    ],
)
def test_what_nnunet_takes_is_not_refused(change: dict) -> None:
    content = {**GOOD, **change}
    assert dataset_json_faults(content, "dataset.json") == []
    LabelManager(content["labels"], content.get("regions_class_order"), inference_nonlin=lambda x: x)


def test_modality_is_taken_for_channel_names() -> None:
    content = {key: value for key, value in GOOD.items() if key != "channel_names"}
    assert dataset_json_faults({**content, "modality": {"0": "MR"}}, "dataset.json") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {"0": "background", "1": "a"}}, 'names before numbers: {"background": 0, "a": 1}'),
        ({"labels": ["background", "a"]}, 'as in {"background": 0, "a": 1}'),
        ({"labels": None}, "labels is null; it must give each class a number"),
        ({"labels": {"background": 0, "a": 2}}, "no class has 1; they must be consecutive"),
        ({"labels": {"background": 0, "a": 10**9}}, "no class has 1, 2, .* and more; they"),
        ({"labels": {"background": 1, "a": 0}}, "the label of background is 1; it must be 0"),
        ({"labels": {"background": [0], "a": 1}}, r"the label of background is \[0\]"),
        ({"labels": {"Background": 0, "a": 1}}, 'call "Background" background'),
        ({"labels": {"a": 1}}, 'add "background": 0'),
        ({"labels": {"background": 0}}, "there must be a class besides the background"),
        ({"labels": {"background": 0, "a": "one"}}, 'labels has {"a": "one"}; the label of a class is a whole number'),
        ({"labels": {"background": 0, "a": 1.5}}, "whole number"),
        ({"labels": {"background": 0, "a": -1}}, "whole number of 0 or more"),
        ({"labels": {"background": 0, "a": []}}, "whole number"),
        ({"labels": {"background": 0, "a": 1, "ignore": 1}}, "must be the highest one, 2 here"),
        ({"labels": {"background": 0, "a": 1, "ignore": "2"}}, 'the ignore label is "2"'),
        ({**REGIONS, "regions_class_order": None}, "regions_class_order is missing, but labels has 2 regions"),
        ({**REGIONS, "regions_class_order": [1]}, r"regions_class_order is \[1\], but labels has 2 regions"),
        ({"labels": {"background": 0, "a": ["1", "2"]}, "regions_class_order": [1]}, "without quotes"),
        ({"channel_names": ["MR"]}, r'channel_names is \["MR"\]; write .*, {"0": "MR"}'),
        ({"channel_names": {}}, "must name each channel"),
        ({"channel_names": {"CT": "0"}}, 'count the channels from "0" .* {"0": "CT"}'),
        ({"channel_names": {"1": "CT"}}, 'as in {"0": "CT"}'),
        ({"channel_names": {"1": "PET", "0": "CT"}}, 'as in {"0": "CT", "1": "PET"}'),
        ({"channel_names": {"0": 7}}, "must be a text"),
        ({"numTraining": "3"}, 'numTraining is "3"'),
        ({"file_ending": "nii.gz"}, 'begin with the dot and hold no wildcard or folder: ".nii.gz"'),
        ({"file_ending": "*.png"}, '".png"'),
        ({"file_ending": [".png"]}, "must be one text"),
        ({"file_ending": ""}, "must be one text"),
        ({"file_ending": ".dcm"}, "for which nnU-Net has no reader"),
        ({"overwrite_image_reader_writer": "InstancesIO"}, "InstanceIO is meant"),
        ({"overwrite_image_reader_writer": None}, "null; it must be the name of a reader"),
        ({"dataset": {"a": ["b.nii.gz"]}}, "must list the files of each case"),
    ],
)
def test_a_fault_in_one_sentence(change: dict, said: str) -> None:
    (fault,) = dataset_json_faults({**GOOD, **change}, "x/dataset.json")
    assert fault.startswith("x/dataset.json: ") and fault.endswith(".")
    assert re.search(said, fault), fault


def test_all_faults_at_once_and_only_of_what_is_needed(tmp_path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"channel_names": ["MR"], "labels": {"background": 0, "a": 2}, "file_ending": "png"}))
    with pytest.raises(InputError) as caught:
        read_dataset_json(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path} has 4 faults:"
    assert lines[1] == f"- {path} lacks numTraining (such as the number of training cases); add what nnU-Net needs."
    assert len(lines) == 5
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"file_ending": ".png", "labels": GOOD["labels"]}).encode())
    assert read_dataset_json(path, needs=("labels", "file_ending"))["file_ending"] == ".png"
    path.write_text("[]")
    with pytest.raises(InputError, match=r"holds \[\]; nnU-Net's dataset.json is an object with channel_names"):
        read_dataset_json(path)
