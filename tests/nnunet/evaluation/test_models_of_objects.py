"""nnU-Net's functions on trainings of objects that are files only: what is compared, shared, refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.ensembling.ensemble import ensemble_folders
from nnunetv2.evaluation import evaluate_predictions, find_best_configuration
from nnunetv2.evaluation.accumulate_cv_results import accumulate_cv_results
from nnunetv2.model_sharing import entry_points
from nnunetv2.model_sharing.model_export import export_pretrained_model
from nnunetv2.model_sharing.model_import import install_model_from_zip_file
from nnunetv2.utilities import overlay_plots
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.evaluation.cross_validation import add_scores
from maskmed_nnu.nnunet.evaluation.trained_models import TrainedModel, is_ours
from maskmed_nnu.nnunet.training.object_summary import mean_scores, summarize, write_summary

DATASET = "Dataset010_Cells"
DESCRIPTION = {
    "channel_names": {"0": "grey"},
    "labels": {"background": 0, "cell": 1},
    "numTraining": 5,
    "file_ending": ".png",
    "overwrite_image_reader_writer": "InstanceIO",
}
IAUNET, MASKATTN = "maskmed_nnu.networks.iaunet.IAUNet", "maskmed_nnu.networks.maskattn_unet.MaskAttnUNet"


def scores(value: float | None) -> dict:
    each = {"AP50": value, "PQ": value}
    return {**each, "AP_large": None, "per_class": {"cell": each}, "image_mean": each}


@pytest.fixture
def train(nnunet_env):
    """``train(trainer, plans, folds={"0": 0.5}, network=)``: the files of a training with these scores."""

    def make(
        trainer: str = "nnUNetTrainerIAUNet",
        plans: str = "IAUNetPlans",
        folds: dict[str, float | None] | None = None,
        network: str = IAUNET,
        manager: str = "InstanceLabelManager",
        configuration: str = "2d",
    ) -> TrainedModel:
        model = TrainedModel(DATASET, trainer, plans, configuration)
        content = {
            "dataset_name": DATASET,
            "plans_name": plans,
            "label_manager": manager,
            "configurations": {
                name: {"architecture": {"network_class_name": network}} for name in {"2d", configuration}
            },
        }
        planned = nnunet_env.preprocessed / DATASET / f"{plans}.json"
        planned.parent.mkdir(exist_ok=True)
        model.folder.mkdir(parents=True)
        for file in (planned, model.folder / "plans.json"):
            file.write_text(json.dumps(content))
        (model.folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
        (model.folder / "dataset_fingerprint.json").write_text("{}")
        for fold, value in (folds or {"0": 0.5}).items():
            validation = model.folder / f"fold_{fold}" / "validation"
            validation.mkdir(parents=True)
            for file in ("progress.png", "checkpoint_final.pth"):
                (validation.parent / file).write_bytes(b"x" * 100)
            (validation / "instances.json").write_text(json.dumps(scores(value)))
        return model

    return make


@pytest.fixture
def accumulated(monkeypatch):
    """In the place of nnU-Net's comparison of files in processes of its own: a summary of the folds' scores."""

    def accumulate(folder: str, merged: str, folds: list[int], *args: object, **kwargs: object) -> None:
        Path(merged).mkdir(exist_ok=True)
        parts = [json.loads((Path(folder) / f"fold_{f}" / "validation" / "instances.json").read_text()) for f in folds]
        write_summary(Path(merged), summarize(mean_scores([(part, 1) for part in parts]), DESCRIPTION["labels"]))

    monkeypatch.setattr(find_best_configuration, "accumulate_cv_results", accumulate)


def find_best(
    *pairs: tuple[str, str],
    folds: tuple[int, ...] = (0,),
    configurations: tuple[str, ...] = ("2d",),
    **settings: object,
) -> dict:
    named = [
        {"trainer": trainer, "plans": plans, "configuration": configuration}
        for trainer, plans in pairs
        for configuration in configurations
    ]
    return find_best_configuration.find_best_configuration(DATASET, named, folds=folds, **settings)


# ------------------------------------------------------------------------------------------------------------- summary
def test_a_summary_has_nnunets_numbers_and_those_of_objects():
    classes = {"metric_per_case": [{"metrics": {1: {"Dice": 0.9}}}], "mean": {1: {"Dice": 0.9}}}
    summary = summarize(scores(0.5), DESCRIPTION["labels"], {**classes, "foreground_mean": {"Dice": 0.9}})
    expected = {"Dice": 0.9, "AP50": 0.5, "PQ": 0.5}
    assert summary["mean"] == {1: expected} and summary["foreground_mean"] == expected
    assert summary["metric_per_case"] == classes["metric_per_case"]


def test_folds_count_by_their_cases(tmp_path):
    for fold, cases in ((0, 3), (1, 1)):
        validation = tmp_path / f"fold_{fold}" / "validation"
        validation.mkdir(parents=True)
        (validation / "instances.json").write_text(json.dumps(scores(0.5 if fold == 0 else 0.9)))
        for case in range(cases):
            (validation / f"{fold}{case}.png").touch()
    (tmp_path / "dataset.json").write_text(json.dumps(DESCRIPTION))
    classes = {"metric_per_case": [], "mean": {1: {"Dice": 0.9}}, "foreground_mean": {"Dice": 0.9}}
    write_summary(tmp_path, classes)
    add_scores(tmp_path, [tmp_path / "fold_0", tmp_path / "fold_1"])
    summary = evaluate_predictions.load_summary_json(str(tmp_path / "summary.json"))
    assert summary["foreground_mean"] == summary["mean"][1] == {"Dice": 0.9, "AP50": pytest.approx(0.6), "PQ": 0.6}


def test_a_score_that_some_folds_do_not_have():
    assert mean_scores([(scores(None), 2), (scores(0.5), 1)])["AP50"] == 0.5
    assert mean_scores([(scores(None), 2)])["per_class"]["cell"]["PQ"] is None


# -------------------------------------------------------------------------------------------------- best configuration
def test_the_best_is_found_by_the_score_that_the_trainers_follow(train, accumulated, capsys, nnunet_env):
    train(plans="IAUNetPlans", folds={"0": 0.5, "1": 0.5})
    train(plans="OtherPlans", folds={"0": 0.5, "1": 0.7})
    best = find_best(("nnUNetTrainerIAUNet", "IAUNetPlans"), ("nnUNetTrainerIAUNet", "OtherPlans"), folds=(0, 1))
    assert best["metric"] == "AP50"
    assert best["best_model_or_ensemble"]["selected_model_or_models"][0]["plans_identifier"] == "OtherPlans"
    assert best["best_model_or_ensemble"]["result_on_crossval_post_pp"] == pytest.approx(0.6)
    printed = capsys.readouterr().out
    assert "Ensembles are skipped" in printed and "Postprocessing is skipped" in printed
    text = (nnunet_env.results / DATASET / "inference_instructions.txt").read_text()
    assert text in printed and "-f  0 1 -tr nnUNetTrainerIAUNet -c 2d -p OtherPlans" in text
    assert "postprocessing" not in text and "probabilities" not in text
    find_best_configuration.print_inference_instructions(best)
    assert text in capsys.readouterr().out


def test_trainers_that_follow_other_scores_are_compared_by_panoptic_quality(train, accumulated):
    train()
    train("nnUNetTrainerMaskAttnUNetPanoptic", "MaskAttnUNetPlans", {"0": 0.6}, MASKATTN)
    trainers = ("nnUNetTrainerIAUNet", "nnUNetTrainerMaskAttnUNetPanoptic")
    pairs = [(trainer, plans) for trainer in trainers for plans in ("IAUNetPlans", "MaskAttnUNetPlans")]
    best = find_best(*pairs)  # as -tr and -p of the command name them, two of which nobody can train
    assert best["metric"] == "PQ" and len(best["considered_models"]) == 2
    assert best["best_model_or_ensemble"]["selected_model_or_models"][0]["trainer"] == trainers[1]


def test_scores_of_slices_and_of_volumes_are_told_apart(train, accumulated, capsys):
    train(folds={"0": 0.9})
    train(folds={"0": 0.5}, configuration="3d_fullres")
    pair = ("nnUNetTrainerIAUNet", "IAUNetPlans")
    find_best(pair, configurations=("2d", "3d_fullres"))
    assert "These scores are of two kinds: a 2d model's objects are counted slice by slice" in capsys.readouterr().out
    find_best(pair, configurations=("3d_fullres",))
    assert "two kinds" not in capsys.readouterr().out


def test_no_objects_at_all(train, accumulated):
    train(folds={"0": None})
    assert find_best(("nnUNetTrainerIAUNet", "IAUNetPlans"))["all_results"] == {
        "nnUNetTrainerIAUNet__IAUNetPlans__2d": None
    }


def test_what_cannot_be_compared(train):
    train()
    pair = ("nnUNetTrainerIAUNet", "IAUNetPlans")
    with pytest.raises(InputError, match=r"Folds 1, 2 of .* are not trained; name the trained ones, -f 0, or train"):
        find_best(pair, folds=(0, 1, 2))
    with pytest.raises(InputError, match=r"no plans .*nnUNetPlans.json; name those of a training .*\(IAUNetPlans\)"):
        find_best(("nnUNetTrainerIAUNet", "nnUNetPlans"))
    with pytest.raises(InputError, match="has no model nnUNetTrainer__IAUNetPlans__2d .* -tr nnUNetTrainerIAUNet"):
        find_best(("nnUNetTrainer", "IAUNetPlans"))
    train("nnUNetTrainerMaskAttnUNet", "LabelPlans", {"0": 0.5}, MASKATTN, "LabelManager")
    with pytest.raises(InputError, match="IAUNetPlans__2d predicts objects, .*LabelPlans__2d classes"):
        find_best(pair, ("nnUNetTrainerMaskAttnUNet", "LabelPlans"))


def test_fold_all_is_nothing_to_compare_by(train):
    model = train(folds={"all": 0.5})
    with pytest.raises(
        InputError,
        match="Fold 0 of .* is not trained; fold all is, but it was validated on its training cases; train: nnUNet",
    ):
        accumulate_cv_results(str(model.folder), str(model.folder / "merged"), [0])
    assert not (model.folder / "merged").exists()


# --------------------------------------------------------------------------------------------------------------- zips
def export(output: Path, **settings: object) -> None:
    names = {"trainer": "nnUNetTrainerIAUNet", "plans_identifier": "IAUNetPlans", "configurations": ("2d",)}
    export_pretrained_model(DATASET, str(output), **{**names, "folds": (0,), **settings})


def test_a_training_of_version_0_1_is_exported_and_installed(train, tmp_path, monkeypatch, capsys):
    model = train(folds={"0": 0.5, "all": 0.7})
    archive = tmp_path / "model.zip"
    export(archive, folds=("0", "all"))
    with zipfile.ZipFile(archive) as content:
        name = f"{DATASET}/{model.folder.name}/fold_all/validation/summary.json"
        assert json.loads(content.read(name))["foreground_mean"] == {"AP50": 0.7, "PQ": 0.7}
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "fresh"))
    install_model_from_zip_file(str(archive))
    assert "-tr nnUNetTrainerIAUNet -p IAUNetPlans -c 2d -f 0 all" in capsys.readouterr().out
    assert (model.folder / "fold_all" / "checkpoint_final.pth").read_bytes() == b"x" * 100
    assert [path.name for path in (tmp_path / "fresh").iterdir()] == [DATASET]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"trainer": "nnUNetTrainerIAUNet_5epochs"}, "has no model nnUNetTrainerIAUNet_5epochs__IAUNetPlans__2d"),
        ({"trainer": "nnUNetTrainerIAUNt"}, "trained are: -tr nnUNetTrainerIAUNet -p IAUNetPlans -c 2d -f 0"),
        ({"configurations": ("3d_lowres", "3d_fullres", "2d")}, "has no model .*__3d_lowres"),
        ({"folds": (0, 1, 2, 3, 4)}, "Folds 1, 2, 3, 4 of .* -f 0, or train: nnUNetv2_train Dataset010_Cells 2d 1 "),
        ({"save_checkpoints": ("checkpoint_best.pth",)}, "has no checkpoint_best.pth .it has checkpoint_final.pth."),
    ],
)
def test_what_cannot_be_exported(train, tmp_path, settings, sentence):
    train()
    with pytest.raises(InputError, match=sentence):
        export(tmp_path / "model.zip", **settings)
    assert not list(tmp_path.glob("*model.zip"))


def test_a_validation_that_never_ran(train, tmp_path):
    model = train()
    (model.folder / "fold_0" / "validation" / "instances.json").unlink()
    command = "nnUNetv2_train Dataset010_Cells 2d 0 -tr nnUNetTrainerIAUNet -p IAUNetPlans --val"
    with pytest.raises(InputError, match=command):
        export(tmp_path / "model.zip")


def test_a_zip_never_replaces_a_part_of_the_model(train, tmp_path):
    checkpoint = train().folder / "fold_0" / "checkpoint_final.pth"
    (tmp_path / "link").symlink_to(checkpoint.parent)
    with pytest.raises(InputError, match="is in the folder of the model"):
        export(tmp_path / "link" / checkpoint.name)
    assert checkpoint.read_bytes() == b"x" * 100


def test_an_export_that_fails_leaves_the_previous_zip(train, tmp_path):
    model = train()
    (tmp_path / "model.zip").write_bytes(b"previous")
    (model.folder / "fold_0" / "progress.png").unlink()
    with pytest.raises(FileNotFoundError):
        export(tmp_path / "model.zip")
    assert (tmp_path / "model.zip").read_bytes() == b"previous" and not list(tmp_path.glob("*.partial*"))


def test_nnunets_refusals_become_sentences_for_our_models_only(train, tmp_path, monkeypatch):
    model = train()
    (model.folder / "fold_0" / "progress.png").unlink()
    command = f"nnUNetv2_export_model_to_zip -d 10 -o {tmp_path}/model.zip -c 2d -f 0 -tr"
    monkeypatch.setattr("sys.argv", [*command.split(), "nnUNetTrainerIAUNet", "-p", "IAUNetPlans"])
    with pytest.raises(SystemExit, match=r"progress\.png cannot be used: it, or its folder, does"):
        entry_points.export_pretrained_model_entry()
    monkeypatch.setattr("sys.argv", [*command.split(), "nnUNetTrainer"])
    with pytest.raises(RuntimeError, match="missing the trained model"):
        entry_points.export_pretrained_model_entry()


def test_zips_that_cannot_be_installed(train, tmp_path, monkeypatch):
    train()
    archive = tmp_path / "model.zip"
    export(archive)
    whole = archive.read_bytes()
    fresh = tmp_path / "fresh"
    monkeypatch.setenv("nnUNet_results", str(fresh))
    rotten = bytearray(whole)
    rotten[whole.index(b"Dataset010") + 150] ^= 255  # inside of the first file
    for content in (whole[: len(whole) // 2], bytes(rotten)):
        archive.write_bytes(content)
        with pytest.raises(InputError, match="model.zip is damaged or truncated .* nothing was installed"):
            install_model_from_zip_file(str(archive))
        assert not list(fresh.iterdir())
    archive.write_bytes(whole)
    (tmp_path / "file").touch()
    for results, sentence in (
        (tmp_path / "file" / "below", "cannot be installed .*Not a directory"),
        (None, "not set"),
    ):
        monkeypatch.setenv("nnUNet_results", str(results)) if results else monkeypatch.delenv("nnUNet_results")
        with pytest.raises(InputError, match=sentence):
            install_model_from_zip_file(str(archive))
    for path, sentence in ((tmp_path / "none.zip", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=sentence):
            install_model_from_zip_file(str(path))
    archive.write_bytes(b"not of ours")
    with pytest.raises(zipfile.BadZipFile):
        install_model_from_zip_file(str(archive))


# --------------------------------------------------------------------------------------------------------- evaluation
@pytest.fixture
def label_maps(tmp_path) -> tuple[Path, Path]:
    """Folders of true and predicted ids, far from any dataset.json."""
    folders = tmp_path / "a" / "b" / "c" / "truth", tmp_path / "a" / "b" / "c" / "prediction"
    for folder, ids in zip(folders, ([0, 7, 7, 9], [0, 0, 3, 3]), strict=True):
        folder.mkdir(parents=True)
        Image.fromarray(np.array([ids], np.uint8)).save(folder / "x.png")
    return folders


class _Pool:
    """Work in this process, where nnU-Net starts others."""

    def __init__(self, processes: int) -> None:
        pass

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def starmap(self, function, arguments) -> list:
        return [function(*each) for each in arguments]


def test_the_dataset_json_that_was_named_is_believed(label_maps, train, tmp_path, monkeypatch, capsys):
    model = train()
    monkeypatch.setattr(evaluate_predictions.multiprocessing, "get_context", lambda method: _Contexts)
    truth, prediction = label_maps
    named = (str(model.folder / "dataset.json"), str(model.folder / "plans.json"))
    monkeypatch.setattr(evaluate_predictions, "PlansManager", _Plans)
    evaluate_predictions.compute_metrics_on_folder2(str(truth), str(prediction), *named)
    summary = json.loads((prediction / "summary.json").read_text())
    assert summary["mean"]["1"]["Dice"] == pytest.approx(4 / 5)  # as one class: 3 and 2 pixels, 2 of them in common
    assert f"maskmed evaluate {prediction} {truth}" in capsys.readouterr().out
    (prediction / "x.png").rename(prediction / "y.png")
    with pytest.raises(InputError, match="holds no prediction of a case of .*name.* x"):
        evaluate_predictions.compute_metrics_on_folder2(str(truth), str(prediction), *named)


class _Contexts:
    Pool = _Pool


class _Plans:
    def __init__(self, file: str) -> None:
        pass

    def get_label_manager(self, dataset_json: dict):
        from maskmed_nnu.nnunet.plans_handling.label_manager import InstanceLabelManager

        return InstanceLabelManager(dataset_json["labels"], None)


def test_ids_are_no_labels(label_maps):
    truth, prediction = label_maps
    (prediction / "dataset.json").write_text(json.dumps(DESCRIPTION))
    with pytest.raises(InputError, match=r"prediction hold ids of objects .* maskmed evaluate "):
        evaluate_predictions.compute_metrics_on_folder_simple(str(truth), str(prediction), [1])


def test_overlays_of_plans_that_are_not_there(train, nnunet_env):
    train()
    (nnunet_env.preprocessed / DATASET / "splits_final.json").write_text("[]")
    with pytest.raises(InputError, match="has no plans nnUNetPlans; name IAUNetPlans after -p"):
        overlay_plots.generate_overlays_from_preprocessed(DATASET, "pictures")
    with pytest.raises(InputError, match="have no configuration '3d_fullres'. They have: 2d."):
        overlay_plots.generate_overlays_from_preprocessed(
            DATASET, "pictures", configuration="3d_fullres", plans_identifier="IAUNetPlans"
        )


# ------------------------------------------------------------------------------------------------------------- classes
def test_folders_without_probabilities_are_no_ensemble(train, tmp_path):
    model = train("nnUNetTrainerMaskAttnUNet", "LabelPlans", {"0": 0.5}, MASKATTN, "LabelManager")
    with pytest.raises(InputError, match="contains no probabilities .* --save_probabilities"):
        ensemble_folders([str(model.folder)] * 2, str(tmp_path / "ensemble"))
    assert not (tmp_path / "ensemble").exists()


def test_objects_in_any_folder_are_refused(train, tmp_path):
    labels = train("nnUNetTrainerMaskAttnUNet", "LabelPlans", {"0": 0.5}, MASKATTN, "LabelManager")
    with pytest.raises(InputError, match="are for objects"):
        ensemble_folders([str(labels.folder), str(train().folder)], str(tmp_path / "ensemble"))


def test_whose_models_are_ours(train):
    train("nnUNetTrainerX", "XPlans")
    ours = [("nnUNetTrainerIAUNet_3epochs", "x"), ("x", "MaskAttnUNetLowResPlans"), ("nnUNetTrainerX", "XPlans")]
    assert all(is_ours(TrainedModel(DATASET, *names, "2d")) for names in ours)
    assert not is_ours(TrainedModel(DATASET, "nnUNetTrainer", "nnUNetPlans", "2d"))
