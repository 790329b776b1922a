"""`maskmed_nnu.load` and `Model.predict`: the voxels that `nnUNetv2_predict` writes, whatever an image is given as."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from PIL import Image

import maskmed_nnu as mm
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.nnunet.inference import build_predictor
from maskmed_nnu.nnunet.plans_handling.label_export import MANY_CLASSES, plan_label_export
from tests.nnunet.tiny_models import NETWORKS, OBJECTS, REGIONS, tiny_model

GRIDS = [(name, 2) for name in NETWORKS] + [("MaskMed", 3), ("SimpleUNet", 3)]


def rotation(degrees: float = 20) -> np.ndarray:
    a, b = np.radians([degrees, 35])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


def volume(shape=(6, 20, 17), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def save_nifti(path, array, *, spacing=(2.5, 0.8, 0.7), turn=None, offset=(5, -7, 11)):
    """``array [z, y, x]`` with its spacing in that order, turned in space."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ np.diag(spacing[::-1])
    affine[:3, 3] = offset
    image = nibabel.Nifti1Image(array.transpose(*range(array.ndim)[::-1]), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def nnunet_predicts(folder, files, out, *, probabilities=False):
    """What nnU-Net's own predictor writes for one case, in this process."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    folds = [path.name[5:] for path in sorted(folder.glob("fold_*"))]
    predictor.initialize_from_trained_model_folder(str(folder), tuple(folds), "checkpoint_final.pth")
    out.mkdir()
    predictor.predict_from_files_sequential([[str(file) for file in files]], [str(out / "case")], probabilities)
    return next(path for path in out.iterdir() if path.name == "case" + predictor.dataset_json["file_ending"])


def written(file):
    if file.name.endswith((".nii.gz", ".mha", ".nrrd")):
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    return read_ids(file, overlap_layers=False)[0]


@pytest.mark.parametrize("network, dim", GRIDS, ids=[f"{name}-{dim}d" for name, dim in GRIDS])
def test_path_images_and_array_give_what_nnunet_writes(network, dim, tmp_path):
    """For oblique images with anisotropic voxels; a 2D model predicts slice by slice."""
    ending = ".nii.gz" if network in OBJECTS else None
    folder = tiny_model(tmp_path / "model", network, dim=dim, ending=ending, folds=(0, 1) if dim == 3 else (0,))
    file = save_nifti(tmp_path / "x_0000.nii.gz", volume((6, 20, 17) if dim == 3 else (2, 40, 45)), turn=rotation())
    expected = written(nnunet_predicts(folder, [file], tmp_path / "out"))
    assert len(np.unique(expected)) > 1
    model = mm.load(folder, device="cpu")
    itk, nib = sitk.ReadImage(str(file)), nibabel.load(file)
    array, spacing = sitk.GetArrayFromImage(itk), itk.GetSpacing()[::-1]
    for image, options in ((file, {}), (str(file), {}), ([file], {}), (itk, {}), (array, {"spacing": spacing})):
        result = model.predict(image, **options)
        np.testing.assert_array_equal(result.labels, expected)
        assert result.axes == "ZYX" and result.spacing == pytest.approx((2.5, 0.8, 0.7))
    result = model.predict(nib)
    np.testing.assert_array_equal(result.labels, expected.transpose(2, 1, 0))
    assert result.axes == "XYZ" and result.spacing == pytest.approx((0.7, 0.8, 2.5))
    result.save(tmp_path / "saved.nii.gz")
    saved = nibabel.load(tmp_path / "saved.nii.gz")
    np.testing.assert_array_equal(saved.get_fdata(), result.labels)
    np.testing.assert_array_equal(saved.affine, nib.affine)
    assert saved.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("reader", ["SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient"])
def test_every_reader_of_volumes(reader, tmp_path):
    """Files whose axes point elsewhere: x to the left, y to the front, slices along another axis than z."""
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3, reader=reader, folds=(0,))
    turn = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])
    file = save_nifti(tmp_path / "x_0000.nii.gz", volume(), turn=turn)
    expected = written(nnunet_predicts(folder, [file], tmp_path / "out"))
    assert len(np.unique(expected)) > 1
    model = mm.load(folder, device="cpu")
    for image in (file, sitk.ReadImage(str(file))):
        result = model.predict(image)
        np.testing.assert_array_equal(result.labels, expected)
        assert result.spacing == pytest.approx((2.5, 0.8, 0.7))
        assert result.probabilities.shape == (3, *expected.shape)
        np.testing.assert_array_equal(result.probabilities.argmax(0), expected)
        result.save(tmp_path / "saved.nii.gz")
        saved = nibabel.load(tmp_path / "saved.nii.gz")
        np.testing.assert_array_equal(saved.get_fdata(), expected.transpose(2, 1, 0))
        np.testing.assert_allclose(saved.affine, nibabel.load(file).affine, atol=1e-5)
    nib = model.predict(nibabel.load(file))
    np.testing.assert_array_equal(nib.labels, expected.transpose(2, 1, 0))
    np.testing.assert_array_equal(nib.probabilities.argmax(0), nib.labels)


def test_a_transposed_plan_with_resampling(tmp_path):
    folder = tiny_model(tmp_path / "model", "MaskMed", dim=3, transpose=(2, 0, 1), spacing=(1.1, 1.3, 1.2))
    file = save_nifti(tmp_path / "x_0000.nii.gz", volume())
    expected = nnunet_predicts(folder, [file], tmp_path / "out")
    result = mm.load(folder, device="cpu").predict(nibabel.load(file))
    np.testing.assert_array_equal(result.labels, nibabel.load(expected).get_fdata())


def test_regions_and_probabilities(tmp_path):
    folder = tiny_model(tmp_path / "model", "MaskMed", dim=3, labels=REGIONS)
    file = save_nifti(tmp_path / "x_0000.nii.gz", volume())
    out = nnunet_predicts(folder, [file], tmp_path / "out", probabilities=True)
    result = mm.load(folder, device="cpu").predict(file)
    np.testing.assert_array_equal(result.labels, written(out))
    np.testing.assert_array_equal(result.probabilities, np.load(tmp_path / "out" / "case.npz")["probabilities"])
    assert result.names == {0: "background", 1: "whole", 2: "core"}
    plain = mm.load(tiny_model(tmp_path / "plain", "MaskMed", dim=3), device="cpu").predict(file)
    np.testing.assert_allclose(plain.probabilities.sum(0), 1, atol=1e-5)


def test_many_classes_are_labelled_plane_by_plane(tmp_path):
    """By nnU-Net's ways into its predictor and by ours, and as its whole logits say."""
    options = {"transpose": (2, 0, 1), "spacing": (1.1, 1.3, 1.2), "folds": (0, 1)}
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3, **options)
    plans = json.loads((folder / "plans.json").read_text())
    plan_label_export(plans, MANY_CLASSES)
    (folder / "plans.json").write_text(json.dumps(plans))
    file = save_nifti(tmp_path / "x_0000.nii.gz", volume())
    expected = written(nnunet_predicts(folder, [file], tmp_path / "out"))
    whole = written(nnunet_predicts(folder, [file], tmp_path / "whole", probabilities=True))
    assert len(np.unique(expected)) > 1 and np.mean(expected != whole) < 0.01
    model, told = mm.load(folder, device="cpu"), []
    result = model.predict(file, progress=told.append)
    np.testing.assert_array_equal(result.labels, expected)
    passes = [now for now in told if now.stage == "predicting"]
    assert [now.done for now in passes] == list(range(passes[-1].total + 1))
    stored = np.load(tmp_path / "whole" / "case.npz")["probabilities"]
    np.testing.assert_array_equal(result.probabilities, stored)
    summary = model.predict_folder(file, tmp_path / "files", probabilities=True, overlays=False)
    assert summary.predicted == ["x"], summary.failed
    np.testing.assert_array_equal(np.load(tmp_path / "files" / "x.npz")["probabilities"], stored)
    np.testing.assert_array_equal(written(tmp_path / "files" / "x.nii.gz"), whole)

    def stop(now):
        if now.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.predict(file, progress=stop)
    np.testing.assert_array_equal(model.predict(file).labels, expected)


def test_channels_as_files_vectors_and_axes(tmp_path):
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3, channels=("CT", "PET"))
    channels = np.stack([volume(seed=1), volume(seed=2)])
    files = [save_nifti(tmp_path / f"x_{i:04d}.nii.gz", one, turn=rotation()) for i, one in enumerate(channels)]
    expected = written(nnunet_predicts(folder, files, tmp_path / "out"))
    model, options = mm.load(folder, device="cpu"), {"spacing": sitk.ReadImage(str(files[0])).GetSpacing()[::-1]}
    np.testing.assert_array_equal(model.predict(files).labels, expected)
    np.testing.assert_array_equal(model.predict(channels, **options).labels, expected)
    np.testing.assert_array_equal(model.predict(np.moveaxis(channels, 0, -1), axes="ZYXC", **options).labels, expected)
    turned = model.predict(channels.transpose(3, 2, 1, 0), axes="XYZC", spacing=options["spacing"][::-1])
    np.testing.assert_array_equal(turned.labels, expected.transpose(2, 1, 0))
    vector = sitk.Compose([sitk.ReadImage(str(file)) for file in files])
    np.testing.assert_array_equal(model.predict(vector).labels, expected)
    sitk.WriteImage(vector, str(tmp_path / "vector.mha"))
    np.testing.assert_array_equal(model.predict(tmp_path / "vector.mha").labels, expected)
    four = nibabel.Nifti1Image(channels.transpose(3, 2, 1, 0), nibabel.load(files[0]).affine)
    np.testing.assert_array_equal(model.predict(four).labels, expected.transpose(2, 1, 0))


@pytest.mark.parametrize("network", ["IAUNet", "SimpleUNet"])
def test_pictures_in_colour(network, tmp_path):
    reader = None if network == "IAUNet" else "NaturalImage2DIO"
    folder = tiny_model(tmp_path / "model", network, channels=("R", "G", "B"), reader=reader, ending=".png")
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    file = tmp_path / "x_0000.png"
    Image.fromarray(picture).save(file)
    expected = written(nnunet_predicts(folder, [file], tmp_path / "out"))
    expected = expected if expected.ndim == 2 else expected[0]
    model = mm.load(folder, device="cpu")
    for image, options in ((file, {}), (picture.transpose(2, 0, 1), {}), (picture, {"axes": "YXC"})):
        result = model.predict(image, **options)
        np.testing.assert_array_equal(result.labels, expected)
        assert result.axes == "YX"
    with pytest.raises(mm.InputError, match=r"if the channels are the last axis, give axes='YXC'"):
        model.predict(picture)


def test_scaled_and_odd_nifti_images(tmp_path):
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3)
    raw = (volume() * 40).astype(np.int16)
    header = nibabel.Nifti1Image(raw.transpose(2, 1, 0), np.diag([0.7, 0.8, 2.5, 1])).header.copy()
    header["scl_slope"], header["scl_inter"], header["magic"], header["vox_offset"] = 0.137, -3.3, b"n+1", 352
    with open(tmp_path / "x_0000.nii", "wb") as file:  # nibabel would scale what it writes
        file.write(header.binaryblock)
        file.write(b"\0" * 4)
        file.write(raw.tobytes())
    path, model = tmp_path / "x_0000.nii", mm.load(folder, device="cpu")
    loaded = nibabel.load(path)
    assert loaded.dataobj.slope == pytest.approx(0.137)
    expected = model.predict(path).labels
    np.testing.assert_array_equal(expected, model.predict(sitk.ReadImage(str(path))).labels)
    np.testing.assert_array_equal(model.predict(loaded).labels, expected.transpose(2, 1, 0))
    wide = nibabel.Nifti1Image(raw.transpose(2, 1, 0).astype(np.int64), np.diag([0.7, 0.8, 2.5, 1]), dtype=np.int64)
    narrow = nibabel.Nifti1Image(raw.transpose(2, 1, 0), wide.affine)
    np.testing.assert_array_equal(model.predict(wide).labels, model.predict(narrow).labels)


def test_a_plane_of_every_kind(tmp_path):
    folder = tiny_model(tmp_path / "model", "MaskAttnUNet")
    plane = volume((30, 41))
    itk = sitk.GetImageFromArray(plane)
    itk.SetSpacing((0.7, 0.8))
    itk.SetOrigin((3, 4))
    sitk.WriteImage(itk, str(tmp_path / "x_0000.nii.gz"))
    expected = written(nnunet_predicts(folder, [tmp_path / "x_0000.nii.gz"], tmp_path / "out"))
    model = mm.load(folder, device="cpu")
    for image in (tmp_path / "x_0000.nii.gz", itk):
        result = model.predict(image)
        np.testing.assert_array_equal(result.labels, expected)
        assert result.axes == "YX" and result.spacing == pytest.approx((0.8, 0.7))
    np.testing.assert_array_equal(model.predict(plane, spacing=(0.8, 0.7)).labels, expected)
    nib = nibabel.load(tmp_path / "x_0000.nii.gz")
    np.testing.assert_array_equal(model.predict(nib).labels, expected.T)
    with_third = nibabel.Nifti1Image(nib.get_fdata(dtype=np.float32)[..., None], nib.affine)
    assert model.predict(with_third).labels.shape == (41, 30, 1)


def test_tensors_lists_and_other_numbers(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "SimpleUNet"), device="cpu")
    plane = np.random.default_rng(0).integers(0, 200, (33, 35))
    expected = model.predict(plane).labels
    assert expected.shape == plane.shape
    for image in (plane.astype(np.float64), plane.tolist(), torch.from_numpy(plane), plane.astype(np.uint8)[::1]):
        np.testing.assert_array_equal(model.predict(image).labels, expected)
    model.predict(torch.from_numpy(plane).float().requires_grad_())
    model.predict(plane > 100)
    given = plane.copy()
    model.predict(given)
    np.testing.assert_array_equal(given, plane)  # the input is left as it was


BAD = {
    "one axis": (np.zeros(5), {}, "An array of shape 5 does not fit the model"),
    "five axes": (np.zeros((1, 1, 1, 5, 5)), {}, "does not fit the model, which takes a volume of 1 channel: "),
    "a plane": (np.zeros((9, 9)), {}, r"takes a volume of 1 channel: \(z, y, x\) or \(1, z, y, x\)"),
    "two channels": (np.zeros((2, 9, 9, 9)), {}, "2 × 9 × 9 × 9 does not fit the model"),
    "spacing": (np.zeros((9, 9, 9)), {"spacing": (1, 1)}, r"needs 3 positive numbers, \(z, y, x\) in mm"),
    "spacing of 0": (np.zeros((9, 9, 9)), {"spacing": (1, 0, 1)}, "needs 3 positive numbers"),
    "one spacing": (np.zeros((9, 9, 9)), {"spacing": 1.0}, "needs 3 positive numbers"),
    "words": (np.array([["a"]]), {}, "values must be whole or real numbers"),
    "complex": (np.zeros((9, 9, 9), complex), {}, "values must be whole or real numbers"),
    "objects": (np.array([[None]]), {}, "values must be whole or real numbers"),
    "nothing": (np.zeros((9, 0, 9)), {}, "The image is empty: its shape is 9 × 0 × 9"),
    "None": (None, {}, "A NoneType of object is not an image"),
    "NaN": (np.full((9, 9, 9), np.nan), {}, "729 of 729 voxels that are NaN or infinite"),
    "too large": (np.full((9, 9, 9), 1e300), {}, "NaN or infinite"),
    "masked": (np.ma.zeros((9, 9, 9)), {}, "A masked array hides pixels"),
    "axes": (np.zeros((9, 9, 9)), {"axes": "ZYT"}, "does not name the axes of an array"),
    "axes twice": (np.zeros((9, 9, 9)), {"axes": "YYX"}, "does not name the axes of an array"),
    "no file": ("nowhere.nii.gz", {}, "nowhere.nii.gz does not exist"),
    "ragged": ([[1, 2], [3]], {}, "cannot be converted to an array"),
    "complex SimpleITK": (sitk.Image(9, 9, 9, sitk.sitkComplexFloat32), {}, "of complex numbers is not an image"),
    "complex nibabel": (nibabel.Nifti1Image(np.zeros((9, 9, 9), np.complex64), np.eye(4)), {}, "of complex numbers"),
    "sheared": (
        nibabel.Nifti1Image(np.zeros((9, 9, 9)), np.eye(4) + np.eye(4, k=1) * 0.05),
        {},
        "Nifti1Image is sheared",
    ),
    "a plane of SimpleITK": (
        sitk.Image(9, 9, sitk.sitkFloat32),
        {},
        "A SimpleITK image of 2 axes does not fit the model",
    ),
    "a plane of nibabel": (
        nibabel.Nifti1Image(np.zeros((9, 9)), np.eye(4)),
        {},
        "A Nifti1Image of 2 axes does not fit",
    ),
    "image and axes": (sitk.Image(9, 9, 9, sitk.sitkFloat32), {"axes": "ZYX"}, "has its own axes"),
    "image and spacing": (sitk.Image(9, 9, 9, sitk.sitkFloat32), {"spacing": (1, 1, 1)}, "has its own spacing"),
}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return mm.load(tiny_model(tmp_path_factory.mktemp("tiny") / "model", "SimpleUNet", dim=3), device="cpu")


@pytest.mark.parametrize("image, options, said", BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(image, options, said, volumes):
    with pytest.raises(mm.InputError, match=said) as error:
        volumes.predict(image, **options)
    assert "\n" not in str(error.value)


def test_a_picture_is_no_volume(tmp_path, volumes):
    from PIL import Image

    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "plane.png")
    sitk.WriteImage(sitk.Image(9, 9, sitk.sitkFloat32), str(tmp_path / "plane.nii.gz"))
    for name in ("plane.png", "plane.nii.gz"):
        with pytest.raises(mm.InputError, match=f"{name} is a single plane, but the model was trained on volumes"):
            volumes.predict(tmp_path / name)


def test_a_model_that_knows_another_spacing_asks_for_it(tmp_path):
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3, transpose=(1, 0, 2))
    plans = json.loads((folder / "plans.json").read_text())
    plans["original_median_spacing_after_transp"] = [0.8, 3, 0.8]
    (folder / "plans.json").write_text(json.dumps(plans))
    model = mm.load(folder, device="cpu")
    with pytest.raises(mm.InputError, match=r"of about 3 × 0.8 × 0.8 mm .* give spacing=\(z, y, x\) in mm"):
        model.predict(volume())
    assert model.predict(volume(), spacing=(3, 0.8, 0.8)).labels.shape == (6, 20, 17)


def test_the_model_is_loaded_once_and_nothing_is_printed_or_left_changed(tmp_path, capfd, monkeypatch):
    model = mm.load(tiny_model(tmp_path / "model", "MaskMed", dim=3), device="cpu")
    assert model._predictor is None
    before = torch.get_num_threads(), torch.backends.cudnn.benchmark, np.random.get_state()[1].tolist(), sys.stdout
    random = torch.random.get_rng_state()
    model.predict(volume())
    predictor = model._predictor
    monkeypatch.setattr(torch, "load", None)
    result = model.predict(volume())
    result.probabilities, result.plot(), result._repr_html_(), repr(model)
    image = sitk.GetImageFromArray(volume())
    image.SetMetaData("descrip", "of another format")  # ITK would print that it cannot write it
    model.predict(image)
    assert model._predictor is predictor
    after = torch.get_num_threads(), torch.backends.cudnn.benchmark, np.random.get_state()[1].tolist(), sys.stdout
    assert before == after and torch.equal(random, torch.random.get_rng_state())
    assert capfd.readouterr() == ("", "")


def test_nnunets_trainers_leave_the_backend_of_matplotlib(monkeypatch):
    """Without it a notebook would show no more figures."""
    logger = "nnunetv2.training.logging.nnunet_logger"
    for name in (logger, *(name for name in sys.modules if name.startswith("nnunetv2.training.nnUNetTrainer"))):
        monkeypatch.delitem(sys.modules, name, raising=False)
    backend = matplotlib.get_backend()
    matplotlib.use("svg")
    try:
        assert build_predictor._find_trainer("nnUNetTrainer", "the model").__name__ == "nnUNetTrainer"
        assert logger in sys.modules and matplotlib.get_backend() == "svg"
    finally:
        matplotlib.use(backend)


def test_threads_get_what_one_after_the_other_gets(tmp_path):
    models = [
        mm.load(tiny_model(tmp_path / network, network, folds=(0, 1)), device="cpu")
        for network in ("MaskMed", "IAUNet")
    ]
    images = [volume((36, 40), seed=seed) for seed in range(6)]
    jobs = [(model, image) for model in models for image in images]
    expected = [model.predict(image).labels for model, image in jobs]
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda job: job[0].predict(job[1]).labels, jobs))
        counts = []
        checker = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
        checker.start()
        checker.join()
        assert torch.get_num_threads() == 3 and counts == [3]
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_loading_is_told_what_is_wrong_at_once(tmp_path):
    with pytest.raises(mm.InputError, match="There is no model"):
        mm.load(tmp_path / "nowhere")
    folder = tiny_model(tmp_path / "model", "SimpleUNet")
    with pytest.raises(mm.InputError, match="Fold 3 in .* the folds that have one are 0"):
        mm.load(folder, folds=[3])
    with pytest.raises(mm.InputError, match="'gpu' is not a device; legal are auto, cpu, cuda, mps"):
        mm.load(folder, device="gpu")


def test_import_and_load_take_no_torch(tmp_path, run_python, checkout):
    folder = tiny_model(tmp_path / "model", "SimpleUNet")
    code = f"""
import sys
import maskmed_nnu as mm
heavy = {{"torch", "nnunetv2", "matplotlib", "pandas", "SimpleITK", "nibabel"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
model = mm.load({str(folder)!r})
assert not heavy & set(sys.modules), heavy & set(sys.modules)
print(model)
"""
    done = run_python(code, PYTHONPATH=str(checkout))
    assert "classes liver, spleen; folds 0" in done.stdout, done


def test_a_tiff_without_a_spacing_may_be_given_one(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "SimpleUNet", dim=3), device="cpu")
    tifffile.imwrite(tmp_path / "x.tif", volume(), imagej=True, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(
        model.predict(tmp_path / "x.tif", spacing=(2.5, 0.8, 0.7)).labels,
        model.predict(volume(), spacing=(2.5, 0.8, 0.7)).labels,
    )


@pytest.mark.parametrize("network, dim", GRIDS, ids=[f"{name}-{dim}d" for name, dim in GRIDS])
def test_progress_counts_the_passes_and_may_stop_them(network, dim, tmp_path):
    """What is raised comes out, whatever it is; no thread stays behind, and the model predicts as before."""
    model = mm.load(tiny_model(tmp_path / "model", network, dim=dim, folds=(0, 1)), device="cpu")
    image = volume((12, 20, 17) if dim == 3 else (2, 40, 45))
    expected = model.predict(image).labels
    told: list[mm.Progress] = []
    np.testing.assert_array_equal(model.predict(image, progress=told.append).labels, expected)
    stages = list(dict.fromkeys(now.stage for now in told))
    assert stages == ["reading", "preprocessing", "predicting", *([] if network in OBJECTS else ["resampling"])]
    passes = [now for now in told if now.stage == "predicting"]
    (total,) = {now.total for now in passes}
    assert [now.done for now in passes] == sorted({now.done for now in passes})
    assert passes[0].done == 0 and passes[-1].done == total >= 16

    threads = threading.enumerate()
    for error in (RuntimeError("of the caller"), KeyboardInterrupt()):
        after = len(told)

        def stop(now: mm.Progress, error: BaseException = error) -> None:
            told.append(now)
            if now.done >= 6:
                raise error

        with pytest.raises(type(error)) as raised:
            model.predict(image, progress=stop)
        assert raised.value is error
        assert len([now for now in told[after:] if now.done >= 6]) == 1, "nothing was predicted after that"
        assert threading.enumerate() == threads
        np.testing.assert_array_equal(model.predict(image).labels, expected)


def test_progress_counts_the_views_that_exchange_partners(tmp_path):
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3)
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["mirroring"] = {"axes": [0, 2], "swap": {"2": [[1, 2]]}}
    (folder / "plans.json").write_text(json.dumps(plans))
    told: list[mm.Progress] = []
    mm.load(folder, device="cpu").predict(volume((8, 20, 16)), progress=told.append)
    passes = [(now.done, now.total) for now in told if now.stage == "predicting"]
    assert passes == [(done, 8) for done in range(9)]  # two tiles in four views


def test_a_spacing_in_mm_is_what_the_model_was_planned_with(tmp_path):
    """Pixels count pixels; stacks of TIFF tell micrometres, or mm in a file beside them."""
    pixels = mm.load(tiny_model(tmp_path / "pixels", "IAUNet"), device="cpu")
    found = pixels.predict(volume((40, 50)), spacing=(0.0005, 0.0005))
    np.testing.assert_array_equal(found.labels, pixels.predict(volume((40, 50))).labels)
    assert found.spacing == (0.0005, 0.0005)
    folder = tiny_model(tmp_path / "stacks", "IAUNet", ending=".tif", spacing=(0.25, 0.25))
    plans = json.loads((folder / "plans.json").read_text())
    plans["original_median_spacing_after_transp"] = [2, 0.25, 0.25]
    (folder / "plans.json").write_text(json.dumps(plans))
    stack = volume((3, 40, 50))
    path = tmp_path / "x.tif"
    metadata = {"axes": "ZYX", "unit": "um", "spacing": 2}
    tifffile.imwrite(path, stack, imagej=True, resolution=(1 / 0.3, 1 / 0.3), metadata=metadata)
    model = mm.load(folder, device="cpu")
    expected = model.predict(path)
    assert expected.spacing == pytest.approx((0.002, 0.0003, 0.0003)) and len(expected.scores) > 1
    np.testing.assert_array_equal(model.predict(stack, spacing=expected.spacing).labels, expected.labels)
    np.testing.assert_array_equal(model.predict(stack, spacing=(2, 0.3, 0.3)).labels, expected.labels)


@pytest.mark.parametrize("shape", [(40, 50), (3, 40, 50)])
@pytest.mark.parametrize("planned", [None, (2, 0.25, 0.25)], ids=["pixels", "micrometres"])
def test_one_spacing_is_the_same_from_wherever_it_is_told(planned, shape, tmp_path):
    """An array, a TIFF, an image of SimpleITK and a NIfTI of the same pixels look the same to a model of TIFFs."""
    folder = tiny_model(tmp_path / "model", "IAUNet", ending=".tif")
    if planned:
        plans = json.loads((folder / "plans.json").read_text())
        plans["original_median_spacing_after_transp"] = planned
        (folder / "plans.json").write_text(json.dumps(plans))
    reader = mm.load(folder, device="cpu")._reader()
    pixels, spacing = volume(shape), (0.003, 0.0005, 0.0005)[-len(shape) :]
    tifffile.imwrite(tmp_path / "bare.tif", pixels, photometric="minisblack", resolution=(300, 300))
    told = {"axes": "ZYX"[-len(shape) :], "unit": "um", **({"spacing": 3} if len(shape) > 2 else {})}
    tifffile.imwrite(tmp_path / "told.tif", pixels, imagej=True, resolution=(2, 2), metadata=told)
    image = sitk.GetImageFromArray(pixels)
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    seen = []
    for given, extra in [
        (pixels, spacing),
        (tmp_path / "bare.tif", spacing),
        (tmp_path / "told.tif", None),
        (image, None),
        (tmp_path / "x.nii.gz", None),
    ]:
        read = reader.read(given, spacing=extra, axes=None)
        assert read.spacing == pytest.approx(spacing), given
        along = read.properties["spacing"][1:]
        seen.append((1, 1) if planned is None and read.properties.get("spacing_of_metadata") else along)
        place = read.properties.get("sitk_stuff")
        assert place is None or place["spacing"][0] == pytest.approx(0.0005)  # in mm, for files
        assert not (place and read.properties.get("spacing_file"))
    np.testing.assert_allclose(seen, np.full((5, 2), 0.5 if planned else 1), rtol=1e-6)
    with pytest.raises(mm.InputError, match=r"told.tif has its own spacing \(.*0.0005 × 0.0005 mm\); leave spacing="):
        reader.read(tmp_path / "told.tif", spacing=spacing, axes=None)


def test_stacks_of_nnunet_s_own_tiff_reader_tell_a_spacing_beside_them_or_none(tmp_path):
    reader = mm.load(tiny_model(tmp_path / "model", "SimpleUNet", dim=3, reader="Tiff3DIO", ending=".tif"))._reader()
    told = {"axes": "ZYX", "unit": "um", "spacing": 3}
    tifffile.imwrite(tmp_path / "x_0000.tif", volume(), imagej=True, resolution=(2, 2), metadata=told)
    read = reader.read(tmp_path / "x_0000.tif", spacing=None, axes=None)
    assert read.properties["spacing"] == (1, 1, 1) and read.spacing == pytest.approx((0.003, 0.0005, 0.0005))
    (tmp_path / "x.json").write_text('{"spacing": [1, 1, 2]}')
    assert reader.read(tmp_path / "x_0000.tif", spacing=None, axes=None).spacing == (1, 1, 2)
    reader.planned_spacing = [1, 1, 3]
    (tmp_path / "x.json").unlink()
    tifffile.imwrite(tmp_path / "x_0000.tif", volume(), photometric="minisblack")
    with pytest.raises(mm.InputError, match=r"x_0000.tif has no spacing, but .* about 1 × 1 × 3 mm"):
        reader.read(tmp_path / "x_0000.tif", spacing=None, axes=None)
