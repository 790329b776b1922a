"""Which of nnU-Net's commands `train` runs, by what lies in nnU-Net's folders."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import maskmed_nnu as mm
from maskmed_nnu import stock_command
from maskmed_nnu.cli.main import main
from maskmed_nnu.errors import CommandError, InputError

NAME = "Dataset007_Tiny"
MODEL = f"{NAME}/nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres"


def write_raw(raw: Path, *, cases: int = 5, depth: int = 4, **more) -> Path:
    folder = raw / NAME
    for index in range(cases):
        for part, name in (("imagesTr", f"c{index}_0000"), ("labelsTr", f"c{index}")):
            (folder / part).mkdir(parents=True, exist_ok=True)
            array = np.zeros((depth, 8, 8), np.uint8 if part == "labelsTr" else np.float32)
            array[0, 2:5, 2:5] = 1
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / part / f"{name}.nii.gz"))
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": cases, **more}))
    return folder


@pytest.fixture
def folders(tmp_path, monkeypatch):
    made = {}
    for part in ("raw", "preprocessed", "results"):
        made[part] = tmp_path / part
        made[part].mkdir()
        monkeypatch.setenv(f"nnUNet_{part}", str(made[part]))
    monkeypatch.delenv("MASKMED_NNU_DISABLE_HOOK", raising=False)
    return made


@pytest.fixture
def ran(monkeypatch):
    """Commands that were run in the place of nnU-Net's, which all succeed."""
    commands = []

    def run_command(command, *, write, environment=None):
        commands.append(list(command))
        return 0

    monkeypatch.setattr(stock_command, "run_command", run_command)
    return commands


def write_preprocessed(folders, cases: int = 5):
    folder = folders["preprocessed"] / NAME
    data, truth = folder / "MaskMedPlans_3d_fullres", folder / "gt_segmentations"
    data.mkdir(parents=True)
    truth.mkdir()
    configurations = {"3d_fullres": {"data_identifier": data.name}}
    (folder / "MaskMedPlans.json").write_text(json.dumps({"configurations": configurations}))
    (folder / "dataset.json").write_text("{}")
    for index in range(cases):
        for name in (f"c{index}.b2nd", f"c{index}_seg.b2nd", f"c{index}.pkl"):
            (data / name).touch()
        (truth / f"c{index}.nii.gz").touch()


def test_everything_is_run_where_nothing_is_there(folders, ran):
    write_raw(folders["raw"])
    result = mm.train(7, device="cpu")
    assert [command[0] for command in ran] == ["nnUNetv2_plan_and_preprocess", "nnUNetv2_train"]
    assert ran[0][1:7] == ["-d", "7", "-pl", "MaskMedPlanner", "-c", "3d_fullres"]
    train = "7 3d_fullres 0 -p MaskMedPlans -tr nnUNetTrainerMaskMed -device cpu"
    assert ran[1][1:] == train.split()
    assert result.network == "maskmed" and result.folds == ("0",)


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (["checkpoint_latest.pth"], ["--c"]),
        (["checkpoint_best.pth"], ["--c"]),
        (["checkpoint_final.pth"], ["--val"]),
        (["checkpoint_final.pth", "validation/summary.json"], None),
    ],
)
def test_a_fold_goes_on_where_it_ended(folders, ran, files, options):
    write_raw(folders["raw"])
    write_preprocessed(folders)
    for name in files:
        path = folders["results"] / MODEL / "fold_0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"foreground_mean": {"Dice": 0.5}}')
    result = mm.train("7", device="cpu")
    assert [command[-1:] for command in ran] == ([options] if options else [])
    if options is None:
        assert result.scores == {"0": {"Dice": 0.5}}


def write_validation(folders, folder: str = MODEL, name: str = "fold_0/validation") -> Path:
    """Two cases of which one is predicted as it is and the organ of the other is missed."""
    validation = folders["results"] / folder / name
    validation.mkdir(parents=True)
    truth = folders["preprocessed"] / NAME / "gt_segmentations"
    for case in range(5):
        shutil.copy(folders["raw"] / NAME / "labelsTr" / f"c{case}.nii.gz", truth)
    shutil.copy(truth / "c0.nii.gz", validation)
    empty = sitk.ReadImage(str(truth / "c1.nii.gz")) * 0
    sitk.WriteImage(empty, str(validation / "c1.nii.gz"))
    (validation / "summary.json").write_text('{"foreground_mean": {"Dice": 0.5}}')
    return validation


def test_the_validation_is_evaluated_and_the_next_command_named(folders, ran, capsys):
    write_raw(folders["raw"])
    write_preprocessed(folders)
    validation = write_validation(folders)
    (validation.parent / "checkpoint_final.pth").touch()
    result = mm.train(7, device="cpu")
    assert result.evaluation.summary[0].counts["missed"] == 1
    assert result.evaluation.to_table()["dice"].tolist()[0] == 1
    assert json.loads(json.dumps(result.to_dict(), default=str))["evaluation"]["summary"]
    assert main(["train", "7", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "cases that fold 0 did not train on: 2 cases" in printed
    assert printed.splitlines()[-1] == f"Next: maskmed predict -m {result.model} -i IMAGES -o PREDICTIONS"
    assert ran == []


@pytest.mark.parametrize(("dice", "advised"), [(0.0, True), (0.01, False), (math.nan, False)])
def test_a_network_that_finds_nothing_is_told_to_train_longer(folders, ran, dice, advised):
    write_raw(folders["raw"])
    write_preprocessed(folders)
    validation = write_validation(folders)
    (validation / "summary.json").write_text(json.dumps({"foreground_mean": {"Dice": dice}}))
    notes = " ".join(mm.train(7, device="cpu").notes)
    assert ("finds nothing in these cases" in notes) == advised


def test_several_folds_are_evaluated_where_nnunet_puts_them_together(folders, ran):
    write_raw(folders["raw"])
    write_preprocessed(folders)
    write_validation(folders, name="crossval_results_folds_0_1")
    assert len(mm.train(7, folds=[0, 1], device="cpu").evaluation.cases) == 2


def test_objects_are_evaluated_by_their_scores(folders, ran):
    raw = write_raw(folders["raw"], depth=1, overwrite_image_reader_writer="InstanceIO")
    for file in (*raw.glob("*/*"),):
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0].astype(np.uint8)
        file.unlink()
        sitk.WriteImage(sitk.GetImageFromArray(array), str(file).replace(".nii.gz", ".png"))
    description = json.loads((raw / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps({**description, "file_ending": ".png"}))
    for fold, ap in (("fold_0", 0.5), ("fold_1", None)):
        folder = folders["results"] / NAME / "nnUNetTrainerIAUNet__IAUNetPlans__2d" / fold / "validation"
        folder.mkdir(parents=True)
        scores = {"AP50": ap, "PQ": 0.5}
        (folder / "instances.json").write_text(json.dumps({**scores, "per_class": {"organ": scores}}))
        shutil.copy(raw / "labelsTr" / "c0.png", folder)
    result = mm.train(7, folds=[0, 1], device="cpu")
    assert result.evaluation.images == 2
    assert result.evaluation.shown_rows()[0]["AP50"] == "0.500"


def test_a_case_that_was_not_preprocessed_is(folders, ran):
    write_raw(folders["raw"])
    write_preprocessed(folders, cases=4)
    mm.train(7, device="cpu")
    assert ran[0][:5] == ["nnUNetv2_preprocess", "-d", "7", "-plans_name", "MaskMedPlans"]


def test_several_folds_are_evaluated_together(folders, ran):
    write_raw(folders["raw"])
    write_preprocessed(folders)
    mm.train(7, folds=[0, 2], epochs=3, device="cpu")
    assert [command[3] for command in ran[:2]] == ["0", "2"]
    assert ran[2][0] == "nnUNetv2_find_best_configuration"
    assert "nnUNetTrainerMaskMed_3epochs" in ran[2] and ran[2][ran[2].index("-f") + 1 :][:2] == ["0", "2"]


def test_few_cases_are_trained_all_together_and_pictures_in_2d(folders, ran):
    write_raw(folders["raw"], cases=3, depth=1)
    result = mm.train(7, "SimpleUNet", device="cpu", dry_run=True)
    assert ran == [] and result.folds == ("all",) and result.configuration == "2d"
    assert result.commands[1].startswith("nnUNetv2_train 7 2d all -p SimpleUNetPlans -tr nnUNetTrainerSimpleUNet ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "maskmod"}, "There is no network 'maskmod'; did you mean maskmed\\?"),
        ({"network": "iaunet"}, "has labels of classes, which IAUNet does not support; take"),
        ({"folds": 5}, "has no fold 5; its folds are 0, 1, 2, 3, 4, all"),
        ({"folds": []}, "No fold is named"),
        ({"epochs": 3, "minutes": 3}, "both given"),
        ({"epochs": 0}, "0 epochs is not a length of a training; give at least 1"),
        ({"network": "nnunet", "minutes": 3}, "counts epochs, not minutes"),
        ({"network": "nnunet", "epochs": 3}, "no trainer of 3 epochs"),
        ({"device": "cuda"}, "sees no cuda device"),
    ],
)
def test_what_there_is_not_is_refused_before_anything_runs(folders, ran, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    write_raw(folders["raw"])
    with pytest.raises(InputError, match=message):
        mm.train(7, **{"device": "cpu", **arguments})
    assert ran == []


@pytest.mark.parametrize("call", [mm.train, mm.plan])
def test_data_sets_that_cannot_be_trained_are_told_in_a_sentence(folders, ran, call):
    with pytest.raises(InputError, match="there is no Dataset007_…"):
        call(7)
    with pytest.raises(InputError, match="neither the number nor the name"):
        call("tiny")
    folder = write_raw(folders["raw"])
    (folder / "dataset.json").rename(folder / "moved.json")
    with pytest.raises(InputError, match=r"dataset\.json"):
        call(7)
    (folder / "moved.json").rename(folder / "dataset.json")
    (folder / "labelsTr").rename(folder / "labels")
    with pytest.raises(InputError, match="labelsTr"):
        call(7)
    assert ran == []


def test_the_status_of_a_failing_command_is_passed_on(folders, monkeypatch, capsys):
    write_raw(folders["raw"])
    monkeypatch.setattr(stock_command, "run_command", lambda command, write: 3)
    with pytest.raises(CommandError, match="nnUNetv2_plan_and_preprocess .* ended with status 3"):
        mm.train(7, device="cpu")
    assert main(["train", "7", "--device", "cpu"]) == 3
    assert "ended with status 3" in capsys.readouterr().err


def test_the_command_shows_what_it_runs(folders, ran, capsys):
    write_raw(folders["raw"])
    assert main(["train", "7", "--device", "cpu", "--dry-run"]) == 0
    assert "$ nnUNetv2_train 7 3d_fullres 0 -p MaskMedPlans" in capsys.readouterr().out
    assert main(["train", "7", "--device", "cpu", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folds"] == ["0"]
    assert ran == []


def test_one_slice_among_volumes_of_objects(folders):
    """The planner leaves 3d_fullres out then."""
    folder = write_raw(folders["raw"], overwrite_image_reader_writer="InstanceIO")
    assert mm.train(7, dry_run=True, device="cpu").configuration == "3d_fullres"
    for name in ("imagesTr/c3_0000", "labelsTr/c3"):
        path = str(folder / f"{name}.nii.gz")
        sitk.WriteImage(sitk.ReadImage(path)[:, :, :1], path)
    assert mm.train(7, dry_run=True, device="cpu").configuration == "2d"
