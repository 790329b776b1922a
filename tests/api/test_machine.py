"""`doctor`: each problem with its cure."""

from __future__ import annotations

import json

import pytest

import maskmed_nnu as mm
from maskmed_nnu.cli.main import main
from maskmed_nnu.nnunet.preflight import machine
from maskmed_nnu.nnunet.preflight.plan_needs import plan_needs


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part).mkdir()
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    monkeypatch.setattr(machine, "finds_ours_in_a_child", lambda: None)
    return tmp_path


def check(diagnosis, name):
    return next(one for one in diagnosis.checks if one.name == name)


def test_a_sound_machine(folders, capsys):
    diagnosis = mm.doctor()
    assert diagnosis.healthy
    assert {"python", "torch", "nnunetv2", "nnUNet_raw", "discovery here", "memory", "cores"} <= {
        one.name for one in diagnosis.checks
    }
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["healthy"] is True


def test_a_folder_that_is_not_set(folders, monkeypatch, capsys):
    monkeypatch.delenv("nnUNet_results")
    found = check(mm.doctor(), "nnUNet_results")
    assert (found.status, found.cure) == ("problem", "export nnUNet_results=FOLDER")
    assert main(["doctor"]) == 1
    assert "export nnUNet_results=FOLDER" in capsys.readouterr().out


def test_discovery_in_a_child_without_the_hook(monkeypatch, tmp_path):
    monkeypatch.setenv("MASKMED_NNU_DISABLE_HOOK", "1")
    assert machine.finds_ours_in_a_child() is not None


def test_a_release_that_does_not_fit(monkeypatch):
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["numpy<1", "no-such-thing", 'onnx; extra == "x"'])
    faults = list(machine.release_faults())
    assert [fault.where for fault in faults] == ["numpy", "no-such-thing"]
    assert "<1 is needed" in faults[0].what and "pip install" in faults[1].cure


def test_more_workers_than_a_number(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "many")
    assert check(mm.doctor(), "augmentation").status == "problem"


def test_a_plan_that_is_none_is_refused(folders):
    (folders / "x.json").write_text("[]")
    with pytest.raises(mm.InputError, match="not a plans file of nnU-Net"):
        mm.doctor(folders / "x.json")
    with pytest.raises(mm.InputError, match="there is no Dataset007"):
        mm.doctor("MaskMedPlans", dataset=7)


@pytest.mark.parametrize(
    ("line", "folder", "limit", "used", "cache"),
    [
        ("0::/job", "job", "memory.max", "memory.current", "inactive_file"),
        ("0::/elsewhere/on/the/host", ".", "memory.max", "memory.current", "inactive_file"),
        (
            "4:cpu,memory:/job/step",
            "memory/job",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ],
)
def test_the_memory_of_a_container_or_job(tmp_path, line, folder, limit, used, cache):
    own, groups = tmp_path / "own", tmp_path / "groups"
    own.write_text(f"9:systemd:/\n{line}\n")
    (groups / folder).mkdir(parents=True)
    assert not machine.memory(groups, own).limited
    for name, content in ((limit, "1000\n"), (used, "700\n"), ("memory.stat", f"anon 5\n{cache} 100\n")):
        (groups / folder / name).write_text(content)
    assert machine.memory(groups, own) == (400, 1000, True)
    (groups / folder / limit).write_text("max\n")
    assert not machine.memory(groups, own).limited


def test_a_plan_needs_what_its_planner_counted(folders):
    plans = {
        "dataset_name": "Dataset007_Tiny",
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
        "configurations": {
            "3d_fullres": {
                "patch_size": [32, 32, 32],
                "batch_size": 2,
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": 2,
                        "features_per_stage": [8, 16],
                        "conv_op": "torch.nn.modules.conv.Conv3d",
                        "kernel_sizes": [3, 3],
                        "strides": [1, 2],
                        "n_conv_per_stage": [2, 2],
                        "n_conv_per_stage_decoder": [2],
                    },
                    "_kw_requires_import": ["conv_op"],
                },
            }
        },
    }
    description = {"channel_names": {"0": "MR"}, "file_ending": ".nii.gz"}
    regions = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    file = folders / "preprocessed" / "Dataset007_Tiny" / "dataset.json"
    file.parent.mkdir()

    def needed(planner: str, labels: dict) -> float:
        file.write_text(json.dumps({**description, **labels}))
        return plan_needs({**plans, "experiment_planner_used": planner}).memory["3d_fullres"]

    plain = needed("ExperimentPlanner", {"labels": {"background": 0, "organ": 1}})
    assert needed("ExperimentPlanner", regions) == plain  # two heads, too
    for planner, reference in (("MaskMedPlannerResEncM", 680 / 8), ("nnUNetPlannerResEncXL", 3600 / 40)):
        assert needed(planner, regions) / plain == pytest.approx(560 / 8 / reference)
