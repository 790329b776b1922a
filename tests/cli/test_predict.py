"""`maskmed predict` on a trained model folder that holds an oracle."""

from __future__ import annotations

import json
import re
import shutil
import warnings

import numpy as np
import pandas
import pytest
import SimpleITK as sitk
import tifffile
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from PIL import Image
from pycocotools import mask as coco_mask

from maskmed_nnu.cli.main import main
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.detections import from_instance_map
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.instances.instance_map import decode
from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.visualization.overlay import draw_overlay
from tests.nnunet.oracle import TILE, Oracle, dataset, format_of, grid_of_cells, plans, same_objects
from tests.nnunet.tiny_models import tiny_model


class OracleTrainer(nnUNetTrainer):
    """Only what nnU-Net's predictor asks a trainer for."""

    @staticmethod
    def build_network_architecture(
        plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision=True
    ):
        return Oracle(tile=configuration_manager.patch_size)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model folder with fold_0 and fold_1, for a data set of one class in PNGs."""
    return oracle_model(tmp_path / "model", monkeypatch)


def oracle_model(folder, monkeypatch, *, tile=TILE, ending=".png", **options):
    monkeypatch.setitem(NAMES["trainer"], "OracleTrainer", f"{__name__}:OracleTrainer")
    description = dataset(ending=ending)
    plan = plans(description, tile=tile, **options)
    for fold, score in ((0, 0.9), (1, 0.7)):
        (folder / f"fold_{fold}").mkdir(parents=True)
        checkpoint = {
            "trainer_name": "OracleTrainer",
            "init_args": {"configuration": next(iter(plan["configurations"]))},
            "inference_allowed_mirroring_axes": tuple(range(len(tile))),
            "network_weights": {"score": torch.tensor(score)},
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plan))
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.fixture
def images(tmp_path):
    """Three images in three formats; their intensities are the ids."""
    folder = tmp_path / "images"
    folder.mkdir()
    truths = {
        name: grid_of_cells(shape, seed=3) for name, shape in (("a", (70, 100)), ("b", (40, 30)), ("c", (64, 64)))
    }
    Image.fromarray(truths["a"].astype(np.uint16)).save(folder / "a_0000.png")
    tifffile.imwrite(folder / "b.tif", truths["b"].astype(np.float32))
    Image.fromarray(truths["c"].astype(np.uint8)).save(folder / "c.bmp")
    return folder, truths


def test_the_model_is_found_by_the_names_of_its_training(model, images, tmp_path, monkeypatch, capsys):
    folder, _ = images
    options = ["predict", "-i", str(folder), "-o", str(tmp_path / "out"), "--device", "cpu", "--no-overlays"]
    monkeypatch.delenv("nnUNet_results", raising=False)
    assert main([*options, "-d", "7"]) == 1
    assert "-d needs the environment variable nnUNet_results" in capsys.readouterr().err
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    monkeypatch.setattr("nnunetv2.utilities.file_path_utilities.nnUNet_results", str(tmp_path))
    trained = tmp_path / "Dataset007_Cells" / "nnUNetTrainerIAUNet__IAUNetPlans__2d"
    trained.parent.mkdir()
    model.rename(trained)
    assert main([*options, "-d", "Dataset007_Cells"]) == 0
    assert (tmp_path / "out" / "predictions_coco.json").is_file()
    assert main([*options, "-d", "99"]) == 1
    assert "-d 99 is not a data set that nnU-Net knows" in capsys.readouterr().err


def predict(model, source, out, *more):
    return main(["predict", "-i", str(source), "-o", str(out), "-m", str(model), "--device", "cpu", *more])


def test_id_maps_coco_results_and_overlays_of_any_format(model, images, tmp_path, capsys):
    folder, truths = images
    out = tmp_path / "out"
    assert predict(model, folder, out) == 0
    results = json.loads((out / "predictions_coco.json").read_text())
    for name, ids in truths.items():
        found = decode(read_ids(out / f"{name}.png", overlap_layers=False), format_of(dataset()))
        assert same_objects(found, decode(ids[None], format_of(dataset())))
        mine = [result for result in results if result["image_id"] == name]
        masks = {coco_mask.decode(result["segmentation"]).tobytes() for result in mine}
        assert masks == {(ids == value).astype(np.uint8).tobytes() for value in np.unique(ids[ids > 0])}
        assert {result["category_id"] for result in mine} == {1}
        assert [result["score"] for result in mine] == pytest.approx([0.8] * len(mine))  # both folds
        assert np.asarray(Image.open(out / "overlays" / f"{name}.png")).shape == (*ids.shape, 3)
    printed = capsys.readouterr().out
    assert f"{len(results)} results, low scores included" in printed
    rows = (out / "objects.csv").read_text().splitlines()[1:]
    assert len(rows) == len(results) and f"{len(rows)} objects in 3 images" in printed
    assert not list(out.rglob("*partial*"))


def test_the_axes_of_tiffs_can_be_told(model, tmp_path, capsys):
    ids = grid_of_cells((40, 30), seed=3)
    tifffile.imwrite(tmp_path / "x.tif", np.stack([ids] * 2).astype(np.uint16), imagej=True, metadata={"axes": "TYX"})
    options = ("--no-overlays", "--no-coco", "-f", "0")
    assert predict(model, tmp_path / "x.tif", tmp_path / "out", *options) == 1
    assert "x.tif has the axes TYX (2 × 40 × 30), and T is time: 2 frames" in capsys.readouterr().out
    description = json.loads((model / "dataset.json").read_text()) | {"file_ending": ".tif"}
    (model / "dataset.json").write_text(json.dumps(description))
    assert predict(model, tmp_path / "x.tif", tmp_path / "slices", *options, "--axes", "ZYX") == 0
    assert read_ids(tmp_path / "slices" / "x.tif", overlap_layers=False).shape == (1, 2, 40, 30)


def test_the_same_command_goes_on_where_it_was_stopped(model, images, tmp_path, capsys):
    folder, _ = images
    out = tmp_path / "out"
    assert predict(model, folder, out, "--no-overlays", "-f", "0") == 0
    before = json.loads((out / "predictions_coco.json").read_text())
    (out / "coco" / "b.json").unlink()
    kept = (out / "a.png").stat().st_mtime_ns
    capsys.readouterr()
    assert predict(model, folder, out, "--no-overlays", "-f", "0") == 0
    assert "2 of 3 images are predicted already" in capsys.readouterr().out
    assert (out / "a.png").stat().st_mtime_ns == kept
    assert json.loads((out / "predictions_coco.json").read_text()) == before
    assert not (out / "overlays").exists()

    assert predict(model, folder, out, "--no-overlays") == 1  # two folds
    assert "predictions of another model or other folds" in capsys.readouterr().err
    assert predict(model, folder / "a_0000.png", out, "--no-overlays", "--no-coco", "--overwrite") == 0
    assert (out / "a.png").stat().st_mtime_ns > kept


def test_one_table_of_all_objects_is_whole_after_a_stop_and_without_an_image(model, images, tmp_path, capsys):
    folder, truths = images
    out = tmp_path / "out"
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(folder / "empty.png")
    assert predict(model, folder, out, "--no-overlays") == 0
    assert f"objects in 4 images: {out / 'objects.csv'}" in capsys.readouterr().out
    table = pandas.read_csv(out / "objects.csv")
    assert list(table)[:6] == ["image", "id", "class", "score", "pixels", "area"]
    for name in truths:
        mine = table[table["image"] == name]
        written = read_ids(out / f"{name}.png", overlap_layers=False)[0]
        assert mine["id"].tolist() == np.unique(written[written > 0]).tolist()
        assert mine["pixels"].tolist() == np.bincount(written.ravel())[1:].tolist()
        assert set(mine["class"]) == {"cell"} and mine["score"].tolist() == [0.8] * len(mine)
    assert set(table["image"]) == set(truths)
    before = (out / "objects.csv").read_bytes()
    (out / "objects" / "b.csv").unlink(), (out / "objects.csv").unlink()
    assert predict(model, folder, out, "--no-overlays") == 0
    assert "3 of 4 images are predicted already" in capsys.readouterr().out
    assert (out / "objects.csv").read_bytes() == before
    (folder / "c.bmp").write_bytes(b"no image")
    assert predict(model, folder, out, "--no-overlays") == 1
    assert set(pandas.read_csv(out / "objects.csv")["image"]) == {"a", "b"}
    for path in set(folder.iterdir()) - {folder / "c.bmp"}:
        path.unlink()
    assert predict(model, folder, out, "--no-overlays") == 1
    assert pandas.read_csv(out / "objects.csv")["image"].empty


def test_objects_of_a_volume_are_told_drawn_and_evaluated_in_space(tmp_path, monkeypatch, capsys):
    tile = (12, 20, 16)
    model = oracle_model(tmp_path / "model", monkeypatch, tile=tile, ending=".nii.gz", spacing=(3.0, 0.5, 0.5))
    truth = grid_of_cells((16, 30, 26), pitch=6, edge=5)
    image = sitk.GetImageFromArray(truth.astype(np.float32))
    image.SetSpacing((0.5, 0.5, 3.0))
    for folder in ("images", "truth"):
        (tmp_path / folder).mkdir()
    sitk.WriteImage(image, str(tmp_path / "images" / "v.nii.gz"))
    sitk.WriteImage(sitk.Cast(image, sitk.sitkUInt16), str(tmp_path / "truth" / "v.nii.gz"))
    out = tmp_path / "out"
    assert predict(model, tmp_path / "images", out, "-f", "1") == 0
    told = capsys.readouterr().out
    assert "slice by slice" not in told
    table = pandas.read_csv(out / "objects.csv")
    numbers, pixels = np.unique(truth[truth > 0], return_counts=True)
    assert sorted(table["volume_mm3"]) == pytest.approx(sorted(pixels * 0.75))
    assert table["touches_border"].any() and not table["touches_border"].all()
    ids = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "v.nii.gz")))
    assert ids.dtype == np.uint16
    for number, *centroid in table[["id", "centroid-0", "centroid-1", "centroid-2"]].to_numpy():
        assert np.mean(np.argwhere(ids == number), axis=0) == pytest.approx(centroid, rel=1e-5)
    planes = np.asarray(Image.open(out / "overlays" / "v.png"))
    assert planes.shape[0] == 512 and planes.shape[1] > 512 * (15 + 13 + 13) / 48
    shutil.copy(out / "dataset.json", tmp_path / "truth")
    evaluate = ["evaluate", str(out), str(tmp_path / "truth"), "--scores", str(out / "predictions_coco.json")]
    assert main(evaluate) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 image") and "F1@0.5 1.000  AP50 1.000  PQ 1.000" in said
    assert len(numbers) == len(table)


def test_a_changed_image_is_predicted_again_and_the_others_are_not(model, images, tmp_path, capsys):
    folder, truths = images
    out = tmp_path / "out"
    options = ("--no-overlays", "-f", "0")
    assert predict(model, folder, out, *options) == 0
    kept = {name: (out / f"{name}.png").stat().st_mtime_ns for name in truths}

    moved = folder.rename(tmp_path / "moved")
    changed = grid_of_cells((90, 60), seed=8).astype(np.uint16)
    Image.fromarray(changed).save(moved / "a_0000.png")
    (moved / "c.bmp").unlink()
    capsys.readouterr()
    assert predict(model, moved, out, *options) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 images are predicted already" in printed
    assert f"other images of the same names, in {folder}: a\n" in printed
    assert "also holds predictions of 1 image not in" in printed
    assert ", which predictions_coco.json and objects.csv leave out: c\n" in printed
    assert read_ids(out / "a.png", overlap_layers=False)[0].shape == changed.shape
    assert (out / "b.png").stat().st_mtime_ns == kept["b"]
    results = json.loads((out / "predictions_coco.json").read_text())
    assert {tuple(result["segmentation"]["size"]) for result in results if result["image_id"] == "a"} == {changed.shape}
    assert {result["image_id"] for result in results} == {"a", "b"}

    # what cannot be predicted any more has no results, whatever lies there from before
    (moved / "a_0000.png").write_bytes(b"no picture")
    assert predict(model, moved, out, *options) == 1
    results = json.loads((out / "predictions_coco.json").read_text())
    assert {result["image_id"] for result in results} == {"b"}


def test_damaged_records_and_results_cost_a_line_and_a_prediction(model, images, tmp_path, capsys):
    folder, _ = images
    out = tmp_path / "out"
    assert predict(model, folder, out) == 0
    before = json.loads((out / "predictions_coco.json").read_text())
    (out / "coco" / "a.json").write_text("[{")
    (out / "predicted_from" / "b.json").write_text('{"model": ')
    (out / "predicted_by.json").write_text("{")
    capsys.readouterr()
    assert predict(model, folder, out) == 0
    printed = capsys.readouterr().out
    assert f"{out / 'predicted_by.json'} is damaged and was written again" in printed
    assert "because their files are damaged: a\n" in printed
    assert "because there is no record of the images that they were predicted from: b\n" in printed
    assert "1 of 3 images are predicted already" in printed
    assert json.loads((out / "predictions_coco.json").read_text()) == before

    # a map that somebody has corrected stays, one that cannot be read does not
    corrected = Image.fromarray(np.asarray(Image.open(out / "a.png")) * 2)
    corrected.save(out / "a.png")
    (out / "c.png").write_bytes((out / "c.png").read_bytes()[:90])
    assert predict(model, folder, out) == 0
    assert "because their files are damaged: c\n" in capsys.readouterr().out
    assert np.array_equal(np.asarray(Image.open(out / "a.png")), np.asarray(corrected))
    assert Image.open(out / "c.png").getdata()

    # as version 0.1 left it
    shutil.rmtree(out / "predicted_from")
    names = {"model": str(model), "folds": ["0", "1"], "checkpoint": "checkpoint_final.pth"}
    (out / "predicted_by.json").write_text(json.dumps(names | {"folds": ["0"]}))
    assert predict(model, folder, out) == 1
    (out / "predicted_by.json").write_text(json.dumps(names))
    capsys.readouterr()
    assert predict(model, folder, out) == 0
    assert (
        "because there is no record of the images that they were predicted from: a, b, c\n" in capsys.readouterr().out
    )


def test_a_model_that_was_trained_again_and_other_options_are_another_model(model, images, tmp_path, capsys):
    folder, _ = images
    out = tmp_path / "out"
    assert predict(model, folder, out, "-f", "0") == 0
    moved = model.rename(tmp_path / "elsewhere")
    assert predict(moved, folder, out, "-f", "0") == 0
    assert predict(moved, folder, out, "-f", "0", "--no-mirroring") == 1
    assert "differs in mirrored_axes); name a new folder" in capsys.readouterr().err
    checkpoint = torch.load(moved / "fold_0" / "checkpoint_final.pth")
    torch.save(
        {**checkpoint, "network_weights": {"score": torch.tensor(0.6)}}, moved / "fold_0" / "checkpoint_final.pth"
    )
    assert predict(moved, folder, out, "-f", "0") == 1
    assert "differs in weights); name a new folder" in capsys.readouterr().err


def test_nothing_is_written_over_the_images_or_beside_them(model, images, tmp_path, capsys):
    folder, _ = images
    masks, found, linked, own = (tmp_path / name for name in ("masks", "found", "linked", "own"))
    for made in (masks, found, linked, own):
        made.mkdir()
    (own / "dataset.json").write_text("{}")
    (masks / "b.png").write_bytes(b"drawn by hand")
    (found / "overlays").symlink_to(folder)
    (linked / "b.png").hardlink_to(folder / "b.tif")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for source, out, said in (
        (folder, folder, "is the input folder"),
        (folder / "b.tif", folder / ".." / "images", "is the input folder"),
        (folder, found, "overlays, where results would go, is the input folder"),
        (folder, linked, "b.png, where results would go, is the input file"),
        (folder, model, "the folder of a data set or of a model"),
        (folder, own, "dataset.json exists and is not a prediction"),
        (folder, masks, "b.png exists and is not a prediction"),
    ):
        for more in ((), ("--overwrite",)):
            assert predict(model, source, out, *more) == 1
            assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert predict(model, folder, folder / "found") == 0  # inside is elsewhere


def test_a_drive_that_goes_away_ends_the_command(model, images, tmp_path, capsys, monkeypatch):
    folder, _ = images

    def unplug(*arguments, **options):
        folder.rename(tmp_path / "gone")
        raise InputError("a_0000.png cannot be read")

    monkeypatch.setattr("maskmed_nnu.api.images.ImageReader.read", unplug)
    assert predict(model, folder, tmp_path / "out") == 1
    assert f"maskmed: {folder} or its disk is gone; run the same command" in capsys.readouterr().err


def test_bad_images_cost_a_sentence_each_and_the_rest_goes_on(model, images, tmp_path, capsys):
    folder, truths = images
    (folder / "d.png").write_bytes((folder / "a_0000.png").read_bytes()[:200])
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)).save(folder / "e.png")
    broken = truths["b"].astype(np.float32)
    broken[3, 3] = np.nan
    tifffile.imwrite(folder / "f.tif", broken)
    tifffile.imwrite(
        folder / "g.tif", np.stack([truths["b"]] * 2).astype(np.uint16), imagej=True, metadata={"axes": "ZYX"}
    )
    out = tmp_path / "out"
    assert predict(model, folder, out, "--no-overlays") == 1
    captured = capsys.readouterr()
    assert "4 of 7 images could not be predicted" in captured.err
    told = [line for line in captured.out.splitlines() if line.startswith(("d: ", "e: ", "f: ", "g: "))]
    reasons = ("d.png cannot be read", "has 3 channels", "NaN or infinite", "a volume of 2 slices, but this model")
    for line, reason in zip(told, reasons, strict=True):
        assert reason in line
    assert sorted(path.name for path in out.glob("*.png")) == ["a.png", "b.png", "c.png"]
    assert not (out / "coco" / "g.json").exists()
    assert {result["image_id"] for result in json.loads((out / "predictions_coco.json").read_text())} == set("abc")


def test_grey_pictures_in_colour_or_with_transparency_are_predicted_as_they_are_converted(model, images, tmp_path):
    _, truths = images
    grey, opaque = truths["c"].astype(np.uint8)[..., None], np.full((64, 64, 1), 255, np.uint8)
    folder = tmp_path / "pictures"
    folder.mkdir()
    forms = {"rgb": [grey] * 3, "rgba": [grey] * 3 + [opaque], "la": [grey, opaque]}
    for name, samples in forms.items():
        Image.fromarray(np.concatenate(samples, 2)).save(folder / f"{name}.png")
    assert predict(model, folder, tmp_path / "out") == 0
    for name in forms:
        found = decode(read_ids(tmp_path / "out" / f"{name}.png", overlap_layers=False), format_of(dataset()))
        assert same_objects(found, decode(truths["c"][None], format_of(dataset())))


def test_unlikely_objects_are_in_the_coco_results_only(model, images, tmp_path):
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth")
    torch.save(
        {**checkpoint, "network_weights": {"score": torch.tensor(0.3)}}, model / "fold_0" / "checkpoint_final.pth"
    )
    folder, truths = images
    assert predict(model, folder / "b.tif", tmp_path / "out", "-f", "0") == 0
    results = json.loads((tmp_path / "out" / "predictions_coco.json").read_text())
    assert [result["score"] for result in results] == pytest.approx([0.3] * (len(np.unique(truths["b"])) - 1))
    assert not read_ids(tmp_path / "out" / "b.png", overlap_layers=False).any()


def test_a_volume_has_results_for_each_slice(model, tmp_path, capsys):
    truth = np.stack([grid_of_cells((50, 40), seed=seed) for seed in range(2)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "v.tif", truth)
    description = dataset(ending=".tif")
    (model / "dataset.json").write_text(json.dumps(description))
    assert predict(model, tmp_path / "v.tif", tmp_path / "out", "-f", "1") == 0
    assert "is a volume of 2 slices" in capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "predictions_coco.json").read_text())
    for z in range(2):
        mine = [result for result in results if result["image_id"] == f"v_{z}"]
        assert len(mine) == len(np.unique(truth[z][truth[z] > 0]))
    ids = read_ids(tmp_path / "out" / "v.tif", overlap_layers=False)[0]
    assert len(np.unique(ids)) == len(results) + 1
    (tmp_path / "v.json").write_text('{"spacing": [2, 1, 1]}')
    assert predict(model, tmp_path / "v.tif", tmp_path / "out", "-f", "1") == 0
    assert "because their images have changed since: v\n" in capsys.readouterr().out


def test_a_warning_is_told_once_with_the_names_of_its_images(model, tmp_path, capsys):
    folder = tmp_path / "volumes"
    folder.mkdir()
    for index in range(13):
        cells = [grid_of_cells((30, 20), seed=seed) for seed in range(2 + 5 * (index % 2))]
        tifffile.imwrite(folder / f"v{index:02d}.tif", np.stack(cells).astype(np.uint16))
    (model / "dataset.json").write_text(json.dumps(dataset(ending=".tif")))
    assert predict(model, folder, tmp_path / "out", "--no-overlays", "-f", "1") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "is a volume of" in line]
    assert len(told) == 1 and told[0].startswith("v00: This image is a volume of 2 slices")
    assert told[0].endswith("The same applies to 12 more: v01, v02, v03, v04, v05, v06, v07, v08, v09, v10 and 2 more.")


def test_what_is_wrong_with_the_model_is_one_sentence(model, images, tmp_path, capsys, monkeypatch):
    folder, _ = images
    out = tmp_path / "out"
    for more, said in (
        (("-d", "7"), "Give the trained model either as -m MODEL or as -d DATASET"),
        (("-f", "4"), "Fold 4 in .* has no checkpoint_final.pth; the folds that have one are 0, 1"),
        (("--checkpoint", "checkpoint_best.pth"), "has a checkpoint_best.pth; there is checkpoint_final.pth"),
    ):
        assert predict(model, folder, out, *more) == 1
        assert re.search(said, capsys.readouterr().err)
    damaged = model / "fold_1" / "checkpoint_cut.pth"
    damaged.write_bytes((model / "fold_1" / "checkpoint_final.pth").read_bytes()[:500])
    assert predict(model, folder, out, "--checkpoint", damaged.name) == 1
    assert f"{damaged} is damaged or truncated; copy it again" in capsys.readouterr().err
    assert predict(tmp_path / "nowhere", folder, out) == 1
    assert "There is no model" in capsys.readouterr().err
    monkeypatch.delenv("nnUNet_results", raising=False)
    assert main(["predict", "-i", str(folder), "-o", str(out), "-d", "7"]) == 1
    assert "-d needs the environment variable nnUNet_results" in capsys.readouterr().err
    assert not out.exists()


def test_classes_are_predicted_into_a_folder_as_nnunet_does(tmp_path, capsys):
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3)
    images = tmp_path / "images"
    images.mkdir()
    for name in "ab":
        values = np.random.default_rng(ord(name)).normal(size=(6, 20, 17)).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(values), str(images / f"{name}_0000.nii.gz"))
    (images / "c_0000.nii.gz").write_bytes(b"damaged")
    expected = tmp_path / "expected"
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    expected.mkdir()
    files = [[str(images / f"{name}_0000.nii.gz")] for name in "ab"]
    predictor.predict_from_files_sequential(files, [str(expected / name) for name in "ab"], True)
    out, more = tmp_path / "out", ("--save-probabilities",)
    capsys.readouterr()
    assert predict(folder, images, out, *more) == 1
    captured = capsys.readouterr()
    assert "1 of 3 images could not be predicted" in captured.err and "c: " in captured.out
    for name in "ab":
        assert (out / f"{name}.nii.gz").read_bytes() == (expected / f"{name}.nii.gz").read_bytes()
        mine, theirs = (np.load(path / f"{name}.npz")["probabilities"] for path in (out, expected))
        assert np.array_equal(mine, theirs) and (out / f"{name}.pkl").is_file()
        assert np.asarray(Image.open(out / "overlays" / f"{name}.png")).shape == (20, 17, 3)
    assert not (out / "coco").exists() and not (out / "predictions_coco.json").exists()
    (images / "c_0000.nii.gz").unlink()
    assert predict(folder, images, out, *more, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["kept"] == ["a", "b"] and summary["predicted"] == [] and summary["failed"] == {}


def test_an_overlay_of_an_image_of_one_value_is_black():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = draw_overlay(
            np.full((1, 1, 1), 9, np.float32), from_instance_map(np.zeros((1, 1, 1), np.int32), np.zeros(0, np.int64))
        )
    assert not plain.any()


def test_an_overlay_outlines_objects_inside_and_tints_stuff():
    ids = np.zeros((1, 30, 40), np.int32)
    ids[0, 5:15, 5:15], ids[0, 5:15, 15:30] = 1, 2
    stuff = np.zeros((30, 40), np.int16)
    stuff[20:] = 3
    image = np.zeros((1, 30, 40), np.float32)
    image[:, :, 20:] = 7.0
    picture = draw_overlay(image, from_instance_map(ids, np.array([1, 1]), stuff))
    plain = draw_overlay(image, from_instance_map(ids * 0, np.zeros(0, np.int64)))
    assert set(np.unique(plain)) == {0, 255}
    changed = (picture != plain).any(-1)
    outline = np.zeros((30, 40), bool)
    for box in (np.s_[5:15, 5:15], np.s_[5:15, 15:30]):
        outline[box] = True
        outline[box[0].start + 1 : box[0].stop - 1, box[1].start + 1 : box[1].stop - 1] = False
    outline[20:] = True
    assert np.array_equal(changed, outline)
    assert len({tuple(picture[5, x]) for x in (5, 15)}) == 2
