"""nnU-Net's entry points: checked with names of ours, untouched without."""

from __future__ import annotations

import errno
import multiprocessing
import sys
from types import SimpleNamespace

import pytest
import torch
from nnunetv2.experiment_planning import plan_and_preprocess_entrypoints as planning
from nnunetv2.inference import predict_from_raw_data as prediction
from nnunetv2.run import run_training as training

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.preflight import hooks
from tests.nnunet.preflight.data_sets import plans, write_model, write_nifti, write_preprocessed, write_raw


@pytest.fixture
def call(monkeypatch):
    """``call(module, entry point, command line)``; returns nnU-Net's steps that were reached, none of them run."""

    def call(module, name: str, line: str) -> list[str]:
        reached: list[str] = []
        steps = ("extract_fingerprints", "plan_experiments", "preprocess", "get_trainer_from_args", "nnUNetPredictor")
        for step in steps:
            if hasattr(module, step):
                monkeypatch.setattr(module, step, lambda *a, step=step, **k: (reached.append(step), stop())[1])
        monkeypatch.setattr(sys, "argv", ["command", *line.split()])
        for setting in ("set_num_threads", "set_num_interop_threads"):
            monkeypatch.setattr(torch, setting, lambda number: None)
        with pytest.raises(StopError):
            getattr(module, name)()
        return reached

    return call


class StopError(Exception):
    pass


def stop() -> None:
    raise StopError


def refused(monkeypatch, module, name: str, line: str) -> str:
    monkeypatch.setattr(sys, "argv", ["command", *line.split()])
    with pytest.raises(SystemExit) as caught:
        getattr(module, name)()
    return str(caught.value)


PLAN = "-d 10 -pl MaskMedPlanner -c 2d 3d_fullres"


def test_planning_is_refused_with_all_faults(nnunet_env, monkeypatch):
    root = write_raw(nnunet_env.raw, file_ending="nii.gz")
    (root / "labelsTr" / "c0.nii.gz").unlink()
    text = refused(monkeypatch, planning, "plan_and_preprocess_entry", PLAN)
    assert text.startswith("The planning was not started, for 2 reasons:") and f"in {root}/" in text
    assert "begin with the dot" in " ".join(text.split()) and "1 image without a label map: c0" in text


def test_a_folder_that_may_not_be_read(nnunet_env, monkeypatch):
    write_raw(nnunet_env.raw)

    def denied(path, ending):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("maskmed_nnu.nnunet.preflight.raw_data.list_folder", denied)
    text = refused(monkeypatch, planning, "plan_and_preprocess_entry", PLAN)
    assert "cannot be used: there is no permission to use it; change its permissions" in text


def test_a_full_disk_is_a_sentence_where_the_planner_is_ours(nnunet_env, monkeypatch):
    write_raw(nnunet_env.raw)

    def fill_the_disk(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", "dataset_fingerprint.json")

    monkeypatch.setattr(planning, "extract_fingerprints", fill_the_disk)
    text = refused(monkeypatch, planning, "plan_and_preprocess_entry", PLAN)
    assert text.startswith("dataset_fingerprint.json cannot be used: the disk is full")
    monkeypatch.setattr(sys, "argv", ["command", "-d", "10"])
    with pytest.raises(OSError, match="No space left"):
        planning.plan_and_preprocess_entry()


def test_planning_of_what_is_right_and_of_stock_planners_goes_on(nnunet_env, call):
    root = write_raw(nnunet_env.raw)
    assert call(planning, "plan_and_preprocess_entry", PLAN) == ["extract_fingerprints"]
    (root / "dataset.json").unlink()
    assert call(planning, "plan_and_preprocess_entry", "-d 10") == ["extract_fingerprints"]
    assert call(planning, "plan_experiment_entry", "-d 10") == ["plan_experiments"]
    assert call(planning, "extract_fingerprint_entry", "-d 10") == ["extract_fingerprints"]
    assert call(planning, "preprocess_entry", "-d 10 -c 2d") == ["preprocess"]


def test_planners_that_users_derive_from_ours_are_checked(nnunet_env, monkeypatch):
    from nnunetv2.utilities import find_class_by_name

    from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlanner

    root = write_raw(nnunet_env.raw)
    (root / "labelsTr" / "c0.nii.gz").unlink()
    derived = type("MyPlanner", (MaskMedPlanner,), {})
    monkeypatch.setattr(find_class_by_name, "recursive_find_python_class", lambda *args, **kwargs: derived)
    line = PLAN.replace("MaskMedPlanner", "MyPlanner")
    assert "1 image without a label map: c0" in refused(monkeypatch, planning, "plan_and_preprocess_entry", line)


def test_the_commands_of_each_step(nnunet_env, monkeypatch, call):
    root = write_raw(nnunet_env.raw, overwrite_image_reader_writer="InstanceIO")
    assert "dataset_fingerprint.json" in refused(
        monkeypatch, planning, "plan_experiment_entry", PLAN.partition(" -c")[0]
    )
    assert call(planning, "extract_fingerprint_entry", "-d 10") == ["extract_fingerprints"]
    write_preprocessed(nnunet_env.preprocessed, plans())
    assert call(planning, "preprocess_entry", "-d 10 -plans_name MaskMedPlans") == ["preprocess"]
    message = refused(monkeypatch, planning, "preprocess_entry", "-d 10 -plans_name MaskMedPlans -c 3d_lowres")
    assert message.startswith("-c: MaskMedPlanner does not plan 3d_lowres")
    (root / "labelsTr" / "c0.nii.gz").unlink()
    assert "c0.nii.gz" in refused(monkeypatch, planning, "preprocess_entry", "-d 10 -plans_name MaskMedPlans -c 2d")
    assert "c0.nii.gz" in refused(monkeypatch, planning, "extract_fingerprint_entry", "-d 10")


def test_a_misspelt_option_is_argparses_to_tell(nnunet_env, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", *PLAN.split(), "--verify"])
    with pytest.raises(SystemExit, match="there is no Dataset010_"):  # an abbreviation that argparse takes
        planning.plan_and_preprocess_entry()
    monkeypatch.setattr(sys, "argv", ["command", *PLAN.split(), "--devise", "cpu"])
    with pytest.raises(SystemExit) as caught:
        planning.plan_and_preprocess_entry()
    assert caught.value.code == 2 and "unrecognized arguments" in capsys.readouterr().err


TRAIN = "10 2d 0 -tr nnUNetTrainerMaskMed_3epochs -p MaskMedPlans"


def test_training(nnunet_env, monkeypatch, call):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    root = write_preprocessed(nnunet_env.preprocessed, plans())
    (root / "splits_final.json").write_text("{}")
    assert "The training was not started, for 2 reasons" in refused(monkeypatch, training, "run_training_entry", TRAIN)
    # plans of ours with another trainer are ours, too
    mixed = "10 2d 0 -p MaskMedPlans -device cpu"
    assert "splits_final.json: it holds not a list" in refused(monkeypatch, training, "run_training_entry", mixed)
    (root / "splits_final.json").unlink()
    assert call(training, "run_training_entry", f"{TRAIN} -device cpu") == ["get_trainer_from_args"]
    assert call(training, "run_training_entry", "10 2d 0 -device cpu") == ["get_trainer_from_args"]  # all stock


def test_prediction(nnunet_env, monkeypatch, call, tmp_path):
    model = write_model(nnunet_env.results, plans(), folds=("all",))
    line = f"-i {tmp_path} -o {tmp_path / 'out'} -device cpu"
    named = f"{line} -d 10 -c 2d -tr nnUNetTrainerMaskMed -p MaskMedPlans"
    for entry, more in (("predict_entry_point", named), ("predict_entry_point_modelfolder", f"{line} -m {model}")):
        text = " ".join(refused(monkeypatch, prediction, entry, more).split())
        assert "for 2 reasons" in text and "add -f all" in text and "no image ends with _0000.nii.gz" in text
        assert not (tmp_path / "out").exists()
    write_nifti(tmp_path / "a_0000.nii.gz")
    assert call(prediction, "predict_entry_point", f"{named} -f all") == ["nnUNetPredictor"]
    assert "-d: there is no Dataset011" in refused(
        monkeypatch, prediction, "predict_entry_point", named.replace("-d 10", "-d 11")
    )
    stock = write_model(nnunet_env.results, {**plans("Dataset012_S"), "plans_name": "P", "maskmed_nnu": 0}, trainer="T")
    (stock / "plans.json").write_text("{}")
    assert call(prediction, "predict_entry_point_modelfolder", f"{line} -m {stock} -f 3") == ["nnUNetPredictor"]


def test_no_more_threads_than_the_job_may_use(nnunet_env, monkeypatch, tmp_path):
    """nnU-Net's commands start one for each CPU of the machine, and go on with those of ours alone."""
    threads: list[int] = [64]
    monkeypatch.setattr(multiprocessing, "cpu_count", lambda: 64)
    monkeypatch.setattr(hooks, "thread_count", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    for module, step in ((training, "get_trainer_from_args"), (prediction, "nnUNetPredictor")):
        monkeypatch.setattr(module, step, lambda *a, **k: stop())
    write_preprocessed(nnunet_env.preprocessed, plans())
    write_model(nnunet_env.results, plans(), folds=("all",))
    write_nifti(tmp_path / "a_0000.nii.gz")
    predict = (
        f"-i {tmp_path} -o {tmp_path / 'out'} -d 10 -c 2d -tr nnUNetTrainerMaskMed -p MaskMedPlans -f all -device cpu"
    )
    for module, entry, line, expected in (
        (training, "run_training_entry", f"{TRAIN} -device cpu", 3),
        (training, "run_training_entry", "10 2d 0 -device cpu", 64),
        (prediction, "predict_entry_point", predict, 3),
    ):
        monkeypatch.setattr(sys, "argv", ["command", *line.split()])
        with pytest.raises(StopError):
            getattr(module, entry)()
        assert threads[-1] == expected
    assert multiprocessing.cpu_count() == 64


def test_a_failed_planning_is_explained(monkeypatch):
    """By the planner, and only where nnU-Net's arithmetic failed."""
    asked: list[int] = []
    planner = SimpleNamespace(explain_failure=asked.append)

    def fails(error: Exception) -> None:
        import argparse

        argparse.ArgumentParser().parse_args([])
        raise error

    for error in (ValueError("shapes"), AssertionError("NaN"), InputError("told"), RuntimeError("other")):
        names = ("plan_experiment_entry", "extract_fingerprint_entry", "preprocess_entry")
        module = SimpleNamespace(**dict.fromkeys(names, print), plan_and_preprocess_entry=lambda e=error: fails(e))
        monkeypatch.setattr(hooks, "_before_planning", lambda options: (setattr(options, "d", [7]), planner)[1])
        hooks.wrap_planning(module)
        with pytest.raises(type(error)):
            module.plan_and_preprocess_entry()
    assert asked == [7, 7]


def test_stock_commands_do_not_import_the_checks(run_python, checkout):
    code = (
        "import sys; sys.argv = ['nnUNetv2_plan_and_preprocess', '-d', '987']\n"
        "from nnunetv2.experiment_planning import plan_and_preprocess_entrypoints as m\n"
        "m.extract_fingerprints = lambda *a, **k: sys.exit(0)\n"
        "try:\n    m.plan_and_preprocess_entry()\nfinally:\n"
        "    print(*sorted(n for n in sys.modules if 'preflight' in n))"
    )
    done = run_python(code, PYTHONPATH=str(checkout))
    loaded = {name.rpartition(".")[2] for name in done.stdout.splitlines()[-1].split()}
    assert loaded == {"preflight", "faults", "folders", "hooks", "huge_pages"}, done.stdout + done.stderr
