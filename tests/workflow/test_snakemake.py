"""A tiny study by a real Snakemake, with nnU-Net's and our commands replaced by scripts that leave the same files."""

import json
import os
import signal
import subprocess
import time
from importlib.util import find_spec

import pytest

from maskmed_nnu.workflow.job_records import is_locked, read_attempts
from maskmed_nnu.workflow.status import read_status
from maskmed_nnu.workflow.study import BEST
from tests.workflow.fake_commands import FakeEnvironment, tiny_study

pytest.importorskip("snakemake", reason="Snakemake is missing: pip install 'maskmed-nnu[cluster]'")
# not among what other tests install: it wants a newer NumPy than panoptica
SLURM = (
    pytest.mark.cluster,
    pytest.mark.skipif(
        find_spec("snakemake_executor_plugin_slurm") is None, reason="its executor for Slurm is missing"
    ),
)


@pytest.fixture
def fakes(tmp_path):
    return FakeEnvironment(tmp_path / "environment")


def words_of(fakes, *options, profile="local"):
    return [str(fakes.python), "-m", "snakemake", "--profile", f"profiles/{profile}", *options]


def snakemake(fakes, study, *options, profile="local"):
    done = subprocess.run(
        words_of(fakes, *options, profile=profile),
        cwd=study.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def counts(printed):
    table = printed.partition("Job stats:\n")[2].partition("\n\n")[0]
    rows = [line.split() for line in table.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def mark_trained(study, *, chosen):
    """Everything before the prediction is done."""
    models = study.models
    markers = ["done/fingerprint", *(f"done/plan/{model.plans}" for model in models)]
    markers += [f"done/preprocess/{model.plans}/{model.data}" for model in models] + ["done/split"]
    markers += [f"needs/{model.plans}.json" for model in models]
    markers += [f"done/train/{model.name}/fold_{fold}" for model in models for fold in study.config.folds]
    markers += [f"reports/{model.name}.html" for model in models]
    for name in [*markers, BEST]:
        path = study.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    selected = [{"configuration": m.configuration, "trainer": m.trainer, "plans_identifier": m.plans} for m in chosen]
    best = {"selected_model_or_models": selected, "postprocessing_file": "steps", "some_plans_file": "plans"}
    (study.folder / BEST).write_text(json.dumps({"best_model_or_ensemble": best}))


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["local", pytest.param("slurm", marks=SLURM)])
def test_what_a_dry_run_would_do(tmp_path, fakes, profile):
    study = tiny_study(tmp_path / "study")
    status, printed = snakemake(fakes, study, "-n", profile=profile)
    assert status == 0, printed
    assert counts(printed) == {
        "fingerprint": 1,
        "plan": 2,
        "preprocess": 2,
        "measure": 2,
        "split": 1,
        "train": 4,
        "best": 1,
        "training_report": 2,
        "evaluate": 1,
        "report": 1,
        "all": 1,
        "total": 18,
    }
    assert not (study.folder / "logs").exists()


@pytest.mark.cluster
def test_a_thousand_parts_are_planned_in_seconds(tmp_path, fakes):
    study = tiny_study(tmp_path / "study", parts=1000, images=1)
    mark_trained(study, chosen=study.models[:1])
    status, printed = snakemake(fakes, study, "-n", "--quiet", "rules")
    assert status == 0, printed
    assert counts(printed) == {"predict": 1000, "postprocess": 1, "evaluate": 1, "report": 1, "all": 1, "total": 1004}


@pytest.mark.slow
def test_a_fault_in_the_config_is_one_sentence(tmp_path, fakes):
    study = tiny_study(tmp_path / "study")
    file = study.folder / "config.yaml"
    file.write_text(file.read_text().replace("parts: 3", "parts: none"))
    status, printed = snakemake(fakes, study, "-n")
    assert status != 0
    assert f'{file}: predict.parts is "none", but it must be an integer of 1 or more.' in printed


@pytest.mark.slow
def test_a_study_with_mishaps_runs_through(tmp_path, fakes):
    """A training is terminated, another runs out of memory, a part fails, an image is broken."""
    study = tiny_study(tmp_path / "study", broken=1)
    (fakes.trouble / "nnUNetv2_train").write_text("143")
    (fakes.trouble / "nnUNetv2_predict").write_text("1")
    status, printed = snakemake(fakes, study, "--cores", "2")
    assert status == 0, printed
    assert (study.folder / "report.html").is_file()
    trained = fakes.called("nnUNetv2_train")
    assert len(trained) == 5 and all("--c" in words for words in trained)
    predicted = fakes.called("nnUNetv2_predict")
    assert len(predicted) == 7 and all("--continue_prediction" in words for words in predicted)
    assert len(list((study.folder / "predictions" / "final").iterdir())) == 11
    state = read_status(study)
    assert state.finished and all(one.state == "done" for one in state.trainings)
    assert sum(one.attempts for one in state.trainings) == 5
    assert sum(step.broken for step in state.steps) == 2  # once for each model of the ensemble
    calls = len(fakes.calls.read_text().splitlines())
    assert snakemake(fakes, study, "--cores", "2")[0] == 0  # nothing is left to do
    assert len(fakes.calls.read_text().splitlines()) == calls


@pytest.mark.cluster
def test_an_engine_that_was_killed_goes_on_and_waits_for_the_jobs_it_left(tmp_path, fakes):
    study = tiny_study(tmp_path / "study")
    (fakes.trouble / "nnUNetv2_train").write_text("wait")
    model = study.models[0]
    target = f"done/train/{model.name}/fold_0"
    engine = subprocess.Popen(
        words_of(fakes, "--cores", "2", target), cwd=study.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not fakes.called("nnUNetv2_train"):
        assert engine.poll() is None
        time.sleep(0.05)
    status, printed = snakemake(fakes, study, "--cores", "2", target)
    assert status != 0 and "is run by process" in printed  # a second engine is refused
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    assert is_locked(study.records(f"train/{model.name}/fold_0"))
    with subprocess.Popen(
        words_of(fakes, "--cores", "2", target), cwd=study.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as engine:
        for line in engine.stdout:
            if b"is still worked on by" in line:
                (fakes.trouble / "go").touch()
    assert engine.returncode == 0
    assert len(fakes.called("nnUNetv2_train")) == 1
    assert [attempt.status for attempt in read_attempts(study.records(f"train/{model.name}/fold_0"))] == [0]
