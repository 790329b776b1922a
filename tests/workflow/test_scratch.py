"""Preprocessed data on a node's own disk, and GPUs of a machine without a scheduler."""

import os
import shutil
from collections import namedtuple

import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import write_json
from maskmed_nnu.workflow.local_gpus import claimed_gpus
from maskmed_nnu.workflow.memory_kills import memory_kills
from maskmed_nnu.workflow.scratch import staged
from maskmed_nnu.workflow.study import read_study
from tests.workflow.fake_commands import tiny_study

TRAINING = ("MaskMedPlans", "3d_fullres")


@pytest.fixture
def study(tmp_path, monkeypatch):
    folder = tiny_study(tmp_path / "study").folder
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("scratch: null", "scratch: $NODE_DISK/me"))
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    study = read_study(folder)
    data = study.preprocessed
    for name in ("MaskMedPlans_3d_fullres", "gt_segmentations", "OtherPlans_3d_fullres"):
        (data / name).mkdir(parents=True)
        (data / name / "case.b2nd").write_text(name)
    configurations = {"3d_fullres": {"data_identifier": "MaskMedPlans_3d_fullres"}}
    write_json(data / "MaskMedPlans.json", {"configurations": configurations})
    return study


def test_data_is_copied_once_per_node(study):
    told = []
    with staged(study, TRAINING, told.append) as moved:
        copy = study.preprocessed.__class__(moved["nnUNet_preprocessed"]) / study.config.dataset
        assert (copy / "MaskMedPlans_3d_fullres" / "case.b2nd").read_text() == "MaskMedPlans_3d_fullres"
        assert sorted(path.name for path in copy.iterdir() if path.is_dir()) == [
            "MaskMedPlans_3d_fullres",
            "gt_segmentations",
        ]
    assert len(told) == 2
    with staged(study, TRAINING, told.append) as again:
        assert again == moved
    assert len(told) == 2  # nothing was copied
    (study.preprocessed / "MaskMedPlans_3d_fullres" / "case.b2nd").write_text("preprocessed again")
    with staged(study, TRAINING, told.append):
        assert (copy / "MaskMedPlans_3d_fullres" / "case.b2nd").read_text() == "preprocessed again"
    assert len(told) == 3


def test_without_room_the_shared_folder_is_used(study, monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    told = []
    with staged(study, TRAINING, told.append) as moved:
        assert moved == {}
    assert "has no room" in told[0]


def test_a_disk_that_cannot_be_written_is_told(study, tmp_path):
    (tmp_path / "disk").write_text("a file")
    told = []
    with staged(study, TRAINING, told.append) as moved:
        assert moved == {}
    assert "the shared folder is used" in told[0]


def test_a_variable_that_is_not_set_on_the_node(study, monkeypatch):
    monkeypatch.delenv("NODE_DISK")
    with pytest.raises(InputError, match=r"scratch in .*config.yaml is \$NODE_DISK/me, but .* not set on this node"):
        staged(study, TRAINING, print).__enter__()


def test_jobs_of_one_machine_take_different_gpus(tmp_path):
    driver, locks = tmp_path / "gpus", tmp_path / "locks"
    locks.mkdir()
    for number in range(3):
        (driver / str(number)).mkdir(parents=True)
    with claimed_gpus(1, {}, driver, locks) as (first, held), claimed_gpus(2, {}, driver, locks) as (second, _):
        assert first == {"CUDA_VISIBLE_DEVICES": "0"} and len(held) == 1
        assert second == {"CUDA_VISIBLE_DEVICES": "1,2"}
    with claimed_gpus(2, {}, driver, locks) as (third, _):
        assert third == {"CUDA_VISIBLE_DEVICES": "0,1"}


@pytest.mark.parametrize(
    ("number", "environment"), [(0, {}), (3, {}), (1, {"CUDA_VISIBLE_DEVICES": "2"}), (1, {"SLURM_JOB_ID": "1"})]
)
def test_a_choice_that_somebody_has_made_stands(tmp_path, number, environment):
    for gpu in range(3):
        (tmp_path / "gpus" / str(gpu)).mkdir(parents=True)
    with claimed_gpus(number, environment, tmp_path / "gpus", tmp_path) as (chosen, held):
        assert chosen == {} and held == []
    assert os.listdir(tmp_path) == ["gpus"]


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("0::/slurm/job_1\n", "sys/fs/cgroup/slurm/job_1/memory.events", "low 0\noom 5\noom_kill 2\n"),
        ("4:memory:/slurm/job_1\n1:cpu:/\n", "sys/fs/cgroup/memory/slurm/job_1/memory.oom_control", "oom_kill 2\n"),
        ("0::/\n", "sys/fs/cgroup/memory.events", "oom_kill 2\n"),
    ],
)
def test_kills_for_lack_of_memory_are_counted_by_the_control_group(tmp_path, groups, file, text):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    assert memory_kills(tmp_path) is None
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    assert memory_kills(tmp_path) == 2
