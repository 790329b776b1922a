"""Trained models: what is in a folder, what is wrong with it, and a predictor that says nothing."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.model_source import open_model
from tests.nnunet.tiny_models import NETWORKS, tiny_model


@pytest.fixture
def folder(tmp_path):
    return tiny_model(tmp_path / "model", "SimpleUNet", dim=2, folds=(0, 1, "all"))


def test_folds_and_files_of_a_training(folder):
    model = open_model(folder)
    assert model.name == str(folder) and model.path == folder and model.folds == ("0", "1", "all")
    assert model.plans["configurations"]["2d"] and model.dataset_json["labels"]["background"] == 0
    assert model.choose_folds(None) == ["0", "1"]
    assert model.choose_folds("all") == ["all"] and model.choose_folds(1) == ["1"]
    assert model.choose_folds([1, "0", 1]) == ["1", "0"]  # nnU-Net adds up in the order that is asked for


@pytest.mark.parametrize("network", NETWORKS)
def test_a_predictor_is_loaded_without_a_word_and_leaves_the_process_as_it_was(network, tmp_path, capsys):
    model = open_model(tiny_model(tmp_path / "model", network, dim=2, folds=(0, 1)))
    before = torch.get_num_threads(), torch.backends.cudnn.benchmark, sys.stdout, torch.random.get_rng_state()
    predictor = model.predictor(["1", "0"], device="cpu", mirroring=True)
    assert capsys.readouterr() == ("", "")
    after = torch.get_num_threads(), torch.backends.cudnn.benchmark, sys.stdout, torch.random.get_rng_state()
    assert before[:3] == after[:3]
    assert len(predictor.list_of_parameters) == 2 and predictor.allowed_mirroring_axes == (0, 1)
    assert predictor.device == torch.device("cpu") and not predictor.perform_everything_on_device
    assert model.plans == json.loads((model.path / "plans.json").read_text())


def edit(file, **changes):
    content = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in {**content, **changes}.items() if value is not None}))


def says(sentence):
    return pytest.raises(InputError, match=re.escape(sentence) if "…" not in sentence else sentence.replace("…", ".*"))


def test_a_path_that_is_no_model(folder, tmp_path):
    with says("There is no model"):
        open_model(tmp_path / "nowhere")
    with says("is part of a model; name the folder above it"):
        open_model(folder / "fold_0")
    with says("is a file, not a model"):
        open_model(folder / "plans.json")
    with says("holds no plans.json, but models below it: name model."):
        open_model(tmp_path)
    with says("No fold in … has a checkpoint_best.pth; there is checkpoint_final.pth; give it as the checkpoint"):
        open_model(folder, checkpoint="checkpoint_best.pth")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "plans.pkl").touch()
    with says("holds a model of nnU-Net v1"):
        open_model(tmp_path / "old")
    edit(folder / "plans.json", configurations=None)
    with says("plans.json has no configurations, so it is not from nnU-Net v2"):
        open_model(folder)
    (folder / "plans.json").write_text("[]")
    with says("is not a JSON object; nnU-Net's plans is needed there"):
        open_model(folder)


def test_folds_that_are_not_there_or_damaged(folder):
    model = open_model(folder)
    for missing in (4, "4", [0, 4], (4,)):
        with says("Fold 4 in … has no checkpoint_final.pth; the folds that have one are 0, 1, all."):
            model.choose_folds(missing)
    with says("No fold of … is named; the trained ones are 0, 1, all."):
        model.choose_folds([])
    file = folder / "fold_1" / "checkpoint_final.pth"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with says("checkpoint_final.pth is damaged or truncated; copy it again"):
        model.choose_folds([0, 1])
    file.write_bytes(whole[:300] + bytes(200) + whole[500:])  # its table of contents is whole
    with pytest.raises(InputError, match="damaged or truncated"):
        model.predictor(["1"], device="cpu", mirroring=True)


def resave(file, **changes):
    checkpoint = {**torch.load(file, weights_only=False), **changes}
    torch.save({key: value for key, value in checkpoint.items() if value is not None}, file)


def test_models_that_do_not_fit_what_is_installed(folder):
    file = folder / "fold_0" / "checkpoint_final.pth"

    def load():
        return open_model(folder).predictor(["0"], device="cpu", mirroring=True)

    resave(file, network_weights=None)
    with says("is not a checkpoint of nnU-Net v2 (it has no network_weights)"):
        load()
    resave(file, network_weights={"other": torch.zeros(1)})
    with says("The weights in … do not fit the network that the plans describe"):
        load()
    resave(file, trainer_name="nnUNetTrainerOfNobody")
    with says("was trained with nnUNetTrainerOfNobody, which neither maskmed_nnu nor nnU-Net has"):
        load()
    resave(file, trainer_name="nnUNetTrainerSimpleUNet", init_args={"configuration": "4d"})
    with says("have no configuration '4d'"):
        load()
    resave(file, init_args={"configuration": "2d"})
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["2d"].pop("architecture")
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.warns(UserWarning, match="old nnU-Net plans"), says("cannot be used by nnU-Net 2.8… another version"):
        load()


def test_a_model_is_opened_without_torch(folder, run_python, checkout):
    code = f"""
import sys
from maskmed_nnu.nnunet.inference.model_source import open_model
open_model({str(folder)!r}).choose_folds(None)
print(sorted({{"torch", "nnunetv2", "scipy", "matplotlib", "pandas", "SimpleITK"}} & set(sys.modules)))
"""
    done = run_python(code, PYTHONPATH=str(checkout))
    assert done.stdout.strip() == "[]", done
