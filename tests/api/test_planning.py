"""`plan`: what the planners would choose, with nothing written."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

import maskmed_nnu as mm
from maskmed_nnu.api.planning import PlannedConfiguration, PlanReport
from maskmed_nnu.cli import console as console_module
from maskmed_nnu.cli.main import main
from maskmed_nnu.nnunet.discovery.choices import choices_for, find_choice, suggest
from maskmed_nnu.nnunet.discovery.names import NAMES

NAME = "Dataset007_Tiny"
FINGERPRINT = {
    "spacings": [[1.0, 1.0, 1.0]] * 5,
    "shapes_after_crop": [[12, 32, 32]] * 5,
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 1, "median": 1, "std": 1, "min": 0, "max": 2, "percentile_99_5": 2, "percentile_00_5": 0}
    },
    "median_relative_size_after_cropping": 1.0,
}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part).mkdir()
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw" / NAME
    for index in range(5):
        for part, name in (("imagesTr", f"c{index}_0000"), ("labelsTr", f"c{index}")):
            (folder / part).mkdir(parents=True, exist_ok=True)
            array = rng.normal(size=(12, 32, 32)).astype(np.float32)
            if part == "labelsTr":
                array = (array > 1).astype(np.uint8)
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / part / f"{name}.nii.gz"))
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 5}))
    fingerprint = tmp_path / "preprocessed" / NAME / "dataset_fingerprint.json"
    fingerprint.parent.mkdir()
    fingerprint.write_text(json.dumps(FINGERPRINT))
    return tmp_path


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_plan_beside_nnunets_is_measured_and_writes_nothing(folders):
    before, seen = files(folders), []
    report = mm.plan(7, networks=["simpleunet", "nnunet"], measure=True, device="cpu", progress=seen.append)
    assert files(folders) == before
    rows = {(one.network, one.configuration): one for one in report.configurations}
    assert set(rows) == {(network, name) for network in ("simpleunet", "nnunet") for name in ("2d", "3d_fullres")}
    ours, stock = rows["simpleunet", "3d_fullres"], rows["nnunet", "3d_fullres"]
    assert ours.patch == stock.patch and ours.batch == stock.batch  # as the planner of SimpleUNet promises
    assert ours.parameters < stock.parameters and 0 < ours.memory_gb < 8
    assert "learning rate" in ours.why and "nnU-Net's own rules" in stock.why
    assert all(one.failure is None and one.steps_per_hour > 0 for one in report.configurations)
    assert report.fingerprint.startswith("copied from") and report.suggestion in ("maskmed", "simpleunet")
    assert seen[0] == "SimpleUNetPlanner" and "nnUNetPlans 2d" in seen
    assert len(report.to_table()) == 4 and json.dumps(report.to_dict())


@pytest.mark.parametrize("width", [80, 200])
def test_the_command_prints_one_table(monkeypatch, capsys, width):
    one = PlannedConfiguration(
        network="maskmed-resenc-m",
        title="MaskMed, ResEnc M",
        planner="MaskMedPlannerResEncM",
        plans="MaskMedResEncMPlans",
        trainer="nnUNetTrainerMaskMed",
        configuration="3d_fullres",
        patch=(128, 128, 128),
        batch=2,
        stages=6,
        queries=8,
        spacing=(2.5, 0.79, 0.79),
        parameters=102_000_000,
        memory_gb=7.6,
        why="8 queries",
    )
    report = PlanReport(NAME, "classes", 5, "extracted for this plan", "maskmed", "the labels are classes", (one,))
    monkeypatch.setattr("maskmed_nnu.api.planning.plan", lambda *arguments, **settings: report)
    monkeypatch.setattr(console_module, "UNLIMITED", width)
    assert main(["plan", "7"]) == 0
    printed = capsys.readouterr().out
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert all(len(line) <= width for line in table)
    assert any("128×128×128" in line and "7.6 GB" in line for line in table)  # numbers in one piece
    assert ("102,000,000" in printed) == (width == 200)
    assert "8 queries" in printed and "Suggested: maskmed" in printed


def test_what_suits_which_labels():
    names = {objects: {choice.name for choice in choices_for(objects=objects)} for objects in (False, True)}
    assert names[True] == {"iaunet", "maskattn-unet"}
    assert "nnunet" in names[False] and "iaunet" not in names[False]
    for objects in (False, True):
        for choice in choices_for(objects=objects):
            assert choice.network is None or choice.planner in NAMES["planner"]
            assert find_choice(choice.planner, objects=objects, data_set=NAME) is choice
    assert find_choice("MaskMed ResEnc-M", objects=False, data_set=NAME).plans == "MaskMedResEncMPlans"


def test_what_is_suggested():
    assert suggest(objects=True, gpu_gb=None)[0].name == "iaunet"
    assert suggest(objects=False, gpu_gb=24)[0].name == "maskmed"
    assert suggest(objects=False, gpu_gb=4)[0].name == "simpleunet"


def test_an_unknown_network_is_refused_by_the_command(folders, capsys):
    assert main(["plan", "7", "--network", "maskmod"]) == 1
    assert "did you mean maskmed?" in capsys.readouterr().err
