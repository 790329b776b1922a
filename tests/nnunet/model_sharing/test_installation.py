"""Packages installed below nnU-Net's results: the stock command predicts as the package, or nothing is installed."""

from __future__ import annotations

import json
import pickle
import re
import resource
import shlex
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from PIL import Image

import maskmed_nnu as mm
from maskmed_nnu.cli.main import main
from maskmed_nnu.errors import InputError
from tests.api.test_model import save_nifti, volume, written
from tests.nnunet.model_sharing.test_model_package import contents, edited, write
from tests.nnunet.tiny_models import NETWORKS, OBJECTS, tiny_model

NAME = "nnUNetTrainerSimpleUNet__SimpleUNetPlans__2d"


@pytest.fixture
def package(tmp_path, nnunet_env) -> Path:
    folder = tiny_model(tmp_path / "model", "SimpleUNet", folds=(0, 1))
    return mm.export(folder, tmp_path / "x.zip", precision="float32")


def installed(folder: Path) -> list[str]:
    """Everything below nnU-Net's results, hidden or not."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def run_stock(monkeypatch, command: str, images: Path, output: Path) -> Path:
    """The printed command of nnU-Net in this process, on ``images``; the one file that it writes."""
    words = command.replace("INPUT_FOLDER", str(images)).replace("OUTPUT_FOLDER", str(output))
    options = "-device cpu -npp 0 -nps 0 --disable_progress_bar"
    monkeypatch.setattr(sys, "argv", shlex.split(f"{words} {options}"))
    predict_entry_point()
    return next(path for path in output.iterdir() if path.name.startswith("case."))


@pytest.mark.parametrize(
    ("network", "dim", "precision"),
    [*((name, 2, "float32") for name in NETWORKS), ("SimpleUNet", 3, "float32"), ("MaskAttnUNet", 2, "float16")],
)
def test_the_stock_command_predicts_as_the_package(tmp_path, nnunet_env, monkeypatch, capsys, network, dim, precision):
    folder = tiny_model(tmp_path / "model", network, dim=dim, folds=(0, 1) if dim == 3 else (0,))
    package = mm.export(folder, tmp_path / "x.zip", precision=precision)
    assert main(["import", str(package)]) == 0
    told, command = re.fullmatch(r"Installed (.+)\nPredict with: (.+)\n", capsys.readouterr().out).groups()
    images = tmp_path / "images"
    images.mkdir()
    if network in OBJECTS:
        picture = np.random.default_rng(0).integers(0, 255, (40, 48)).astype(np.uint8)
        Image.fromarray(picture).save(images / "case_0000.png")
        image = images / "case_0000.png"
    else:
        image = save_nifti(images / "case_0000.nii.gz", volume((6, 20, 17) if dim == 3 else (1, 40, 45)))
    found = written(run_stock(monkeypatch, command, images, tmp_path / "out"))
    assert len(np.unique(found)) > 1
    for source in (package, folder) if precision == "float32" else (package,):
        expected = mm.load(source, device="cpu").predict(image).labels
        np.testing.assert_array_equal(np.squeeze(found), np.squeeze(expected))
    saved = torch.load(Path(told) / "fold_0" / "checkpoint_final.pth", weights_only=True)
    assert saved["trainer_name"] == f"nnUNetTrainer{network}", "plain data, which torch loads without executing any"


def test_what_is_installed(package, nnunet_env):
    folder = mm.import_model(package)
    assert folder == nnunet_env.results / "Dataset007_Tiny" / NAME
    files = ["README.md", "dataset.json", "fold_0", "fold_0/checkpoint_final.pth", "fold_1"]
    assert installed(folder) == [*files, "fold_1/checkpoint_final.pth", "plans.json"]
    assert installed(nnunet_env.results)[:2] == ["Dataset007_Tiny", f"Dataset007_Tiny/{NAME}"], "nothing is left beside"
    assert (folder / "README.md").read_bytes() == contents(package)["README.md"]


def test_configurations_that_were_not_checked_stay_behind(package, nnunet_env, tmp_path):
    def add(plans: dict) -> None:
        plans["configurations"]["evil"] = {"architecture": {"network_class_name": "os.system"}}
        plans["configurations"]["child"] = {"inherits_from": "2d", "batch_size": 7}

    edited(package, "plans.json", add)
    folder = mm.import_model(edited(package, "package.json", lambda manifest: manifest.update(configuration="child")))
    assert folder.name.endswith("__child")
    plans = json.loads((folder / "plans.json").read_text())
    assert list(plans["configurations"]) == ["child"] and "os.system" not in json.dumps(plans)
    assert plans["configurations"]["child"]["batch_size"] == 7
    array = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    found, expected = (
        mm.load(source, device="cpu").predict(array, spacing=(1, 1)).labels for source in (folder, package)
    )
    np.testing.assert_array_equal(found, expected)


def test_a_model_of_ones_own_that_comes_back(nnunet_env, tmp_path):
    """Its plans have more configurations, and its checkpoints are nnU-Net's."""
    folder = tiny_model(nnunet_env.results / "Dataset007_Tiny" / NAME, "SimpleUNet")
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["3d_fullres"] = {}
    (folder / "plans.json").write_text(json.dumps(plans))
    package = mm.export(folder, tmp_path / "x.zip", precision="float32")
    assert mm.import_model(package) == folder and json.loads((folder / "plans.json").read_text()) == plans


def test_the_same_model_may_come_again(package, nnunet_env, tmp_path):
    folder = mm.import_model(package)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert mm.import_model(package) == folder
    one_fold = mm.export(tmp_path / "model", tmp_path / "one.zip", precision="float32", folds=1)
    assert mm.import_model(one_fold) == folder, "a part of what is there"
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_another_model_of_that_name_stays(package, nnunet_env, tmp_path):
    folder = mm.import_model(package)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    others = {
        "half precision": mm.export(tmp_path / "model", tmp_path / "half.zip"),
        "more folds": mm.export(
            tiny_model(tmp_path / "more", "SimpleUNet", folds=(0, 1, 2)), tmp_path / "more.zip", precision="float32"
        ),
        "plans": edited(package, "plans.json", lambda plans: plans.update(note="mine")),
    }
    for other in others.values():
        with pytest.raises(InputError, match=f"{NAME} contains another model of this name; .* such as Dataset001_Tiny"):
            mm.import_model(other)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    again = mm.import_model(others["half precision"], dataset="Dataset001_Tiny")
    assert again.parent.name == json.loads((again / "plans.json").read_text())["dataset_name"] == "Dataset001_Tiny"


@pytest.mark.parametrize("content", ["[]", "{}", '{"configurations": 3}', '{"configurations": {"2d": []}}'])
def test_plans_that_are_there_and_are_none(package, content):
    folder = mm.import_model(package)
    (folder / "plans.json").write_text(content)
    with pytest.raises(InputError, match=f"{NAME} contains another model of this name"):
        mm.import_model(package)


@pytest.mark.parametrize("kind", ["raw", "preprocessed", "results"])
def test_a_number_that_another_data_set_has(package, nnunet_env, kind):
    (getattr(nnunet_env, kind) / "Dataset007_Other").mkdir()
    (nnunet_env.raw / "Dataset001_Mine").mkdir()
    with pytest.raises(InputError, match=r"The number of Dataset007_Tiny is that of .*_Other, .* such as Dataset002_T"):
        mm.import_model(package)
    (nnunet_env.raw / "Dataset009_Tiny").mkdir()
    assert mm.import_model(package, dataset="Dataset009_Tiny").is_dir(), "a data set that is there gets a model"


@pytest.mark.parametrize(
    ("file", "change", "fault"),
    [
        (
            "plans.json",
            {"dataset_name": "../../Dataset001_X"},
            "is of the data set .* not a name for nnU-Net; name the",
        ),
        ("plans.json", {"dataset_name": "/tmp/Dataset001_X"}, "is of the data set"),
        ("plans.json", {"dataset_name": "Dataset001_X/.."}, "is of the data set"),
        ("plans.json", {"dataset_name": None}, "is of the data set null"),
        ("plans.json", {"plans_name": "../.."}, "would be installed as .* do not use it"),
        ("plans.json", {"plans_name": "/etc"}, "would be installed as"),
        ("plans.json", {"plans_name": "a__b"}, "would be installed as"),
        ("plans.json", {"plans_name": 7}, "would be installed as"),
        ("package.json", {"trainer": "nnUNetTrainerNobodyHas"}, "which neither maskmed_nnu nor nnU-Net has"),
        ("package.json", {"trainer": "a__b"}, 'names "a__b" as trainer'),
    ],
)
def test_names_that_lead_elsewhere(package, nnunet_env, file, change, fault):
    with pytest.raises(InputError, match=fault):
        mm.import_model(edited(package, file, lambda content: content.update(change)))
    assert installed(nnunet_env.results) == []


class Evil:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


def _compressed(files: dict[str, bytes], path: Path) -> None:
    write(path, files | {"README.md": b"0" * 10**7}, compression=zipfile.ZIP_DEFLATED)


def test_hostile_packages(package, nnunet_env, tmp_path, capsys):
    """Each is refused in one sentence on stderr; nothing is written, and nothing runs."""
    files, evil = contents(package), pickle.dumps(Evil(tmp_path / "evil"))
    manifest = json.loads(files["package.json"])
    changed = bytearray(files["fold_0.safetensors"])
    changed[-5] ^= 1
    plans = json.loads(files["plans.json"])
    plans["configurations"]["2d"]["architecture"]["network_class_name"] = "maskmed_nnu.networks.simple_unet.Unknown"
    cases = {
        "a changed byte": lambda: write(package, files | {"fold_0.safetensors": bytes(changed)}, sums=False),
        "a pickle": lambda: write(package, files | {"weights.pkl": evil}),
        "a checkpoint": lambda: write(package, files | {"fold_0/checkpoint_final.pth": evil}),
        "a pickle for weights": lambda: write(package, files | {"fold_0.safetensors": evil}),
        "a pickle as an example": lambda: write(package, files | {"example.pkl": evil}, sums=False),
        "an absolute path": lambda: write(package, files | {str(tmp_path / "evil"): b"x"}),
        "a path upwards": lambda: write(package, files | {"../evil": b"x"}),
        "a bomb": lambda: _compressed(files, package),
        "an unknown network": lambda: write(package, files | {"plans.json": json.dumps(plans).encode()}),
        "another trainer": lambda: write(
            package, files | {"package.json": json.dumps({**manifest, "trainer": "antigravity"}).encode()}
        ),
        "a cut file": lambda: package.write_bytes(package.read_bytes()[:-100]),
        "no zip file": lambda: package.write_bytes(evil),
    }
    for name, make in cases.items():
        write(package, files, sums=False)
        make()
        assert main(["import", str(package)]) == 1, name
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 2 and str(package) in printed.err, (name, printed.err)
        with pytest.raises(InputError):
            mm.load(package).predict(np.zeros((40, 40), np.float32))
        assert installed(nnunet_env.results) == [] and not (tmp_path / "evil").exists(), name
        assert not (tmp_path.parent / "evil").exists()


def test_what_is_no_package(tmp_path, nnunet_env, package, monkeypatch):
    for source, fault in {
        tmp_path / "model": "is the folder of a training, but only packages can be imported",
        tmp_path / "missing.zip": "There is no model .*missing.zip",
        "nucleii": "There is no model nucleii; name",
    }.items():
        with pytest.raises(InputError, match=fault):
            mm.import_model(source)
    for name in ("Dataset1_X", "X", "Dataset001_a/b", "../Dataset001_a", "Dataset001_", ""):
        with pytest.raises(InputError, match="is not a name of a data set for nnU-Net"):
            mm.import_model(package, dataset=name)
    monkeypatch.setenv("nnUNet_results", str(package))
    with pytest.raises(InputError, match="which is not a folder"):
        mm.import_model(package)
    monkeypatch.delenv("nnUNet_results")
    with pytest.raises(InputError, match="nnUNet_results is not set"):
        mm.import_model(package)


def test_a_full_disk_leaves_nothing(package, nnunet_env):
    """Files may not grow beyond the plans, which ends the writing of weights as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be installed into .* \(File too large\); nothing was"):
            mm.import_model(package)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert installed(nnunet_env.results) == []


def test_a_model_of_ours_by_its_name(nnunet_env, capsys):
    assert main(["import", "nuclei", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["model"]).is_dir() and told["command"].startswith("nnUNetv2_predict -d Dataset")
