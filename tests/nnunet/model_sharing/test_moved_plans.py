"""Plans of objects that move to another data set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nnunetv2.experiment_planning.plans_for_pretraining.move_plans_between_datasets import move_plans_between_datasets
from PIL import Image

from maskmed_nnu.errors import InputError
from tests.nnunet.plans_0_1 import plans_of_version_0_1
from tests.nnunet.sided_bodies import write_bodies

NAMES = ("Dataset001_From", "Dataset002_To")
MOVE = (*NAMES, "IAUNetPlans", "MovedPlans")


@pytest.fixture
def folders(nnunet_env):
    """A data set with plans of objects of one class, and one that they move to; its ``dataset.json`` is returned."""
    source, target = (nnunet_env.preprocessed / name for name in NAMES)
    source.mkdir()
    target.mkdir()
    (source / "IAUNetPlans.json").write_text(json.dumps(plans_of_version_0_1("iaunet")))
    raw = nnunet_env.raw / NAMES[1]
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    for name in ("imagesTr/a_0000.png", "labelsTr/a.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(raw / name)
    instances = plans_of_version_0_1("iaunet")["configurations"]["2d"]["instances"]
    classes = [*instances["thing_classes"], *instances["stuff_classes"]]
    dataset = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, **{f"class {number}": number for number in classes}},
        "numTraining": 1,
        "file_ending": ".png",
        "label_divisor": 777,
        "overlap_layers": False,
        "overwrite_image_reader_writer": "InstanceIO",
    }
    (raw / "dataset.json").write_text(json.dumps(dataset))
    return raw / "dataset.json", target


def test_they_say_how_the_other_label_files_are_written(folders):
    _, target = folders
    move_plans_between_datasets(*MOVE)
    moved = json.loads((target / "MovedPlans.json").read_text())
    assert moved["dataset_name"] == NAMES[1] and moved["plans_name"] == "MovedPlans"
    instances = moved["configurations"]["2d"]["instances"]
    assert instances["label_divisor"] == 777 and instances["overlap_layers"] is False


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"overwrite_image_reader_writer": "NaturalImage2DIO"}, "are for objects, but .*dataset.json declares none"),
        ({"labels": {"background": 0, "a": 1, "b": 2, "c": 3, "d": 4}}, r"declares \[1, 2, 3, 4\]; plan that data set"),
    ],
)
def test_data_sets_that_they_do_not_fit(folders, change, sentence):
    file, target = folders
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError, match=sentence):
        move_plans_between_datasets(*MOVE)
    assert not list(target.iterdir())


def test_a_data_set_that_was_never_measured(folders):
    folders[1].rmdir()
    with pytest.raises(InputError, match="nnUNetv2_extract_fingerprint -d Dataset002_To"):
        move_plans_between_datasets(*MOVE)


def test_left_and_right_are_those_of_the_other_data_set(nnunet_env):
    source, target = (nnunet_env.preprocessed / name for name in NAMES)
    source.mkdir()
    target.mkdir()
    section = {"axes": [0, 1], "swap": {"0": [[7, 8]]}, "orientations": {"RAS": 3}}
    configurations = {
        "3d_fullres": {"data_identifier": "P_3d_fullres", "patch_size": [8, 8, 8], "mirroring": section},
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
    plans = {"plans_name": "P", "transpose_forward": [2, 0, 1], "configurations": configurations}
    (source / "P.json").write_text(json.dumps(plans))
    write_bodies(nnunet_env.raw, ["LPS"] * 12, name=NAMES[1])
    move_plans_between_datasets(*NAMES, "P", "MovedPlans")
    moved = json.loads((target / "MovedPlans.json").read_text())["configurations"]
    found = moved["3d_fullres"]["mirroring"]
    assert found["axes"] == [0, 1, 2] and found["swap"] == {"0": [[1, 2]]} and found["orientations"] == {"LPS": 12}
    assert moved["3d_cascade_fullres"] == configurations["3d_cascade_fullres"], "which inherits it"


def test_plans_that_say_nothing_of_mirroring_move_as_they_are(nnunet_env):
    source, target = (nnunet_env.preprocessed / name for name in NAMES)
    source.mkdir()
    target.mkdir()
    plans = {"plans_name": "P", "transpose_forward": [0, 1, 2], "configurations": {"2d": {"patch_size": [8, 8]}}}
    (source / "P.json").write_text(json.dumps(plans))
    write_bodies(nnunet_env.raw, ["LPS"] * 2, name=NAMES[1])
    move_plans_between_datasets(*NAMES, "P", "P")
    assert json.loads((target / "P.json").read_text())["configurations"] == plans["configurations"]
