"""Predictions as files for other tools: from the result object, and for whole folders."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import roifile
import shapely
import SimpleITK as sitk
import slicerio
import tifffile
from PIL import Image

import maskmed_nnu as mm
from maskmed_nnu.api.objects import Objects
from maskmed_nnu.api.prediction import Prediction
from maskmed_nnu.cli.main import main
from maskmed_nnu.instances.detections import make_detections
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.instances.instance_map import LabelFormat, decode
from tests.nnunet.tiny_models import REGIONS, tiny_model


@pytest.fixture(scope="module")
def cell_model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("cells") / "model", "IAUNet")


@pytest.fixture(scope="module")
def cells(cell_model):
    return mm.load(cell_model, device="cpu")


def picture(shape=(40, 50), seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def with_objects(model, image, masks, scores, **given):
    """A prediction of these objects: each a mask ``[Z, Y, X]`` in one slice, the highest score on top."""
    read = model._reader().read(image, spacing=given.get("spacing"), axes=None)
    raw = np.zeros((1, *masks[0].shape), np.uint16)
    for index in np.argsort(scores, kind="stable"):
        raw[0][masks[index]] = index + 1
    slices, values = [], []
    for z in range(len(raw[0])):
        here = [index for index, mask in enumerate(masks) if mask[z].any()]
        soft = [masks[index][z].astype(np.uint8) * 255 for index in here]
        boxes = [[0, 0, *raw.shape[2:]]] * len(here)
        slices.append(make_detections(raw.shape[2:], boxes, soft, np.array(scores)[here], [1] * len(here)))
        values.append(np.array([index + 1 if (raw == index + 1).any() else 0 for index in here], np.int64))
    objects = Objects(decode(raw, LabelFormat({"cell": 1})), slices, values, 0.02, (0, 1, 2))
    return Prediction(read, raw, model.names, model=model._load(), objects=objects)


def random_masks(number, slices, seed=0):
    """Ragged masks with holes that overlap, each in one slice; and a small one beneath another."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((number + 1, slices, 40, 30), bool)
    for index in range(number):
        y, x = rng.integers(0, 20, 2)
        masks[index, index % slices, y : y + 20, x : x + 10] = rng.random((20, 10)) < 0.7
    masks[number] = masks[0] & (np.cumsum(masks[0]).reshape(masks[0].shape) < 5)
    return list(masks), [*np.linspace(0.9, 0.3, number).tolist(), 0.25]


def filled(geometry, shape):
    rows, columns = np.indices(shape)
    return shapely.contains_xy(shapely.geometry.shape(geometry), columns + 0.5, rows + 0.5)


def test_objects_are_whole_in_every_file_though_they_hide_each_other(cells, tmp_path):
    masks, scores = random_masks(6, 1)
    result = with_objects(cells, picture((40, 30)), masks, scores, spacing=(0.5, 0.25))
    masks = [mask[0] for mask in masks]
    assert np.sum(masks, axis=0).max() > 1 and 0 in result.ids
    for ending in ("geojson", "zip", "seg.nrrd", "txt"):
        result.save(tmp_path / f"x.{ending}")
    features = json.loads((tmp_path / "x.geojson").read_text())["features"]
    table = result.to_table()
    for feature, mask, score, pixels in zip(features, masks, result.scores, table["pixels"], strict=True):
        np.testing.assert_array_equal(filled(feature["geometry"], mask.shape), mask)
        measured = feature["properties"]["measurements"]
        assert measured["Score"] == pytest.approx(float(score))
        assert measured["Area px^2"] == pixels and measured["Area µm^2"] == pytest.approx(pixels * 0.125e6)
        assert feature["properties"]["classification"]["name"] == "cell" and "plane" not in feature["geometry"]
    assert [roi.position for roi in roifile.roiread(tmp_path / "x.zip")] == [0] * len(masks)
    read = slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))
    numbers = [segment["labelValue"] for segment in read["segments"]]
    for segment, mask in zip(read["segments"], masks, strict=True):
        drawn = segment["labelValue"] == read["voxels"][segment["layer"]][..., 0].T
        np.testing.assert_array_equal(drawn, mask)
    assert numbers == [1, 2, 3, 4, 5, 6, 7]  # the last one is hidden, and has no number in the label map
    assert [one["properties"]["name"] for one in features] == [f"cell {number}" for number in numbers]
    for number, value in zip(numbers, result.ids.tolist(), strict=True):
        assert number == value or (value == 0 and number > result.labels.max())
    np.testing.assert_allclose(np.diag(read["ijkToLPS"]), (0.25, 0.5, 1, 1))
    lines = [line.split() for line in (tmp_path / "x.txt").read_text().splitlines() if line[0] != "#"]
    assert [int(line[0]) for line in lines] == np.unique(result.labels).tolist()


def test_volumes_have_a_plane_for_each_slice(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "IAUNet", ending=".nii.gz"), device="cpu")
    masks, scores = random_masks(5, 3)
    image = nibabel.Nifti1Image(np.zeros((30, 40, 3), np.float32), np.diag([0.5, 0.25, 3, 1]))  # axes x, y, z
    result = with_objects(model, image, masks, scores)
    for ending in ("geojson", "zip", "seg.nrrd"):
        result.save(tmp_path / f"x.{ending}")
    features = json.loads((tmp_path / "x.geojson").read_text())["features"]
    segments = slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))
    rois = {roi.name.rpartition(" z")[0]: roi for roi in roifile.roiread(tmp_path / "x.zip")}
    order = [mask for z in range(3) for mask in masks if mask[z].any()]  # objects are listed slice by slice
    for mask, feature, segment in zip(order, features, segments["segments"], strict=True):
        (z,) = np.flatnonzero(mask.any((1, 2)))
        name = feature["properties"]["name"]
        assert feature["geometry"]["plane"] == {"c": -1, "z": z, "t": 0} and rois[name].position == z + 1
        np.testing.assert_array_equal(filled(feature["geometry"], mask[z].shape), mask[z])
        assert segment["name"] == name
        drawn = segments["voxels"][segment["layer"]] == segment["labelValue"]
        np.testing.assert_array_equal(drawn.T, mask)
        area = feature["properties"]["measurements"]["Area µm^2"]
        assert area == pytest.approx(np.count_nonzero(mask) * 125e3)
    assert len(rois) == len(masks)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient"])
def test_segments_lie_where_the_image_does_and_regions_are_whole(reader, tmp_path):
    folder = tiny_model(tmp_path / "model", "SimpleUNet", dim=3, labels=REGIONS, reader=reader)
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(6, 20, 17)).astype(np.float32))
    image.SetSpacing((0.5, 1.5, 3))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 0.6, 0.8, -1, 0, 0, 0, -0.8, 0.6))  # oblique
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    model = mm.load(folder, device="cpu")
    read = model._reader().read(tmp_path / "x.nii.gz", spacing=None, axes=None)
    result = Prediction(
        read, np.random.default_rng(1).integers(0, 3, (1, *read.data.shape[1:])), model.names, model=model._load()
    )
    result.save(tmp_path / "x.seg.nrrd")
    read = slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))
    np.testing.assert_array_equal(result.labels.shape, read["voxels"].shape[:0:-1])
    place = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    np.testing.assert_allclose(read["ijkToLPS"][:3], np.c_[place, image.GetOrigin()], atol=1e-5)
    parts = {"whole": [1, 2], "core": [2]}
    assert {segment["name"] for segment in read["segments"]} == set(parts)
    for segment in read["segments"]:
        drawn = segment["labelValue"] == read["voxels"][segment["layer"]].T
        np.testing.assert_array_equal(drawn, np.isin(result.labels, parts[segment["name"]]))


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"])
def test_a_nifti_in_micrometres_is_placed_in_millimetres(reader, tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "SimpleUNet", dim=3, reader=reader), device="cpu")
    image = nibabel.Nifti1Image(np.zeros((9, 8, 4), np.float32), np.array(np.diag([500, 1500, 3000, 1.0])))
    image.affine[:3, 3] = 2000, 0, 0
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "x.nii.gz")
    expected = sitk.ReadImage(str(tmp_path / "x.nii.gz"))
    for given in (tmp_path / "x.nii.gz", nibabel.load(tmp_path / "x.nii.gz")):
        read = model._reader().read(given, spacing=None, axes=None)
        assert sorted(read.spacing) == pytest.approx([0.5, 1.5, 3])
        Prediction(read, np.ones((1, 4, 8, 9), np.uint8), model.names, model=model._load()).save(
            tmp_path / "y.seg.nrrd"
        )
        saved = sitk.ReadImage(str(tmp_path / "y.seg.nrrd"))
        for name in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(saved, name)() == pytest.approx(getattr(expected, name)())


@pytest.mark.parametrize("channels, where", [(("R", "G", "B"), (1, 0)), (("CT", "PET"), (0, 1))])
def test_a_stack_in_colour_is_no_hyperstack(channels, where, tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "SimpleUNet", dim=3, channels=channels), device="cpu")
    read = model._reader().read(np.zeros((len(channels), 2, 9, 8)), spacing=None, axes=None)
    Prediction(read, np.ones((1, 2, 9, 8), np.uint8), model.names, model=model._load()).save(tmp_path / "x.zip")
    first = roifile.roiread(tmp_path / "x.zip")[0]
    assert (first.position, first.z_position) == where


def test_classes_are_annotations_and_segments_of_one_layer(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "SimpleUNet", dim=3), device="cpu")
    read = model._reader().read(np.zeros((6, 20, 17)), spacing=None, axes=None)
    result = Prediction(read, np.random.default_rng(1).integers(0, 3, (1, 6, 20, 17)), model.names, model=model._load())
    for ending in ("geojson", "zip", "seg.nrrd", "txt"):
        result.save(tmp_path / f"x.{ending}")
    saved = sitk.ReadImage(str(tmp_path / "x.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(saved), result.labels)
    assert {saved.GetMetaData(f"Segment{number}_Name") for number in (0, 1)} == {"liver", "spleen"}
    drawn = np.zeros(result.labels.shape, int)
    numbers = {"liver": 1, "spleen": 2}
    for feature in json.loads((tmp_path / "x.geojson").read_text())["features"]:
        assert feature["properties"]["objectType"] == "annotation"
        z, name = feature["geometry"]["plane"]["z"], feature["properties"]["classification"]["name"]
        drawn[z][filled(feature["geometry"], drawn[z].shape)] = numbers[name]
    np.testing.assert_array_equal(drawn, result.labels)
    assert roifile.roiread(tmp_path / "x.zip")[0].name == "liver z1"
    assert '"liver"' in (tmp_path / "x.txt").read_text() and '"spleen"' in (tmp_path / "x.txt").read_text()


def test_classes_that_are_not_counted_are_annotations(tmp_path):
    model = mm.load(tiny_model(tmp_path / "model", "MaskAttnUNetPanoptic"), device="cpu")
    read = model._reader().read(picture((9, 8)), spacing=None, axes=None)
    raw = np.zeros((1, 1, 9, 8), np.uint16)
    raw[..., 2:7, :] = 2000
    mask = np.zeros((9, 8), bool)
    mask[1:4, 1:5] = True
    raw[0, 0][mask] = 1001
    format_ = LabelFormat.from_dataset_json(model.source.dataset_json)
    slices = [make_detections((9, 8), [[0, 0, 9, 8]], [mask.astype(np.uint8) * 255], [0.5], [1])]
    objects = Objects(decode(raw, format_), slices, [np.array([1001])], 0.02, (0, 1, 2))
    result = Prediction(read, raw, model.names, model=model._load(), objects=objects)
    for ending in ("geojson", "seg.nrrd", "txt"):
        result.save(tmp_path / f"x.{ending}")
    organ, other = json.loads((tmp_path / "x.geojson").read_text())["features"]
    assert [one["properties"]["objectType"] for one in (organ, other)] == ["detection", "annotation"]
    assert [one["properties"]["name"] for one in (organ, other)] == ["liver 1001", "spleen"]
    np.testing.assert_array_equal(filled(other["geometry"], (9, 8)), raw[0, 0] == 2000)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "x.seg.nrrd"))), raw[0])
    lines = (tmp_path / "x.txt").read_text().splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["1001", *line_colours(lines[-2]), "1", "1", "1", '"liver', '1001"'],
        ["2000", *line_colours(lines[-1]), "1", "1", "1", '"spleen"'],
    ]


def line_colours(line):
    return line.split()[1:4]


@pytest.mark.parametrize("shape", [(40, 50), (2, 40, 50)])
def test_label_tiffs_keep_resolution_and_unit(cells, shape, tmp_path):
    told = {"axes": "ZYX"[-len(shape) :], "unit": "um", **({"spacing": 3.0} if len(shape) == 3 else {})}
    tifffile.imwrite(tmp_path / "x.tif", picture(shape), imagej=True, resolution=(2, 4), metadata=told)
    result = cells.predict(tmp_path / "x.tif")
    assert result.spacing == pytest.approx((3e-3, 2.5e-4, 5e-4)[-len(shape) :])
    assert "area_mm2" in result.to_table()
    result.save(tmp_path / "y.tif")
    np.testing.assert_array_equal(read_ids(tmp_path / "y.tif", overlap_layers=False)[0], result.labels)
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        assert file.series[0].axes == told["axes"]
        assert file.imagej_metadata["unit"] == "um" and file.imagej_metadata.get("spacing") == told.get("spacing")
        tags = file.pages[0].tags
        assert [tags[name].value for name in ("XResolution", "YResolution")] == [(2, 1), (4, 1)]


def test_resolution_that_only_tags_tell_is_kept_and_not_believed(cells, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", picture(), resolution=(300, 150), resolutionunit="INCH")
    result = cells.predict(tmp_path / "x.tif")
    assert result.spacing is None
    result.save(tmp_path / "y.tif")
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        tags = file.pages[0].tags
        assert [tags[name].value for name in ("XResolution", "YResolution", "ResolutionUnit")] == [
            (300, 1),
            (150, 1),
            2,
        ]


@pytest.mark.parametrize("unit, kept", [("μm", "um"), ("µm", "um"), ("мкм", "\\u043C\\u043A\\u043C")])
def test_units_in_other_letters_are_kept(cells, unit, kept, tmp_path):
    description = f"ImageJ=1.53\nunit={unit}\n".encode()
    tifffile.imwrite(tmp_path / "x.tif", picture(), description=description, resolution=(2, 4), metadata=None)
    cells.predict(tmp_path / "x.tif").save(tmp_path / "y.tif")
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        assert file.imagej_metadata["unit"] == kept


def test_a_spacing_that_is_given_is_that_of_the_files(cells, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", picture(), resolution=(300, 300), resolutionunit="INCH")
    result = cells.predict(tmp_path / "x.tif", spacing=(0.0005, 0.00025))
    for ending in ("tif", "seg.nrrd"):
        result.save(tmp_path / f"y.{ending}")
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        assert file.imagej_metadata["unit"] == "um"
        assert [file.pages[0].tags[name].value for name in ("XResolution", "YResolution")] == [(4, 1), (2, 1)]
    assert sitk.ReadImage(str(tmp_path / "y.seg.nrrd")).GetSpacing() == (0.00025, 0.0005, 1)


def test_other_endings_and_the_input_are_refused(cells, tmp_path):
    result = cells.predict(picture())
    with pytest.raises(
        mm.InputError,
        match=r"x.json has no file ending of a label map; .* for other tools .geojson, .zip, .seg.nrrd, .txt",
    ):
        result.save(tmp_path / "x.json")
    with pytest.raises(mm.InputError, match="There is no folder"):
        result.save(tmp_path / "no" / "x.zip")


def test_folders_are_written_for_other_tools_and_gone_on_with(cell_model, cells, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(picture(seed=ord(name))).save(tmp_path / "in" / f"{name}.png")
    with pytest.raises(
        mm.InputError, match="'roi' is not a kind of file to write; give a list of some of geojson, rois"
    ):
        cells.predict_folder(tmp_path / "in", tmp_path / "out", write=["geojson", "roi"])
    assert not (tmp_path / "out").exists()
    command = ["predict", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(cell_model)]
    command += ["--device", "cpu", "--write", "geojson", "rois", "seg.nrrd", "--write", "itksnap", "--write", "tif"]
    assert main(command) == 0
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("?.*")}
    for name in "ab":
        kinds = f"geojson/{name}.geojson rois/{name}.zip slicer/{name}.seg.nrrd itksnap/{name}.txt tif/{name}.tif"
        assert set(kinds.split()) <= files
    capsys.readouterr()
    (tmp_path / "out" / "rois" / "a.zip").unlink()
    summary = cells.predict_folder(tmp_path / "in", tmp_path / "out", write=["geojson", "rois"])
    assert summary.predicted == ["a"] and summary.kept == ["b"]
    assert roifile.roiread(tmp_path / "out" / "rois" / "a.zip")
