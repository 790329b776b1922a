"""How far a study is, by logs and markers; why images were not predicted; contestants and tests in its report."""

import json
import os
import time

import pytest

from maskmed_nnu.cli.main import main
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import write_json
from maskmed_nnu.workflow.contestants import against_the_best, read_contestants
from maskmed_nnu.workflow.engine_lock import _held, lock_engine
from maskmed_nnu.workflow.job_records import Record, new_attempt
from maskmed_nnu.workflow.predicted_images import predicted_images
from maskmed_nnu.workflow.status import read_status
from maskmed_nnu.workflow.study import BEST
from tests.workflow.fake_commands import tiny_study

STAMP = "2026-01-01 00:00:00.1: "


@pytest.fixture
def study(tmp_path):
    return tiny_study(tmp_path / "study", broken=1)


def attempt(study, name, **end):
    record = Record(study.records(name))
    with record.alone(print):
        record.begin(new_attempt("command"))
        record.path.with_suffix(".log").write_text("a\nb\nc\nno such label\nended with status 1\n")
        if end:
            record.end(**{"out_of_memory": False, "broken": 0, **end})


def mark(study, name):
    path = study.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def train(study, model, fold, epochs, score=0.5):
    folder = study.training_folder(model, fold)
    folder.mkdir(parents=True)
    lines = [
        f"{STAMP}Epoch {n}\n{STAMP}train_loss -0.5\n{STAMP}Pseudo dice [{score}]\n{STAMP}Epoch time: 30.0 s\n"
        for n in range(epochs)
    ]
    (folder / "training_log_2026_1_1_00_00_00.txt").write_text("".join(lines))
    return folder


def choose(study, *models, postprocessing="steps.pkl"):
    selected = [{"configuration": m.configuration, "trainer": m.trainer, "plans_identifier": m.plans} for m in models]
    best = {"selected_model_or_models": selected, "postprocessing_file": postprocessing, "some_plans_file": "p"}
    (study.folder / BEST).parent.mkdir(exist_ok=True)
    write_json(study.folder / BEST, {"best_model_or_ensemble": best})


def test_states_of_trainings(study):
    first, second = study.models
    train(study, first, 0, 2)
    attempt(study, f"train/{first.name}/fold_0", status=143)
    attempt(study, f"train/{first.name}/fold_0", status=0)
    train(study, first, 1, 1, score=0.25)
    attempt(study, f"train/{first.name}/fold_1")
    attempt(study, f"train/{second.name}/fold_0", status=143)
    attempt(study, f"train/{second.name}/fold_1", status=1)
    status = read_status(study)
    assert [one.state for one in status.trainings] == ["done", "running", "stopped", "failed"]
    done, running, _, _ = status.trainings
    assert (done.epoch, done.epochs, done.attempts, done.seconds_left) == (2, 2, 2, 0)
    assert (running.epoch, running.epochs, running.score, running.seconds_left) == (1, 2, 0.25, 30)
    assert status.failures == ((f"train/{second.name}/fold_1", "b\nc\nno such label"),)
    for path in study.folder.glob("logs/train/*/fold_1*"):
        os.utime(path, (time.time() - 3600,) * 2)
    for path in study.results.glob("*/fold_1/*"):
        os.utime(path, (time.time() - 3600,) * 2)
    assert read_status(study).trainings[1].state == "silent"


def test_steps_and_broken_images(study):
    first = study.models[0]
    choose(study, first)
    mark(study, "done/fingerprint")
    for part in range(2):
        mark(study, f"done/predict/{first.name}/part_{part}")
        attempt(study, f"predict/{first.name}/part_{part}", status=0, broken=1 - part)
    mark(study, "needs/MaskMedPlans.json")
    steps = {step.name: step for step in read_status(study).steps}
    predict = steps["predict, maskmed 3d_fullres"]
    assert (predict.done, predict.total, predict.attempts, predict.broken) == (2, 3, 2, 1)
    assert (steps["measure"].done, steps["measure"].total) == (1, 2)
    assert (steps["fingerprint"].done, steps["choose the best"].done) == (1, 1)


def test_the_command_prints_a_table_json_and_a_page(study, capsys, tmp_path):
    train(study, study.models[0], 0, 1)
    assert main(["status", str(study.folder), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["trainings"][0]["epoch"] == 1 and content["trainings"][1]["score"] is None
    page = tmp_path / "status.html"
    assert main(["status", str(study.folder), "--html", str(page)]) == 0
    assert "1 of 2" in capsys.readouterr().out
    assert "1 of 2" in page.read_text() and "<script" not in page.read_text()
    assert main(["status", str(tmp_path)]) == 1
    assert "name the folder of a study" in capsys.readouterr().err


def test_images_that_were_not_predicted_and_why(study):
    first = study.models[0]
    choose(study, first)
    study.preprocessed.mkdir(parents=True)
    write_json(study.preprocessed / "dataset.json", {"file_ending": ".nii.gz", "labels": {"a": 1}})
    folder = study.prediction_folder(first.name)
    folder.mkdir(parents=True)
    for number in range(1, 11):
        (folder / f"case_{number:04d}.nii.gz").touch()
    log = study.records(f"predict/{first.name}/part_0").with_suffix(".log")
    log.parent.mkdir(parents=True)
    log.write_text("attempt 1\ncase_0000_broken: its header: is damaged.\n1 of 4 images could not be predicted; …\n")
    predicted, broken = predicted_images(study)
    assert predicted == 10
    assert broken == {
        "case_0000_broken": "its header: is damaged.",
        "case_0011": "The logs contain no reason.",
    }


def summary(scores):
    cases = [
        {"prediction_file": f"{case}.nii.gz", "metrics": {"1": {"Dice": dice, "IoU": dice, "n_ref": 5, "n_pred": 5}}}
        for case, dice in scores.items()
    ]
    return {"metric_per_case": cases}


def crossvalidated(study):
    study.preprocessed.mkdir(parents=True)
    description = {"file_ending": ".nii.gz", "labels": {"background": 0, "liver": 1}}
    write_json(study.preprocessed / "dataset.json", description)
    scores = [{f"case_{n}": base + n / 100 for n in range(8)} for base in (0.5, 0.7, 0.6)]
    ensemble = f"ensemble___{study.models[0].name}___{study.models[1].name}___0_1"
    folders = [study.results / model.name / "crossval_results_folds_0_1" for model in study.models]
    for folder, of_cases in zip([*folders, study.results / "ensembles" / ensemble], scores, strict=True):
        folder.mkdir(parents=True)
        write_json(folder / "summary.json", summary(of_cases))


def test_contestants_are_compared_case_by_case(study):
    crossvalidated(study)
    choose(study, study.models[1])
    contestants = read_contestants(study)
    assert [one.title for one in contestants] == [
        "simpleunet 3d_fullres",
        "mean of maskmed 3d_fullres and simpleunet 3d_fullres",
        "maskmed 3d_fullres",
    ]
    assert [one.chosen for one in contestants] == [True, False, False]
    assert contestants[0].mean().mean == pytest.approx(0.735)
    tests = against_the_best(contestants)
    assert [test.difference for _, test in tests] == pytest.approx([0.1, 0.2])
    assert all(test.better == test.differing == 8 and test.p < 0.05 for _, test in tests)


def test_the_report_compares_the_contestants(study, capsys, tmp_path):
    crossvalidated(study)
    choose(study, *study.models)
    page = tmp_path / "report.html"
    assert main(["report", str(study.folder), "-o", str(page)]) == 0
    text = page.read_text()
    assert "mean of maskmed 3d_fullres and simpleunet 3d_fullres (chosen)" in text
    assert "Wilcoxon" in text and "<svg" in text and "The logs contain no reason." in text
    assert "best is mean of maskmed" in capsys.readouterr().out
    page.write_text("something else")
    assert main(["report", str(study.folder), "-o", str(page)]) == 1


def test_one_engine_at_a_time(study):
    lock_engine(study.folder)
    with pytest.raises(InputError, match=f"is run by process {os.getpid()} on .* already; wait for its end"):
        lock_engine(study.folder)
    os.close(_held.pop())
    lock_engine(study.folder)
    os.close(_held.pop())


def test_a_choice_that_the_config_does_not_have_any_more(study):
    choose(study, study.models[0]._replace(trainer="nnUNetTrainerOther"))
    with pytest.raises(InputError, match="is not a network of config.yaml any more; delete that file"):
        study.chosen()
