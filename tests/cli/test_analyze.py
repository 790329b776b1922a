"""`maskmed analyze` on the folder of a small MaskAttnUNet with random weights."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from PIL import Image

from maskmed_nnu.analysis.attention_maps import attention_modules, central_patch, module_outputs
from maskmed_nnu.analysis.maps import map_curves
from maskmed_nnu.cli.main import main
from maskmed_nnu.networks.maskattn_unet import MaskAttnUNet
from maskmed_nnu.nnunet.discovery.names import NAMES
from tests.nnunet.oracle import dataset, plans

PATCH = (64, 64)
MODULES = ["encoder.0.1", "encoder.1.1", "encoder.2.1", "encoder.3.1", "decoder.0.1", "decoder.1.1", "decoder.2.1"]


def network(placement="both"):
    torch.manual_seed(0)
    return MaskAttnUNet(
        input_channels=1,
        num_classes=2,
        n_stages=4,
        features_per_stage=[4, 8, 8, 8],
        strides=[[1, 1], [2, 2], [2, 2], [2, 2]],
        heads=2,
        placement=placement,
    ).eval()


class AttentionTrainer(nnUNetTrainer):
    """Only what nnU-Net's predictor asks a trainer for."""

    @staticmethod
    def build_network_architecture(
        plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision=True
    ):
        return network(configuration_manager.configuration["architecture"]["placement"])


@pytest.fixture
def make_model(tmp_path, monkeypatch):
    """``make_model(placement)`` → a model folder with fold_0, of a data set of classes in PNGs."""
    monkeypatch.setitem(NAMES["trainer"], "AttentionTrainer", f"{__name__}:AttentionTrainer")

    def make(placement="both"):
        folder = tmp_path / f"model_{placement}"
        (folder / "fold_0").mkdir(parents=True)
        checkpoint = {
            "trainer_name": "AttentionTrainer",
            "init_args": {"configuration": "2d"},
            "inference_allowed_mirroring_axes": (0, 1),
            "network_weights": network(placement).state_dict(),
        }
        torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
        description = {key: value for key, value in dataset().items() if key != "overwrite_image_reader_writer"}
        plan = plans(description) | {"image_reader_writer": "NaturalImage2DIO"}
        del plan["label_manager"]
        configuration = plan["configurations"]["2d"]
        configuration |= {"preprocessor_name": "MaskMedPreprocessor", "architecture": {"placement": placement}}
        configuration |= {
            f"resampling_fn_seg{end}": configuration[f"resampling_fn_data{end}"] for end in ("", "_kwargs")
        }
        del configuration["instances"]
        (folder / "plans.json").write_text(json.dumps(plan))
        (folder / "dataset.json").write_text(json.dumps(description))
        return folder

    return make


@pytest.fixture
def images(tmp_path):
    """Two images of noise: one of the patch's size, one larger."""
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(1, 255, (100, 80), dtype=np.uint8)
    Image.fromarray(noise[:64, :64]).save(folder / "a.png")
    Image.fromarray(noise).save(folder / "b_0000.png")
    return folder, noise


def analyze(model, source, out, *more):
    return main(["analyze", "-i", str(source), "-o", str(out), "-m", str(model), "--device", "cpu", *more])


def test_a_table_and_a_plot_for_each_module(make_model, images, tmp_path, capsys):
    folder, noise = images
    out = tmp_path / "out"
    assert analyze(make_model(), folder, out) == 0
    printed = capsys.readouterr().out
    with (out / "analysis.csv").open(newline="") as file:
        rows = {row["module"]: row for row in csv.DictReader(file)}
    assert list(rows) == MODULES
    model = network()
    patches = [torch.from_numpy(part.astype(np.float32))[None, None] for part in (noise[:64, :64], noise[18:82, 8:72])]
    with torch.no_grad():
        each = [map_curves(model.encoder[0](patch)[0].numpy()).exponents() for patch in patches]
    for index, name in enumerate(("hurst", "dfa", "psd_slope")):
        values = [exponents[index] for exponents in each]
        assert float(rows["encoder.0.1"][name]) == pytest.approx(np.mean(values), abs=1e-3)
        assert float(rows["encoder.0.1"][f"{name}_sd"]) == pytest.approx(np.std(values), abs=1e-3)
        assert rows["encoder.3.1"][name] == ""  # 8×8 positions are too few
    assert rows["encoder.3.1"]["channels × size"] == "8 × 8×8"
    assert {row["images"] for row in rows.values()} == {"2"}
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table[2:]] == MODULES
    mean, deviation = (float(rows["encoder.0.1"][key]) for key in ("dfa", "dfa_sd"))
    assert f"{mean:.2f} ± {deviation:.2f}" in table[2]
    assert sorted(path.name for path in out.iterdir()) == sorted(["analysis.csv", *(f"{m}.png" for m in MODULES)])
    picture = np.asarray(Image.open(out / "encoder.0.1.png").convert("L"))
    assert picture.shape[1] > 1000 and picture.std() > 5


def test_bad_images_cost_a_sentence_each_and_the_rest_is_measured(make_model, images, tmp_path, capsys):
    folder, noise = images
    Image.fromarray(noise[:40, :50]).save(folder / "small.png")
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:200])
    tifffile.imwrite(folder / "nan.tif", np.full((64, 64), np.nan, np.float32))
    Image.fromarray(np.stack([noise, noise.T[:80].repeat(2, 0)[:100, :80], noise], 2)).save(folder / "rgb.png")
    assert analyze(make_model("encoder"), folder, tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "3 of 6 images could not be measured" in captured.err
    assert "1 images are smaller than the patch of 64×64" in captured.err
    told = {line.split(":")[0]: line for line in captured.out.splitlines() if line.startswith(("torn", "nan", "rgb"))}
    assert "cannot read" in told["torn"] and "NaN or infinite" in told["nan"] and "has 3 channels" in told["rgb"]
    with (tmp_path / "out" / "analysis.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["images"] == "3"


def test_a_network_without_attention_is_refused(make_model, images, tmp_path, capsys):
    assert analyze(make_model("none"), images[0], tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "The MaskAttnUNet in" in error
    assert "has no attention modules; analyze takes a MaskAttnUNet whose placement is not none" in error
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_among_the_images(make_model, images, capsys):
    folder, _ = images
    before = sorted(folder.iterdir())
    assert analyze(make_model("encoder"), folder / "a.png", folder / ".." / folder.name) == 1
    assert "is the input folder" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_a_fold_that_is_not_trained_is_refused(make_model, images, tmp_path, capsys):
    assert analyze(make_model(), images[0], tmp_path / "out", "-f", "3") == 1
    assert "Fold 3" in capsys.readouterr().err


def test_only_the_placed_modules_are_hooked_and_no_hook_is_left():
    model = network("decoder")
    modules = attention_modules(model)
    assert list(modules) == MODULES[4:]
    found = module_outputs(model, modules, torch.rand(1, *PATCH))
    assert {name: answer.shape for name, answer in found.items()} == {
        "decoder.0.1": (4, 64, 64),
        "decoder.1.1": (8, 32, 32),
        "decoder.2.1": (8, 16, 16),
    }
    assert not any(module._forward_hooks for module in model.modules())


def test_the_patch_is_the_middle_of_the_image_and_of_the_volume():
    volume = np.arange(2 * 5 * 70 * 30, dtype=np.float32).reshape(2, 5, 70, 30)
    patch, smaller = central_patch(volume, PATCH)
    assert smaller
    np.testing.assert_array_equal(patch[:, :, 17:47], volume[:, 2, 3:67])
    assert not patch[:, :, :17].any() and not patch[:, :, 47:].any()
    patch, smaller = central_patch(volume, (4, 64, 30))
    assert not smaller
    np.testing.assert_array_equal(patch, volume[:, :4, 3:67])


def test_maps_that_do_not_vary_are_not_counted(make_model, tmp_path, capsys):
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(tmp_path / "grey.png")
    model = make_model("encoder")
    state = torch.load(model / "fold_0" / "checkpoint_final.pth")
    weights = {name: torch.zeros_like(value) for name, value in state["network_weights"].items()}
    torch.save(state | {"network_weights": weights}, model / "fold_0" / "checkpoint_final.pth")
    assert analyze(model, tmp_path / "grey.png", tmp_path / "out") == 0
    with (tmp_path / "out" / "analysis.csv").open(newline="") as file:
        assert {(row["images"], row.get("dfa", "")) for row in csv.DictReader(file)} == {("0", "")}
