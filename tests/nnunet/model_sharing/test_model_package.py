"""Model packages: the same model as the folder, and refusals of whatever else a zip file may hold."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import maskmed_nnu as mm
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference import model_package
from maskmed_nnu.nnunet.inference.model_source import open_model
from maskmed_nnu.nnunet.inference.package_weights import pack_weights, unpack_weights
from tests.nnunet.tiny_models import NETWORKS, VOLUMES, tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model", "SimpleUNet", channels=("CT", "MR"), folds=(0, 1))


@pytest.fixture
def package(folder: Path, tmp_path: Path) -> Path:
    return mm.export(folder, tmp_path / "model.zip")


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, files: dict[str, bytes], *, sums: bool = True, compression: int = zipfile.ZIP_STORED) -> Path:
    """A package of these files; ``sums``: ``package.json`` lists them as they are."""
    files = dict(files)
    if sums:
        manifest = json.loads(files["package.json"])
        manifest["files"] = {
            name: {"size": len(content), "sha256": sha256(content).hexdigest()}
            for name, content in files.items()
            if name != "package.json"
        }
        files["package.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def edited(package: Path, file: str, edit: Callable[[dict], object]) -> Path:
    """The package with a JSON file changed by ``edit``, and checksums that fit."""
    files = contents(package)
    content = json.loads(files[file])
    edit(content)
    return write(package, files | {file: json.dumps(content).encode()})


def predictor(source: str | Path, folds: list[str] | None = None):
    model = open_model(source)
    return model.predictor(model.choose_folds(folds), device="cpu", mirroring=True)


def predicted(source: str | Path, dim: int) -> np.ndarray:
    """The logits, or packed objects, of a random image of one channel."""
    image = np.random.default_rng(0).normal(size=(1, 1, 40, 48) if dim == 2 else (1, 8, 16, 20)).astype(np.float32)
    model = open_model(source)
    plain = model.predictor(model.folds, device="cpu", mirroring=False)
    return plain.predict_logits_from_preprocessed_data(torch.from_numpy(image)).numpy()


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(("network", "dim"), [*((name, 2) for name in NETWORKS), *((name, 3) for name in VOLUMES)])
def test_a_package_predicts_as_its_folder(tmp_path, network, dim, precision):
    folder = tiny_model(tmp_path / "model", network, dim=dim, folds=(0, 1))
    file = mm.export(folder, tmp_path / "x.zip", precision=precision)
    model = open_model(file)
    assert model.folds == ("0", "1") and model.plans == open_model(folder).plans
    ours, theirs = (predictor(source) for source in (file, folder))
    assert ours.allowed_mirroring_axes == list(theirs.allowed_mirroring_axes)
    for mine, other in zip(ours.list_of_parameters, theirs.list_of_parameters, strict=True):
        assert list(mine) == list(other) and all(value.dtype == torch.float32 for value in mine.values())
        expected = {name: value if precision == "float32" else value.half().float() for name, value in other.items()}
        assert all(torch.equal(mine[name], expected[name]) for name in mine)
    if precision == "float32":
        np.testing.assert_array_equal(predicted(file, dim), predicted(folder, dim))
    elif network in ("MaskMed", "SimpleUNet", "MaskAttnUNet"):
        rounded, exact = predicted(file, dim), predicted(folder, dim)
        assert 0 < np.abs(rounded - exact).mean() < 0.005 * np.abs(exact).mean()
        assert file.stat().st_size < mm.export(folder, tmp_path / "y.zip", precision="float32").stat().st_size


def test_folds_are_chosen(folder, tmp_path):
    file = mm.export(folder, tmp_path / "x.zip", folds=1)
    assert open_model(file).folds == ("1",)
    (ours,), (theirs,) = predictor(file).list_of_parameters, predictor(folder, ["1"]).list_of_parameters
    assert all(torch.equal(ours[name], theirs[name].half().float()) for name in theirs)
    with pytest.raises(InputError, match=r"Fold 0 in .*x\.zip is not in the package; the folds that have one are 1"):
        predictor(file, ["0"])


def test_what_a_folder_has_and_a_package_has_not(package):
    with pytest.raises(InputError, match=r"model\.zip is a model package, .* leave checkpoint_best\.pth out"):
        open_model(package, checkpoint="checkpoint_best.pth")
    with pytest.raises(InputError, match=r"model\.zip is a package already; copy that"):
        mm.export(package, package)


def test_the_same_model_gives_the_same_file_without_pickles(folder, package):
    before = package.read_bytes()
    assert mm.export(folder, package).read_bytes() == before
    assert list(contents(package)) == [
        "package.json", "plans.json", "dataset.json", "README.md", "fold_0.safetensors", "fold_1.safetensors"
    ]  # fmt: skip


def test_the_card_says_what_is_known(folder, tmp_path):
    example = tmp_path / "cells at 1.5 um.PNG"
    example.write_bytes(b"a picture")
    figures = {"images": 40, "F1@0.5": 0.91234, "per_class": {"nucleus": {"PQ": 0.5}}, "note": "words"}
    file = mm.export(folder, tmp_path / "cells.zip", card="From BBBC038, CC0.", figures=figures, example=example)
    files = contents(file)
    card = files["README.md"].decode()
    for line in ("# cells", "| labels | liver, spleen |", "| channels | CT, MR |", "| network | SimpleUNet |"):
        assert f"{line}\n" in card
    for line in ("| images | 40 |", "| F1@0.5 | 0.912 |", "| per_class, nucleus, PQ | 0.500 |"):
        assert f"{line}\n" in card
    assert "From BBBC038, CC0." in card and "limits of the model are unknown" not in card and "words" not in card
    assert files["example.png"] == b"a picture"
    open_model(file)
    unknown = contents(mm.export(folder, tmp_path / "unknown.zip"))["README.md"].decode()
    assert "limits of the model are unknown" in unknown and "it is unknown how good" in unknown


def test_where_a_package_is_not_written(folder, package, tmp_path, monkeypatch):
    (tmp_path / "notes.zip").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for path, fault in {
        "notes.zip": "exists and is not a model package, so it is not replaced",
        "x.tar": "does not end with .zip",
        "missing/x.zip": "is not a folder; make it",
        "model/x.zip": "is in the folder of the model",
    }.items():
        with pytest.raises(InputError, match=fault):
            mm.export(folder, path)
    assert (tmp_path / "notes.zip").read_text() == "mine" and not list(tmp_path.glob("**/*.partial*"))
    assert mm.export(folder, package, folds=0) == package and open_model(package).folds == ("0",)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"precision": "int8"}, "'int8' is not a precision of weights; legal are float16 and float32"),
        ({"folds": 7}, "Fold 7 in .* has no checkpoint_final.pth"),
        ({"example": "missing.png"}, "The example missing.png is not a file"),
        ({"example": __file__}, "is not an image; its ending must be one of .nii.gz, .nii, "),
        ({"figures": "missing.json"}, "missing.json cannot be read"),
        ({"checkpoint": "x.pth"}, "has a x.pth; there is checkpoint_final.pth"),
    ],
)
def test_what_is_not_exported(folder, tmp_path, options, fault):
    with pytest.raises(InputError, match=fault):
        mm.export(folder, tmp_path / "x.zip", **options)
    assert not (tmp_path / "x.zip").exists()


def test_weights_that_half_precision_cannot_hold():
    for value, fault in ((1e5, "w in x is too large for float16; export with"), (float("nan"), "x holds w with NaN")):
        with pytest.raises(InputError, match=fault):
            pack_weights({"w": torch.tensor([value])}, precision="float16", source="x")


def test_a_second_stage_of_a_cascade_is_not_exported(folder, tmp_path):
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["2d"]["previous_stage"] = "3d_lowres"
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(InputError, match="the second stage of a cascade"):
        mm.export(folder, tmp_path / "x.zip")


def test_a_parameter_of_several_names_is_stored_once():
    weight = torch.randn(4, 3)
    state = {"a": weight, "b.a": weight, "part": weight[1:3], "count": torch.tensor(7)}
    content = pack_weights(state, precision="float32", source="x")
    assert sorted(load(content)) == ["a", "count", "part"]
    restored = unpack_weights(content, state, source="x")
    assert list(restored) == list(state) and restored["b.a"] is restored["a"]
    assert all(torch.equal(restored[name], state[name]) for name in state)


# ------------------------------------------------------------------------------------------ names of ours
@pytest.fixture
def nuclei(package, tmp_path, monkeypatch) -> Path:
    """The package as the only one that comes with us, under the name ``nuclei``, and an empty working directory."""
    models = tmp_path / "models"
    models.mkdir()
    package.rename(models / "nuclei.zip")
    monkeypatch.setattr(model_package, "MODELS", models)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return models / "nuclei.zip"


def test_a_model_of_ours_by_its_name(nuclei, folder):
    assert open_model("nuclei").path == nuclei
    folder.rename("nuclei")
    assert open_model("nuclei").path == nuclei, "a name means the same in every folder"
    assert open_model("./nuclei").path == open_model(Path("nuclei")).path == Path("nuclei").resolve()
    assert mm.example("nuclei") == nuclei.with_name("nuclei_example.png")


def test_a_name_that_no_model_has(nuclei):
    with pytest.raises(InputError, match=r"There is no model nucleus; name .* or one of our models: nuclei\."):
        open_model("nucleus")
    with pytest.raises(InputError, match=r"There is no model .*none\.zip; name the folder of a training"):
        open_model("./none.zip")
    with pytest.raises(InputError, match="None of our models is called 'cells'; there is nuclei"):
        mm.example("cells")


# --------------------------------------------------------------------------------------------- damaged or forged
def test_every_byte_counts(package):
    whole = package.read_bytes()
    for place in range(0, len(whole), 997):
        package.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            opened = open_model(package)
        except InputError as error:
            assert str(package) in str(error)
        else:  # dates and the like
            assert {name: opened._package.read(name) for name in opened.manifest.files}


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_file_that_was_cut(package, kept):
    whole = package.read_bytes()
    package.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match="is damaged, truncated or not a model package"):
        open_model(package)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda files: files.pop("plans.json"), "lacks 'plans.json'"),
        (lambda files: files.pop("fold_1.safetensors"), "lacks 'fold_1.safetensors'"),
        (lambda files: files.update({"run.py": b"1"}), r"holds files that do not belong in it, .* \('run.py'\); get"),
        (lambda files: files.update({"example.pkl": b"1"}), r"\('example.pkl'\)"),
        (lambda files: files.update({"\33[2J\n": b"1"}), r"\('\\x1b\[2J\\n'\)"),
        (lambda files: files.update({"../x.json": b"{}"}), r"\('\.\./x.json'\)"),
        (lambda files: files.update({"fold_2.safetensors": b""}), r"\('fold_2.safetensors'\)"),
        (lambda files: files.update({"plans.json": b"[]"}), "plans.json in .* is not a JSON object"),
        (lambda files: files.update({"plans.json": b"{"}), "plans.json in .* is not valid JSON"),
        (lambda files: files.update({"plans.json": b"[" * 10**5}), "plans.json in .* is not valid JSON"),
        (lambda files: files.update({"plans.json": b"{}"}), "The plans hold no configurations"),
    ],
)
def test_files_that_are_missing_extra_or_wrong(package, change, fault):
    files = contents(package)
    change(files)
    with pytest.raises(InputError, match=fault):
        predictor(write(package, files))


def test_checksums_and_sizes(package):
    files = contents(package)
    for content in (files["plans.json"].replace(b"ZScoreNorm", b"ZSc0reNorm"), files["plans.json"] + b" "):
        with pytest.raises(InputError, match=r"plans\.json does not have the (size|checksum) given in package\.json"):
            open_model(write(package, files | {"plans.json": content}, sums=False))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"format_version": 2}, "is a package of format 2, but this version .* up to 1; install a newer one"),
        ({"format_version": 0}, "of format 0, which does not exist"),
        ({"format_version": "1"}, "not as `maskmed export` writes it"),
        ({"nnunetv2": "2.9.0"}, "holds a model of nnU-Net 2.9.0, but .* reads those of nnU-Net 2.8"),
        ({"folds": []}, "not as `maskmed export` writes it"),
        ({"folds": ["../../0"]}, "not as `maskmed export` writes it"),
        ({"nnunetv2": "2.8\n\33[2J"}, "not as `maskmed export` writes it"),
        ({"\33[2J": 1}, r"not as `maskmed export` writes it \(\"\\u001b\[2J\": Extra"),
        ({"trainer": "os.system"}, "not as `maskmed export` writes it"),
        ({"trainer": "join"}, 'names "join" as trainer'),
        ({"configuration": "3d"}, "have no configuration '3d'"),
        ({"mirroring_axes": [0, 2]}, "The axes in the plans of .* do not fit each other"),
        ({"precision": "float64"}, "not as `maskmed export` writes it"),
    ],
)
def test_what_package_json_may_not_say(package, change, fault):
    with pytest.raises(InputError, match=fault):
        predictor(edited(package, "package.json", lambda manifest: manifest.update(change)))


def test_files_that_are_no_packages(package, tmp_path):
    other = tmp_path / "other.zip"
    for names, fault in {
        ("Dataset001_X/nnUNetTrainer__nnUNetPlans__2d/plans.json",): "nnUNetv2_install_pretrained_model_from_zip",
        ("holiday.jpg",): "is a zip file without package.json",
    }.items():
        with zipfile.ZipFile(other, "w") as archive:
            for name in names:
                archive.writestr(name, b"")
        with pytest.raises(InputError, match=fault):
            open_model(other)
    for name, fault in (
        ("other.zip", "is damaged, truncated or not a model package"),
        ("notes.txt", "is a file, not a model"),
    ):
        (tmp_path / name).write_text("hello")
        with pytest.raises(InputError, match=fault):
            open_model(tmp_path / name)
    package.rename(tmp_path / "without_ending")
    assert open_model(tmp_path / "without_ending").folds == ("0", "1")
    (tmp_path / "without_ending").rename(package)
    with pytest.raises(InputError, match="was repacked by another program"):
        open_model(write(other, contents(package), compression=zipfile.ZIP_DEFLATED))


def test_a_zip_bomb_is_not_read(package):
    """A file that claims to be large: stored, so that its size must be there."""
    files = contents(package)
    with pytest.raises(InputError, match="was repacked by another program"):
        open_model(write(package, files | {"README.md": b"0" * 10**7}, compression=zipfile.ZIP_DEFLATED))
    write(package, files)
    raw = bytearray(package.read_bytes())
    entry = raw.rindex(b"README.md") - 46
    assert raw[entry : entry + 4] == b"PK\1\2"
    raw[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    package.write_bytes(raw)
    with pytest.raises(InputError, match="claims to hold more than its own size"):
        open_model(package)


# ------------------------------------------------------------------------------------------- hostile plans
HOSTILE = ["os.system", "maskmed_nnu.atomic_write.os.system", "maskmed_nnu.networks.iaunet.torch.hub.load"]
HOSTILE += ["torch.nn.functional.torch.load", "torch.nn.parallel.DistributedDataParallel", "torch.nn.Linear.__init__"]
HOSTILE += ["maskmed_nnu.cli.main.main", "dynamic_network_architectures.nothing", "antigravity", 7, ["os.system"]]


@pytest.mark.parametrize("name", HOSTILE, ids=str)
@pytest.mark.parametrize("place", ["network_class_name", "conv_op"])
def test_names_that_nnunet_would_import(package, place, name):
    def edit(plans: dict) -> None:
        built = plans["configurations"]["2d"]["architecture"]
        (built if place == "network_class_name" else built["arch_kwargs"])[place] = name

    with pytest.raises(InputError, match=f"as {place}, but a package may name only a network or layer of"):
        predictor(edited(package, "plans.json", edit))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preprocessor_name", "shutil"),
        ("normalization_schemes", ["ZScoreNormalization", "np"]),
        ("resampling_fn_data", "join"),
        ("resampling_fn_seg", "os"),
        ("resampling_fn_probabilities", "partial"),
    ],
)
def test_names_that_nnunet_would_look_up(package, key, value):
    changed = edited(package, "plans.json", lambda plans: plans["configurations"]["2d"].update({key: value}))
    with pytest.raises(InputError, match=f"as {key}, but a package may name only"):
        open_model(changed)


@pytest.mark.parametrize(
    ("file", "change", "fault"),
    [
        ("plans.json", {"image_reader_writer": "traceback"}, "as image_reader_writer"),
        ("plans.json", {"label_manager": "join"}, "as label_manager"),
        ("plans.json", {"transpose_forward": [0, 0, 0]}, "The axes in the plans"),
        ("plans.json", {"transpose_forward": "abc"}, 'set transpose_forward to "abc"'),
        ("plans.json", {"transpose_backward": None}, "set transpose_backward to null"),
        ("plans.json", {"transpose_backward": [2, 1, 0]}, "The axes in the plans"),
        ("plans.json", {"foreground_intensity_properties_per_channel": {"0": {}}}, "The channels in plans and"),
        ("dataset.json", {"channel_names": {"0": "CT"}}, "The channels in plans and dataset.json of"),
        ("plans.json", {"configurations": {"2d": {"inherits_from": "2d"}}}, "are not plans of nnU-Net 2.8"),
        ("plans.json", {"configurations": {"2d": []}}, "are not plans of nnU-Net 2.8"),
        ("dataset.json", {"file_ending": "/../../.bashrc"}, "as file_ending"),
    ],
)
def test_plans_that_lead_elsewhere(package, file, change, fault):
    with pytest.raises(InputError, match=fault):
        open_model(edited(package, file, lambda content: content.update(change)))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"patch_size": [10**6, 16]}, "set patch_size to"),
        ({"patch_size": [16]}, "set patch_size to"),
        ({"spacing": [0, 1]}, "set spacing to"),
        ({"spacing": [1.0, 1.0, 1.0]}, "do not fit each other"),
        ({"architecture": None}, "are not plans of nnU-Net 2.8"),
        (
            {"architecture": {"network_class_name": None, "arch_kwargs": {}, "_kw_requires_import": []}},
            "names null as network_class_name",
        ),
        ({"use_mask_for_norm": -1}, "set use_mask_for_norm to -1"),
        ({"resampling_fn_data_kwargs": 0}, "set resampling_fn_data_kwargs to 0"),
    ],
)
def test_settings_that_make_no_sense(package, change, fault):
    with pytest.raises(InputError, match=fault):
        predictor(edited(package, "plans.json", lambda plans: plans["configurations"]["2d"].update(change)))


def test_weights_of_a_file_on_the_users_disk_are_not_read(package):
    arguments = {"backbone_weights": "/etc/passwd"}
    changed = edited(
        package,
        "plans.json",
        lambda plans: plans["configurations"]["2d"]["architecture"]["arch_kwargs"].update(arguments),
    )
    with pytest.raises(InputError, match="as backbone_weights"):
        predictor(changed)


def test_a_package_is_opened_without_torch(package, run_python, checkout):
    code = f"""
import sys
from maskmed_nnu.nnunet.inference.model_source import open_model
open_model({str(package)!r}).choose_folds(None)
print(sorted({{"torch", "nnunetv2", "scipy", "matplotlib", "pandas", "SimpleITK"}} & set(sys.modules)))
"""
    done = run_python(code, PYTHONPATH=str(checkout))
    assert done.stdout.strip() == "[]", done


# ----------------------------------------------------------------------------------- weights that do not fit
@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda state: state.pop(next(iter(state))), "is missing"),
        (lambda state: state.update(more=torch.ones(1)), "more is not in the network"),
        (lambda state: state.update({next(iter(state)): torch.ones(2, 2)}), "is 2 × 2 and should be"),
        (lambda state: state.update({next(iter(state)): next(iter(state.values())).int()}), "is torch.int32"),
    ],
)
def test_weights_that_do_not_fit_the_plans(package, edit, fault):
    files = contents(package)
    state = load(files["fold_0.safetensors"])
    edit(state)
    with pytest.raises(InputError, match=f"The weights in fold_0.safetensors of .* do not fit the network .*{fault}"):
        predictor(write(package, files | {"fold_0.safetensors": save(state)}))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"width": 10**4}, "do not fit the network that the plans describe"),
        ({"n_conv_per_stage": [10**9] * 3}, "describe a network with settings above 16,384"),
        ({"n_conv_per_stage": [1] * 10**5}, "describe a network with settings above 16,384"),
    ],
)
def test_a_network_too_large_for_the_memory_is_refused_before_it_is_built(package, change, fault):
    def grow(plans: dict) -> None:
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"].update(change)

    with pytest.raises(InputError, match=fault):
        predictor(edited(package, "plans.json", grow))


@pytest.mark.parametrize("content", [b"", b"garbage", struct.pack("<Q", 2**62) + b"{}", b"\x80\x04."])
def test_weights_that_are_no_safetensors(package, content):
    with pytest.raises(InputError, match="fold_0.safetensors of .* is not a safetensors file"):
        predictor(write(package, contents(package) | {"fold_0.safetensors": content}))
