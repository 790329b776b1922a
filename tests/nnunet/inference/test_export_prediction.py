"""Files to files through nnU-Net's own predictor and export, with an oracle in the network's place."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from nnunetv2.ensembling.ensemble import ensemble_crossvalidations, ensemble_folders
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.export_prediction import (
    convert_predicted_logits_to_segmentation_with_correct_shape,
    resample_and_save,
)
from nnunetv2.postprocessing.remove_connected_components import (
    apply_postprocessing_to_folder,
    determine_postprocessing,
)
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.detections import concatenate, from_instance_map, pack, unpack
from maskmed_nnu.instances.files import read_ids, write_ids
from maskmed_nnu.instances.instance_map import decode
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO
from maskmed_nnu.nnunet.inference.export_prediction import revert_preprocessing, to_instances, wrap_export
from maskmed_nnu.nnunet.inference.model_record import json_digest
from maskmed_nnu.nnunet.inference.prediction_records import CasePrediction, announce_case, cases_to_predict
from tests.nnunet.oracle import (
    TILE,
    Oracle,
    dataset,
    format_of,
    grid_of_cells,
    oracle_predictor,
    plans,
    same_objects,
)

POOLS = {"num_processes_preprocessing": 1, "num_processes_segmentation_export": 1}


def written(path: Path, dataset_json: dict):
    label_format = format_of(dataset_json)
    return decode(read_ids(path, overlap_layers=label_format.overlap_layers), label_format)


def test_a_thousand_objects_of_images_of_any_size_through_the_spawned_pools(tmp_path):
    description = dataset()
    truths = {f"case_{n}": grid_of_cells(s, seed=n) for n, s in enumerate([(380, 384), (40, 150), (64, 64)])}
    assert truths["case_0"].max() == 1024
    (tmp_path / "images").mkdir()
    for name, ids in truths.items():
        Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "images" / f"{name}_0000.png")
    network = Oracle()
    states = [{"score": torch.tensor(score)} for score in (0.9, 0.45)]
    predictor = oracle_predictor(network, plans(description), description, states=states)
    out = tmp_path / "out"
    predictor.predict_from_files(str(tmp_path / "images"), str(out), save_probabilities=True, **POOLS)
    for name, ids in truths.items():
        assert same_objects(written(out / f"{name}.png", description), decode(ids[None], format_of(description)))
        with np.load(out / f"{name}.npz") as file:
            (found,) = unpack(file["detections"])
        assert found.scores == pytest.approx([0.675] * len(np.unique(ids[ids > 0])))
    assert np.asarray(Image.open(out / "case_0.png")).dtype == np.uint16
    assert not list(out.glob("*partial*"))


def layered_truth() -> np.ndarray:
    """Panoptic ids in two layers: two classes that overlap, stuff below."""
    layers = np.zeros((2, 100, 130), np.uint16)
    layers[0, 60:] = 3000
    for index, x in enumerate(range(0, 110, 24), 1):
        layers[0, 20:80, x : x + 20] = 1000 + index
        layers[1, 30:50, x + 6 : x + 30] = 2000 + index
    return layers


def test_overlapping_layers_of_two_classes_and_stuff_in_a_tiff(tmp_path):
    description = dataset({"a": 1, "b": 2, "c": 3}, ending=".tif", channels=2, label_divisor=1000, overlap_layers=True)
    truth = layered_truth()
    for channel, layer in enumerate(truth):
        tifffile.imwrite(tmp_path / f"x_000{channel}.tif", layer)
    plan = plans(description, things=(1, 2), layers=2)
    predictor = oracle_predictor(Oracle(things=(1, 2), divisor=1000, classes=3), plan, description)
    files = [[str(tmp_path / f"x_000{channel}.tif") for channel in range(2)]]
    (tmp_path / "out").mkdir()
    predictor.predict_from_files_sequential(files, [str(tmp_path / "out" / "x")])
    found = written(tmp_path / "out" / "x.tif", description)
    assert same_objects(found, decode(truth, format_of(description)))
    (raw,) = predictor.predict_from_files_sequential(files, None)
    assert raw.shape == (2, 1, 100, 130)
    assert np.array_equal(raw[:, 0], read_ids(tmp_path / "out" / "x.tif", overlap_layers=True))


@pytest.mark.parametrize("tile", [TILE, (12, 20, 16)])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_nifti_volume_keeps_its_geometry_and_its_ids_are_unique(tmp_path, tile, transposed):
    """Over slices where these are predicted one by one, and of objects in space; slices may lie along any axis."""
    description = dataset(ending=".nii.gz")
    in_space = len(tile) == 3
    truth = grid_of_cells((16, 30, 26), pitch=6, edge=5)
    if not in_space:
        truth = np.stack([grid_of_cells((30, 26), seed=seed) for seed in range(5)])
    if transposed:
        truth = np.ascontiguousarray(truth.transpose(1, 2, 0))
    image = sitk.GetImageFromArray(truth.astype(np.float32))
    image.SetSpacing((3.0, 0.5, 0.5) if transposed else (0.5, 0.5, 3.0))
    image.SetOrigin((-12.0, 7.5, 30.0))
    c, s = np.cos(0.2), np.sin(0.2)
    image.SetDirection((c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "v_0000.nii.gz"))
    plan = plans(description, spacing=[3.0, 0.5, 0.5] if in_space else 0.5, tile=tile)
    if transposed:
        plan |= {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}
    predictor = oracle_predictor(Oracle(tile=tile), plan, description)
    (tmp_path / "out").mkdir()
    predictor.predict_from_files_sequential([[str(tmp_path / "v_0000.nii.gz")]], [str(tmp_path / "out" / "v")])
    found = sitk.ReadImage(str(tmp_path / "out" / "v.nii.gz"))
    for got, wanted in (
        (found.GetSpacing(), image.GetSpacing()),
        (found.GetOrigin(), image.GetOrigin()),
        (found.GetDirection(), image.GetDirection()),
    ):
        assert got == pytest.approx(wanted, abs=1e-6)
    assert found.GetPixelID() == sitk.sitkUInt16
    ids = sitk.GetArrayFromImage(found)
    if in_space:
        assert same_objects(decode(ids[None], format_of(description)), decode(truth[None], format_of(description)))
        return
    ids, truth = (volume.transpose(2, 0, 1) if transposed else volume for volume in (ids, truth))
    seen: set[int] = set()
    for part, true in zip(ids, truth, strict=True):
        here = set(np.unique(part)) - {0}
        assert here and not here & seen
        seen |= here
        assert same_objects(decode(part[None], format_of(description)), decode(true[None], format_of(description)))


def test_on_image_undoes_resampling_cropping_and_transposition():
    # a volume [Z, Y, X] = 20 × 3 × 30 whose slices lie along y; cropped, and resampled to twice the size
    truth = np.zeros((3, 20, 30), np.int32)
    truth[1, 4:10, 6:14], truth[1, 12:16, 8:20], truth[2, 6:8, 10:18] = 1, 2, 1
    cropped = truth[1:, 2:18, 4:24]
    doubled = cropped.repeat(2, 1).repeat(2, 2)
    packed = pack([from_instance_map(ids[None], np.ones(ids.max(), np.int64)) for ids in doubled])
    properties = {
        "shape_before_cropping": (3, 20, 30),
        "bbox_used_for_cropping": [[1, 3], [2, 18], [4, 24]],
        "shape_after_cropping_and_before_resampling": (2, 16, 20),
    }
    slices = revert_preprocessing(packed, properties)
    assert [part.shape for part in slices] == [(20, 30)] * 3
    objects, loss = to_instances(slices, (1, 0, 2), 1)
    assert loss == ""
    expected = np.where(truth > 0, truth + 2 * (np.arange(3) == 2)[:, None, None], 0).transpose(1, 0, 2)
    assert np.array_equal(objects.ids[0], expected)
    assert objects.classes.tolist() == [1, 1, 1]


def test_on_a_volume_resampling_cropping_and_transposition_are_undone():
    truth = np.zeros((6, 20, 30), np.int32)
    truth[1:4, 4:10, 6:14], truth[4:6, 4:10, 6:14], truth[2:6, 12:16, 8:20] = 1, 2, 3
    cropped = truth[1:, 2:18, 4:24]
    doubled = cropped.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    stuff = (doubled == 0).astype(np.int16) * 2
    packed = pack([from_instance_map(doubled[None], np.ones(3, np.int64), stuff)])
    properties = {
        "shape_before_cropping": (6, 20, 30),
        "bbox_used_for_cropping": [[1, 6], [2, 18], [4, 24]],
        "shape_after_cropping_and_before_resampling": (5, 16, 20),
    }
    (found,) = revert_preprocessing(packed, properties)
    objects, loss = to_instances([found], (1, 0, 2), 1)
    assert (loss, found.shape, objects.ids.shape) == ("", (6, 20, 30), (1, 20, 6, 30))
    assert np.array_equal(objects.ids[0], truth.transpose(1, 0, 2))
    expected = np.zeros((6, 20, 30), np.int32)
    expected[1:, 2:18, 4:24] = (cropped == 0) * 2
    assert np.array_equal(objects.stuff, expected.transpose(1, 0, 2))


def three_on_top_of_each_other():
    parts = []
    for shift, score in ((0, 0.9), (1, 0.8), (2, 0.7)):
        ids = np.zeros((1, 12, 12), np.int32)
        ids[0, shift : shift + 8, shift : shift + 8] = 1
        found = from_instance_map(ids, np.array([1]))
        found.scores[:] = score
        parts.append(found)
    return concatenate(parts)


def test_objects_beyond_the_planned_layers_are_named_and_a_flat_map_says_nothing():
    objects, loss = to_instances([three_on_top_of_each_other()], (0, 1, 2), 3)
    assert (len(objects.ids), loss) == (3, "")
    objects, loss = to_instances([three_on_top_of_each_other()], (0, 1, 2), 2)
    assert len(objects.ids) == 2
    assert "more than the 2 planned layers; 0 of them were dropped, and 36 pixels were assigned" in loss
    objects, loss = to_instances([three_on_top_of_each_other()], (0, 1, 2), 1)
    assert (len(objects.ids), loss) == (1, "")


def test_an_image_that_fails_costs_a_sentence_and_the_others_are_predicted(tmp_path, capfd):
    """In a process that preprocesses, in the network, and in a process that exports."""

    class Forgetful(Oracle):
        def predict_instances(self, image):
            if image.max() == 99:
                raise MemoryError("no room for it")
            return super().predict_instances(image)

    description = dataset({"a": 1}, label_divisor=5)
    truth = np.zeros((64, 64), np.uint16)
    for index in range(8):
        truth[8 * index : 8 * index + 6, 5:50] = index + 1
    for name, ids in {"a": truth, "b": truth % 5, "c": truth // 8 * 99, "e": truth % 4}.items():
        Image.fromarray(ids).save(tmp_path / f"{name}_0000.png")
    (tmp_path / "d_0000.png").write_bytes(b"no picture")
    (tmp_path / "f_0000.png").symlink_to(tmp_path / "nothing.png")
    predictor = oracle_predictor(Forgetful(), plans(description), description)
    out = tmp_path / "out"
    files, outputs = [[str(tmp_path / f"{name}_0000.png")] for name in "abcdef"], [str(out / name) for name in "abcdef"]
    for overwrite in (True, False):
        with pytest.raises(
            InputError, match=r"4 of 6 images could not be predicted; the reason for each is printed above"
        ):
            predictor.predict_from_files(files, outputs, overwrite=overwrite, **POOLS)
        printed = capfd.readouterr().out
        told = [line for line in printed.splitlines() if line[:3] in {f"{name}: " for name in "abcdef"}]
        reasons = ("holds 8 objects of one class", "no room for it", "d_0000.png", "f_0000.png cannot be read")
        assert len(told) == 4 and all(map(str.__contains__, told, reasons))
        assert sorted(path.name for path in out.glob("*.png")) == ["b.png", "e.png"]
        assert sorted(path.name for path in (out / "predicted_from").iterdir()) == ["b.json", "e.json"]
    assert "2 of 6 cases are predicted already" in printed


def test_a_full_disk_is_no_matter_of_one_image(tmp_path, monkeypatch, capsys):
    description, stock = dataset(), InstanceIO.write_instances

    def write(self, objects, path, *arguments):
        if Path(path).name == "a.png":
            raise OSError(errno.ENOSPC, "No space left on device", path)
        stock(self, objects, path, *arguments)

    monkeypatch.setattr(InstanceIO, "write_instances", write)
    for name in "ab":
        Image.fromarray(grid_of_cells((40, 50)).astype(np.uint16)).save(tmp_path / f"{name}_0000.png")
    files, outputs = [[str(tmp_path / f"{n}_0000.png")] for n in "ab"], [str(tmp_path / "out" / n) for n in "ab"]
    predictor = oracle_predictor(Oracle(), plans(description), description)
    with pytest.raises(OSError, match="No space left"):
        predictor.predict_from_files_sequential(files, outputs)
    assert "a: " not in capsys.readouterr().out
    assert not (tmp_path / "out" / "a.png").exists()


@pytest.mark.parametrize(("reader", "shear"), [(SimpleITKIO, 0.0), (NibabelIO, 0.5), (InstanceIO, 0.0)])
def test_a_label_map_that_did_not_fit_on_the_disk_is_neither_kept_nor_recorded(tmp_path, reader, shear):
    """A sheared one, as nnU-Net's readers with nibabel take and write it, is whole, and so is one of classes where our
    reader looks for objects."""
    affine = np.eye(4)
    affine[0, 1] = shear

    def export(logits, properties, configuration, plans_manager, dataset_json, truncated, *arguments):
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 50, 60), np.uint8), affine), f"{truncated}.nii.gz")
        content = Path(f"{truncated}.nii.gz").read_bytes()
        Path(f"{truncated}.nii.gz").write_bytes(content[: len(content) // (2 if arguments[0] else 1)])

    names = ("convert_predicted_logits_to_segmentation_with_correct_shape", "resample_and_save")
    module = SimpleNamespace(export_prediction_from_logits=export, **dict.fromkeys(names, export))
    wrap_export(module)
    case = CasePrediction(tmp_path, "x", [Path(__file__)], [tmp_path / "x.nii.gz"])

    model = {"plans": json_digest({})}

    def run(damage):
        announce_case(case, model)
        stock = SimpleNamespace(plans={}, image_reader_writer_class=reader)
        module.export_prediction_from_logits(0, {}, 0, stock, {"file_ending": ".nii.gz"}, str(tmp_path / "x"), damage)

    run(damage=False)
    assert cases_to_predict([case], model) == ([], [])
    before = case.outputs[0].read_bytes()
    for earlier in (True, False):
        with pytest.raises(InputError, match=r"x\.nii\.gz could not be written completely; make room"):
            run(damage=True)
        assert cases_to_predict([case], model)[0] == [0] and case.outputs[0].exists() == earlier
        assert not list(tmp_path.glob("*partial*")) and (not earlier or case.outputs[0].read_bytes() == before)
        case.outputs[0].unlink(missing_ok=True)


def test_steps_that_would_take_ids_for_classes_are_refused(tmp_path):
    description = dataset()
    plan = plans(description)
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(plan))
    (folder / "dataset.json").write_text(json.dumps(description))
    write_ids(folder / "x.png", np.ones((1, 8, 8), np.uint8))
    before = sorted(path.name for path in folder.iterdir())
    manager = PlansManager(plan)
    configuration = manager.get_configuration("2d")
    calls = {
        "ensembling": [
            lambda: ensemble_folders([str(folder), str(folder)], str(tmp_path / "out")),
            lambda: ensemble_crossvalidations([str(folder)], str(tmp_path / "out")),
        ],
        "postprocessing": [
            lambda: determine_postprocessing(str(folder), str(folder), None, None),
            lambda: determine_postprocessing(str(folder), str(folder), plan, description),
            lambda: apply_postprocessing_to_folder(str(folder), str(tmp_path / "out"), [], []),
        ],
        "cascade": [
            lambda: resample_and_save(np.zeros(3), (1, 2, 3), "out", manager, configuration, {}, description),
        ],
    }
    for what, functions in calls.items():
        for call in functions:
            with pytest.raises(InputError, match=f"Dataset001_Oracle are for objects, whose ids nnU-Net's .*{what}"):
                call()
    assert sorted(path.name for path in folder.iterdir()) == before
    assert not (tmp_path / "out").exists()


def test_semantic_data_sets_go_nnunets_own_way():
    plan = plans(dataset())
    del plan["label_manager"]
    manager = PlansManager(plan)
    configuration = manager.get_configuration("2d")
    configuration.configuration.update(
        resampling_fn_probabilities="resample_data_or_seg_to_shape",
        resampling_fn_probabilities_kwargs={"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
    )
    logits = np.zeros((2, 1, 6, 7), np.float32)
    logits[1, 0, 2:4] = 1
    properties = {
        "spacing": (999, 1, 1),
        "shape_before_cropping": (1, 6, 7),
        "shape_after_cropping_and_before_resampling": (1, 6, 7),
        "bbox_used_for_cropping": [[0, 1], [0, 6], [0, 7]],
    }
    labels = manager.get_label_manager(dataset())
    segmentation = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, manager, configuration, labels, properties
    )
    assert np.array_equal(segmentation, logits[1])
