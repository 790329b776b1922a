"""`doctor`: each problem with its cure."""

from __future__ import annotations

import json

import pytest

import maskmed_nnu as mm
from maskmed_nnu.cli.main import main
from maskmed_nnu.nnunet.preflight import machine


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
    with pytest.raises(mm.InputError, match="no plans file of nnU-Net"):
        mm.doctor(folders / "x.json")
    with pytest.raises(mm.InputError, match="there is no Dataset007"):
        mm.doctor("MaskMedPlans", dataset=7)
