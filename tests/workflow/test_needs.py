"""What jobs ask for: memory that doubles where it ran out, wall time by measured epochs, the GPU that has room."""

import json

import pytest

from maskmed_nnu.workflow import needs
from maskmed_nnu.workflow.job_records import Record, new_attempt
from maskmed_nnu.workflow.study import read_study
from tests.workflow.fake_commands import tiny_study

NEED = {"memory_gb": 20.0, "seconds": 0.6, "patch": [100, 100, 100], "batch": 2, "channels": 1}


@pytest.fixture
def study(tmp_path):
    study = tiny_study(tmp_path / "study")
    file = study.folder / "needs" / "MaskMedPlans.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"3d_fullres": NEED}))
    return study


def edited(study, old, new):
    file = study.folder / "config.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return read_study(study.folder)


def ended(study, name, **end):
    record = Record(study.records(name))
    with record.alone(print):
        record.begin(new_attempt("command"))
        record.end(**{"status": -9, "out_of_memory": False, "broken": 0, **end})


def log_epochs(study, model, count, seconds):
    folder = study.training_folder(model, 0)
    folder.mkdir(parents=True)
    stamp = "2026-01-01 00:00:00.1: "
    lines = [f"{stamp}Epoch {n}\n{stamp}train_loss -0.5\n{stamp}Epoch time: {seconds} s\n" for n in range(count)]
    (folder / "training_log_2026_1_1_00_00_00.txt").write_text("".join(lines))


def test_memory_doubles_for_each_time_that_it_ran_out(study):
    assert needs.megabytes(study, "predict/a", 16) == 16_000
    ended(study, "predict/a", out_of_memory=True)
    ended(study, "predict/a", status=143)  # preempted: not for lack of memory
    assert needs.megabytes(study, "predict/a", 16) == 32_000
    for _ in range(5):
        ended(study, "predict/a", out_of_memory=True)
    assert needs.megabytes(study, "predict/a", 16) == 512_000  # most_memory_gb


def test_memory_of_a_training_grows_with_patch_batch_and_workers(study):
    model, file = study.models[0], study.folder / "needs" / "MaskMedPlans.json"
    batch = 100**3 * 2 * 3 * 4 / 1e9
    assert needs.training_megabytes(study, model, "train/a", file) == pytest.approx(
        1000 * (6 + 12 * (0.5 + 8 * batch)), abs=1
    )
    own = edited(study, '"memory_gb": null', '"memory_gb": 40')
    assert needs.training_megabytes(own, model, "train/a", file) == 40_000


def test_snakemake_is_told_where_a_measurement_is_still_missing(study):
    missing = study.folder / "needs" / "other.json"
    for ask in (
        lambda: needs.training_megabytes(study, study.models[0], "train/a", missing),
        lambda: needs.training_minutes(study, study.models[0], "0", missing),
        lambda: needs.gpu_model(study, study.models[0], missing),
    ):
        with pytest.raises(FileNotFoundError) as raised:
            ask()
        assert raised.value.filename == str(missing)


def test_wall_time_is_that_of_the_epochs_that_are_left(study):
    file = study.folder / "needs" / "MaskMedPlans.json"
    model = study.models[0]._replace(trainer="nnUNetTrainerMaskMed_100epochs")
    step = 0.6 * needs.STEPS * 100 / 60  # minutes, by measured steps
    assert needs.training_minutes(study, model, "0", file) == pytest.approx(20 + 1.3 * step, abs=1)
    log_epochs(study, model, 60, seconds=300)
    assert needs.training_minutes(study, model, "0", file) == 20 + 1.3 * 40 * 5  # by its own epochs
    assert needs.training_minutes(study, model, "1", file) == pytest.approx(20 + 1.3 * step, abs=1)
    short = edited(study, '"hours": 24', '"hours": 3')
    assert needs.training_minutes(short, model, "0", file) == 180  # the rest is for the next attempt
    minutes = study.models[0]._replace(trainer="nnUNetTrainerMaskMed_300minutes")
    assert needs.training_minutes(study, minutes, "0", file) == 20 + 1.3 * 300


def test_the_smallest_gpu_that_has_room(study):
    file, model = study.folder / "needs" / "MaskMedPlans.json", study.models[0]
    assert needs.gpu_model(study, model, file) == ""
    kinds = edited(study, "gpu_models: {}", "gpu_models: {a100: 40, rtx2080: 11, rtx3090: 24}")
    assert needs.gpu_model(kinds, model, file) == "rtx3090"
    small = edited(kinds, "{a100: 40, rtx2080: 11, rtx3090: 24}", "{rtx2080: 11, titan: 12}")
    assert needs.gpu_model(small, model, file) == "titan"  # the largest there is


def test_folds_are_nnunets_and_those_that_are_there_stay(study, capsys):
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    from maskmed_nnu.workflow import splits

    labels = study.preprocessed / "gt_segmentations"
    labels.mkdir(parents=True)
    (study.preprocessed / "dataset.json").write_text('{"file_ending": ".nii.gz"}')
    for number in range(4):
        (labels / f"case_{number}.nii.gz").touch()
    assert splits.main(str(study.folder)) == 1
    assert "has 4 training cases, fewer than nnU-Net's five folds need" in capsys.readouterr().err
    for number in range(4, 11):
        (labels / f"case_{number}.nii.gz").touch()
    assert splits.main(str(study.folder)) == 0
    file = study.preprocessed / "splits_final.json"
    cases = sorted(f"case_{number}" for number in range(11))
    assert json.loads(file.read_text()) == generate_crossval_split(cases, seed=12345, n_splits=5)
    file.write_text("[]")
    assert splits.main(str(study.folder)) == 0
    assert file.read_text() == "[]"
