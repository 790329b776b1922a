"""The command line itself, and what `maskmed demo` would run."""

from __future__ import annotations

import functools
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.cli import demo
from maskmed_nnu.cli.main import COMMANDS, load_command, main
from maskmed_nnu.demo import cells, cells3d, lesions, nnunet_commands, phantoms
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.devices import choose_device


@pytest.fixture(autouse=True)
def few_phantoms(monkeypatch):
    monkeypatch.setattr(phantoms, "write_dataset", functools.partial(phantoms.write_dataset, training=2, test=1))
    monkeypatch.setattr(phantoms, "IN_PLANE_MM", (6.0, 8.0))
    monkeypatch.setattr(phantoms, "SLICE_MM", (8.0, 10.0))


@pytest.fixture
def recorded(monkeypatch):
    """Have `maskmed demo` answer for nnU-Net: every truth is predicted perfectly, and the steps are kept."""
    steps = []

    def run_commands(planned, *, logs, environment, tell, output):
        steps.extend(planned)
        predict = next(step.command for step in planned if step.command[0] == "nnUNetv2_predict")
        images, predictions = (Path(predict[predict.index(flag) + 1]) for flag in ("-i", "-o"))
        predictions.mkdir(parents=True)
        cases = []
        for truth in sorted((images.parent / "labelsTs").iterdir()):
            (predictions / truth.name).write_bytes(truth.read_bytes())
            values = np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(truth))))
            metrics = {str(value): {"Dice": 1.0} for value in values if value}
            cases.append({"reference_file": str(truth), "metrics": metrics})
        (predictions / "summary.json").write_text(json.dumps({"metric_per_case": cases}))

    monkeypatch.setattr(demo, "run_commands", run_commands)
    return steps


def commands(steps):
    return {step.command[0]: [*step.command, *step.options] for step in steps}


def test_demo_on_phantoms_runs_the_stock_commands_and_ends_with_the_mean_dice(tmp_path, recorded, capsys):
    assert main(["demo", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert list(commands(recorded)) == [
        "nnUNetv2_plan_and_preprocess",
        "nnUNetv2_train",
        "nnUNetv2_predict",
        "nnUNetv2_evaluate_folder",
    ]
    assert "--verify_dataset_integrity" in commands(recorded)["nnUNetv2_plan_and_preprocess"]
    assert commands(recorded)["nnUNetv2_train"][1:4] == ["900", "3d_fullres", "all"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "mean Dice 1.000"
    assert any(line.startswith("left kidney") for line in lines)
    assert (tmp_path / "out" / "Dataset900_Phantoms.png").is_file()


def test_the_demo_is_not_run_inside_a_data_set(tmp_path, recorded, capsys):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "dataset.json").write_text("{}")
    for out in (tmp_path, tmp_path / "imagesTr" / "demo"):
        assert main(["demo", "--out", str(out), "--device", "cpu"]) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dataset.json", "imagesTr"]


def test_demo_on_flat_images_uses_the_2d_configuration(tmp_path, recorded):
    source = tmp_path / "Dataset007_Flat"
    for index in range(3):
        for part, name in (("imagesTr", f"c{index}_0000.png"), ("labelsTr", f"c{index}.png")):
            (source / part).mkdir(parents=True, exist_ok=True)
            array = (np.indices((16, 20)).sum(axis=0) > 17 + index).astype(np.uint8)
            sitk.WriteImage(sitk.GetImageFromArray(array), str(source / part / name))
    description = {"channel_names": {"0": "photo"}, "labels": {"background": 0, "spot": 1}, "file_ending": ".png"}
    (source / "dataset.json").write_text(json.dumps(description))
    assert main(["demo", "--data", str(source), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert commands(recorded)["nnUNetv2_train"][1:4] == ["7", "2d", "all"]
    assert (tmp_path / "out" / "Dataset007_Flat.png").is_file()


def test_training_is_resumed_only_where_a_checkpoint_is(tmp_path, recorded):
    arguments = ["demo", "--out", str(tmp_path), "--device", "cpu"]
    assert main(arguments) == 0
    model = (
        tmp_path
        / "nnUNet_results"
        / "Dataset900_Phantoms"
        / f"{nnunet_commands.TRAINER}__{nnunet_commands.PLANS}__3d_fullres"
    )
    (model / "fold_all").mkdir(parents=True)
    (model / "fold_all" / "checkpoint_best.pth").touch()
    for file in (tmp_path / "predictions" / "Dataset900_Phantoms").iterdir():
        file.unlink()
    (tmp_path / "predictions" / "Dataset900_Phantoms").rmdir()
    assert main(arguments) == 0
    assert [step.resume for step in recorded if step.name == "2_train"] == [(), ("--c",)]


def test_bad_data_folder_is_one_sentence_and_status_1(tmp_path, capsys):
    assert main(["demo", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("maskmed: ")
    assert "is not a folder" in error
    assert "\n" not in error


def test_an_unavailable_device_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(InputError, match="sees no cuda device here; take the device cpu"):
        choose_device("cuda")


def test_the_hook_must_be_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MASKMED_NNU_DISABLE_HOOK", "1")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "MASKMED_NNU_DISABLE_HOOK=1 hides our trainers from nnU-Net" in capsys.readouterr().err


def test_stopping_by_hand_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_commands", interrupt)
    assert main(["demo", "--out", str(tmp_path), "--device", "cpu"]) == 130
    assert "resumes where this one ended" in capsys.readouterr().err
    monkeypatch.setattr("maskmed_nnu.api.evaluation.evaluate", interrupt)
    assert main(["evaluate", str(tmp_path), str(tmp_path)]) == 130
    assert "starts from the beginning" in capsys.readouterr().err


def test_a_signal_ends_a_command_as_a_scheduler_expects_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run_commands", lambda *arguments, **settings: signal.raise_signal(signal.SIGUSR1))
    assert main(["demo", "--out", str(tmp_path), "--device", "cpu"]) == 128 + signal.SIGUSR1
    said = capsys.readouterr().err
    assert said.endswith("\nmaskmed: stopped by SIGUSR1; the same command resumes where this one ended.\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nothing", "maskmed: No such command 'nothing'"),
        ("convrt", "No such command 'convrt'; did you mean 'convert'? See maskmed --help"),
        ("demo --device tpu", "maskmed demo: Invalid value for '--device': 'tpu' is not a device; legal are auto, cpu"),
        ("demo --nothing", "maskmed demo: No such option: --nothing"),
        ("demo more", "maskmed demo: Got unexpected extra argument (more)"),
        ("demo --out", "maskmed demo: --out needs a value"),
        ("demo --out --device cpu", "maskmed demo: --out needs a value"),
        ("predict -o out", "maskmed predict: Missing option '-i' / '--input'"),
        ("predict -i in -o out --over", "--over is short for --overlays and for --overwrite; write out which one"),
        ("convert --id five", "maskmed convert: Invalid value for '--id': "),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(line, said, capsys):
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert printed.err.endswith(" --help.\n")


def test_without_a_command_they_are_listed(capsys):
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS) and "<bool>" not in printed


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("maskmed ")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_can_answer_as_json(name):
    assert any("--json" in parameter.opts for parameter in load_command(name).params)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_shows_an_example_that_can_be_parsed(name, capsys, monkeypatch):
    assert main([name, "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    module = import_module(f"maskmed_nnu.cli.{name}")
    for example in module.EXAMPLE.strip().splitlines():
        assert " ".join(example.split()) in printed
        context = load_command(name).make_context(name, shlex.split(example)[2:])
        assert context.params


def test_the_help_of_all_imports_no_command():
    code = """
import sys
from maskmed_nnu.cli.main import COMMANDS, load_command, main
assert main(["--help"]) == 0
heavy = ("torch", "nnunetv2", "matplotlib", "scipy", "pandas", "numpy", "maskmed_nnu.cli.convert")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_cells_are_converted_found_and_scored_by_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cells, "write_pictures", functools.partial(cells.write_pictures, training=2, test=8))
    steps = []

    def run_commands(planned, *, logs, environment, tell, output):
        steps.extend(planned)
        assert main(list(planned[0].command[1:])) == 0
        dataset, found = tmp_path / "nnUNet_raw" / cells.DATASET, tmp_path / "predictions" / cells.DATASET
        shutil.copytree(dataset / "labelsTs", found, dirs_exist_ok=True)
        (found / "scores.json").write_text(json.dumps({"AP50": 1.0, "F1@0.5": 0.5}))

    monkeypatch.setattr(demo, "run_commands", run_commands)
    assert main(["demo", "--task", "cells", "--out", str(tmp_path), "--device", "cpu"]) == 0
    ours = [step for step in steps if step.command[0] == "maskmed"]
    assert [step.command[1] for step in ours] == ["convert", "predict", "evaluate"]
    for step in ours:  # what it would run can be parsed
        load_command(step.command[1]).make_context("", [*step.command[2:], *step.options])
    assert capsys.readouterr().out.splitlines()[-1] == "AP50 1.000  F1@0.5 0.500"
    assert (tmp_path / f"{cells.DATASET}.png").is_file()


def test_stacks_are_converted_found_and_scored_in_three_dimensions(tmp_path, monkeypatch, capsys):
    small = functools.partial(cells3d.draw_stack, shape=(20, 40, 40))
    monkeypatch.setattr(cells3d, "draw_stack", small)
    monkeypatch.setattr(cells3d, "write_stacks", functools.partial(cells3d.write_stacks, training=2))
    monkeypatch.setattr(cells3d, "TRAINING", 2)
    steps = []

    def run_commands(planned, *, logs, environment, tell, output):
        steps.extend(planned)
        assert main(list(planned[0].command[1:])) == 0
        dataset, found = tmp_path / "nnUNet_raw" / cells3d.DATASET, tmp_path / "predictions" / cells3d.DATASET
        shutil.copytree(dataset / "labelsTs", found, dirs_exist_ok=True)
        (found / "scores.json").write_text(json.dumps({"PQ": 1.0, "F1@0.5": 0.5}))

    monkeypatch.setattr(demo, "run_commands", run_commands)
    assert main(["demo", "--task", "cells3d", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert [step.command[0] for step in steps[1:4]] == [
        "nnUNetv2_plan_and_preprocess",
        "nnUNetv2_train",
        "nnUNetv2_predict",
    ]
    assert all("3d_fullres" in step.command for step in steps[1:4])
    assert all(path.is_file() for path in steps[3].files)
    load_command("evaluate").make_context("", [*steps[4].command[2:], *steps[4].options])
    printed = capsys.readouterr().out
    assert re.search(r"cells_0\d: (\d+) nuclei, \1 found", printed)
    assert printed.splitlines()[-1] == "F1@0.5 0.500  PQ 1.000"
    assert (tmp_path / f"{cells3d.DATASET}.png").is_file()


def test_lesions_are_counted(tmp_path, recorded, monkeypatch, capsys):
    monkeypatch.setattr(lesions, "write_dataset", functools.partial(lesions.write_dataset, training=2, test=3))
    assert main(["demo", "--task", "lesions", "--out", str(tmp_path), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    found = int(re.search(r"(\d+) of \1 lesions found, 0 missed, 0 invented", printed)[1])
    assert found > 0
    assert printed.splitlines()[-1] == "mean Dice 1.000"


def test_the_demo_as_one_json_object(tmp_path, recorded, monkeypatch, capsys):
    monkeypatch.setattr(lesions, "write_dataset", functools.partial(lesions.write_dataset, training=2, test=1))
    assert main(["demo", "--task", "lesions", "--out", str(tmp_path), "--device", "cpu", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["mean_dice"] == 1 and said["lesions"]["missed"] == 0 and Path(said["picture"]).is_file()


def test_a_task_is_one_of_four_and_not_for_own_data(tmp_path, capsys):
    assert main(["demo", "--task", "hearts"]) == 2
    assert "'hearts' is not a task of the demo; legal are organs, cells, cells3d, lesions" in capsys.readouterr().err
    assert main(["demo", "--task", "cells", "--data", str(tmp_path)]) == 1
    assert "give one of them" in capsys.readouterr().err
