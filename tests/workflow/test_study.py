"""A study's config: what it says, and one sentence for each fault."""

import re

import pytest
import yaml

from maskmed_nnu.errors import InputError
from maskmed_nnu.workflow.study import read_study
from tests.workflow.fake_commands import tiny_study


def test_a_new_study_can_be_read(tmp_path):
    study = tiny_study(tmp_path / "study")
    assert [model.name for model in study.models] == [
        "nnUNetTrainerMaskMed_2epochs__MaskMedPlans__3d_fullres",
        "nnUNetTrainerSimpleUNet_2epochs__SimpleUNetPlans__3d_fullres",
    ]
    assert study.planners == {"MaskMedPlans": "MaskMedPlanner", "SimpleUNetPlans": "SimpleUNetPlanner"}
    assert study.environment["nnUNet_results"] == str(tmp_path / "study" / "results")
    assert study.data_set_number == "4"


FAULTS = {
    "folds is []": ({"folds": []}, "it must be a list of one or more integers of 0 or more"),
    "folds is [0, 0]": ({"folds": [0, 0]}, "names one twice"),
    'device is "gpu"': ({"device": "gpu"}, 'it must be "cuda", "cpu" or "mps"'),
    'there is no entry netwroks; did you mean networks': ({"netwroks": {}}, "Legal are dataset, networks"),
    'networks.maskmed.trainer is 3': ({"networks.maskmed.trainer": 3}, "it must be a text"),
    'there is no entry networks.maskmed.planer; did you mean planner': ({"networks.maskmed.planer": "A"}, "Legal are"),
    'predict.parts is 0': ({"predict.parts": 0}, "it must be an integer of 1 or more"),
    'jobs.train.hours is 0': ({"jobs.train.hours": 0}, "it must be a number above 0"),
    'there is no entry jobs.train.cpu; did you mean cpus': ({"jobs.train.cpu": 1}, "Legal are cpus, memory_gb"),
    'dataset is "4"': ({"dataset": "4"}, "as in Dataset004_Hippocampus"),
    "networks is empty": ({"networks": {}}, "name one network or more"),
    "network maskmed has 3d_cascade_fullres": (
        {"networks.maskmed.configurations": ["3d_cascade_fullres"]},
        "starts from 3d_lowres; add that",
    ),
    "by two planners": ({"networks.maskmed.plans": "SimpleUNetPlans"}, "write the same plans, SimpleUNetPlans"),
}  # fmt: skip


@pytest.mark.parametrize("found", FAULTS)
def test_one_sentence_for_each_fault(tmp_path, found):
    changes, legal = FAULTS[found]
    file = tiny_study(tmp_path / "study").folder / "config.yaml"
    content = yaml.safe_load(file.read_text())
    for path, value in changes.items():
        *outer, name = path.split(".")
        section = content
        for key in outer:
            section = section[key]
        section[name] = value
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as raised:
        read_study(file.parent)
    sentence = str(raised.value)
    assert found in sentence and legal in sentence
    assert str(file) in sentence and "\n" not in sentence


def test_a_missing_entry_and_what_is_no_yaml(tmp_path):
    file = tiny_study(tmp_path / "study").folder / "config.yaml"
    text = file.read_text()
    file.write_text(re.sub(r"(?m)^folds: .*$", "", text))
    with pytest.raises(InputError, match="the entry folds is missing; it must be a list of one or more integers"):
        read_study(file.parent)
    file.write_text("a: [1, 2")
    with pytest.raises(InputError, match=r"config.yaml, line 1 is not valid YAML"):
        read_study(file.parent)
    file.write_text("3")
    with pytest.raises(InputError, match="the file is 3, but it must be entries dataset, networks"):
        read_study(file.parent)
    with pytest.raises(InputError, match="cannot be read .*; name the folder of a study"):
        read_study(tmp_path)
