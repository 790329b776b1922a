"""What `Model.predict` returns: objects, tables, pictures, and files that keep the place of the image."""

from __future__ import annotations

import base64
import re

import matplotlib
import nibabel
import numpy as np
import pandas
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image
from pycocotools import mask as coco_mask
from skimage.measure import regionprops_table

import maskmed_nnu as mm
from maskmed_nnu.instances.files import read_ids
from tests.nnunet.tiny_models import tiny_model


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return mm.load(tiny_model(tmp_path_factory.mktemp("cells") / "model", "IAUNet"), device="cpu")


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory):
    """A model of objects in space, whose slices lie along the rows of files."""
    folder = tmp_path_factory.mktemp("nuclei") / "model"
    return mm.load(tiny_model(folder, "IAUNet", dim=3, ending=".nii.gz", transpose=(1, 0, 2)), device="cpu")


@pytest.fixture(scope="module")
def organs(tmp_path_factory):
    labels = {"background": 0, "<b>liver</b>": 1, "$spleen_": 2}
    folder = tiny_model(tmp_path_factory.mktemp("organs") / "model", "SimpleUNet", dim=3, labels=labels)
    return mm.load(folder, device="cpu")


def picture(shape=(40, 50), seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def stack(shape=(12, 20, 24), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("dim", [2, 3])
def test_objects_lie_where_their_boxes_and_masks_say(cells, nuclei, dim):
    result = cells.predict(picture()) if dim == 2 else nuclei.predict(stack(), spacing=(1, 1, 1))
    assert len(result.scores) == len(result.classes) == len(result.boxes) == len(result.masks) > 1
    assert result.boxes.shape[1] == 2 * dim
    drawn = np.zeros(result.labels.shape, np.int64)
    for index in np.argsort(result.scores, kind="stable"):  # the highest score on top
        start, stop = result.boxes[index].reshape(2, dim)
        assert result.masks[index].shape == tuple(stop - start)
        for axis in range(dim):  # as small as can be
            edge = result.masks[index].any(tuple(other for other in range(dim) if other != axis))
            assert edge[0] and edge[-1]
        drawn[tuple(map(slice, start, stop))][result.masks[index]] = result.ids[index]
    visible = result.ids > 0
    assert set(np.unique(result.labels)) - {0} == set(result.ids[visible])
    np.testing.assert_array_equal(np.where(drawn > 0, drawn, result.labels), result.labels)


@pytest.mark.parametrize("dim", [2, 3])
def test_sizes_and_places_are_those_of_scikit_image(cells, nuclei, dim):
    spacing = (3.0, 0.5, 0.25)[-dim:]
    result = (
        cells.predict(picture((80, 200)), spacing=spacing) if dim == 2 else nuclei.predict(stack(), spacing=spacing)
    )
    table = result.to_table()
    assert len(table) > 5
    apart = np.zeros((len(table), *result.labels.shape), np.uint8)  # they overlap
    for one, box, mask in zip(apart, result.boxes, result.masks, strict=True):
        one[tuple(map(slice, box[:dim], box[dim:]))] = mask
    names = ["area", "centroid", "bbox", "equivalent_diameter_area", "num_pixels"]
    theirs = pandas.concat(
        [pandas.DataFrame(regionprops_table(one, spacing=spacing, properties=names)) for one in apart]
    )
    np.testing.assert_allclose(table["pixels"], theirs["num_pixels"])
    np.testing.assert_allclose(table["area"], theirs["area"])
    np.testing.assert_allclose(table["volume_mm3" if dim == 3 else "area_mm2"], theirs["area"])
    np.testing.assert_allclose(table["equivalent_diameter_area"], theirs["equivalent_diameter_area"])
    for position, axis in enumerate("zyx"[-dim:]):
        name = f"centroid-{position}"
        np.testing.assert_allclose(table[name] * spacing[position], theirs[name])
        np.testing.assert_allclose(table[f"world_{axis}"], theirs[name])
    for index in range(2 * dim):
        np.testing.assert_array_equal(table[f"bbox-{index}"], theirs[f"bbox-{index}"])
    inner = tuple(slice(1, -1) for _ in range(dim))
    outside = apart.reshape(len(apart), -1).sum(1) - apart[(slice(None), *inner)].reshape(len(apart), -1).sum(1)
    np.testing.assert_array_equal(table["touches_border"], outside > 0)
    assert table["touches_border"].any() and not table["touches_border"].all()


def test_without_a_spacing_sizes_are_pixels(cells):
    table = cells.predict(picture()).to_table()
    np.testing.assert_array_equal(table["area"], table["pixels"])
    assert not {"area_mm2", "volume_mm3", "world_x"} & set(table)


def test_the_centroid_in_space_is_where_itk_puts_it(nuclei, tmp_path):
    image = sitk.GetImageFromArray(stack())
    image.SetSpacing((0.5, 0.7, 3.0))
    image.SetOrigin((-12.0, 7.5, 30.0))
    c, s = np.cos(0.3), np.sin(0.3)
    image.SetDirection((c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    for given in (image, tmp_path / "x.nii.gz"):
        table = nuclei.predict(given).to_table()
        for _, row in table.iterrows():
            expected = image.TransformContinuousIndexToPhysicalPoint([row[f"centroid-{axis}"] for axis in (2, 1, 0)])
            assert [row[f"world_{axis}"] for axis in "xyz"] == pytest.approx(expected, abs=1e-4)


def test_results_of_slices_say_which_are_one_object_in_space(nuclei):
    result = nuclei.predict(stack(), spacing=(1, 1, 1))
    found = result.to_coco("x")
    assert len({one["image_id"] for one in found}) > 5
    drawn = {}
    for one in found:
        plane = coco_mask.decode(one["segmentation"]).astype(bool)
        volume = drawn.setdefault(one["instance_id"], np.zeros(result.labels.shape, bool))
        volume[int(one["image_id"].split("_")[1])] = plane
    assert len(drawn) == len(result.masks)
    for volume, box, mask in zip(drawn.values(), result.boxes, result.masks, strict=True):
        assert volume.sum() == mask.sum()
        np.testing.assert_array_equal(volume[tuple(map(slice, box[:3], box[3:]))], mask)
    scores = mm.evaluate(result.labels, result).scores
    assert scores["F1@0.5"] == 1 and scores["sensitivity@8"] > 0


def test_objects_in_space_are_shown_in_three_planes_of_one_scale(nuclei, tmp_path):
    image = nibabel.Nifti1Image(stack().transpose(2, 1, 0), np.diag([0.5, 1, 3, 1]))
    result = nuclei.predict(image)
    shown, title = result._picture()
    assert title == "image, axial 6, coronal 10, sagittal 12"
    # 24 · 0.5 = 12 mm wide, 20 mm deep, 12 · 3 = 36 mm high, the longest edge
    millimetre = 512 / 36
    assert shown.shape[::2] == (512, 3)
    assert shown.shape[1] == pytest.approx((12 + 12 + 20) * millimetre + 2 * 4, abs=2)
    assert (np.ptp(shown.astype(int), axis=2) > 60).any(), "outlines have colours"
    assert result.plot().axes[0].get_title() == title
    assert result.plot(index=3).axes[0].get_title() == "image, slice 3"
    assert "data:image/png;base64" in result._repr_html_()


def test_objects_as_coco_and_as_a_table(cells):
    result = cells.predict(picture((80, 200)), spacing=(0.5, 0.25))
    assert len(result.scores) > 1
    found = result.to_coco("x")
    assert [one["score"] for one in found] == pytest.approx(result.scores.tolist())
    assert {one["image_id"] for one in found} == {"x"}
    for one, box, mask in zip(found, result.boxes, result.masks, strict=True):
        whole = coco_mask.decode(one["segmentation"]).astype(bool)
        np.testing.assert_array_equal(whole[box[0] : box[2], box[1] : box[3]], mask)
        assert whole.sum() == mask.sum()
    assert len(result.to_coco(min_score=0)) >= len(found)
    table = result.to_table()
    as_scikit_image = "area equivalent_diameter_area centroid-0 centroid-1 bbox-0 bbox-1 bbox-2 bbox-3"
    own = "world_x world_y touches_border"
    assert list(table.columns) == f"id class score pixels area_mm2 {as_scikit_image} {own}".split()
    assert table["pixels"].tolist() == [mask.sum() for mask in result.masks]
    np.testing.assert_allclose(table["area_mm2"], table["pixels"] * 0.125)
    assert set(table["class"]) == {"cell"}
    rows, columns = np.nonzero(result.masks[0])
    assert table["centroid-0"][0] == pytest.approx(rows.mean() + result.boxes[0, 0])
    assert table["centroid-1"][0] == pytest.approx(columns.mean() + result.boxes[0, 1])
    assert "area_mm2" not in cells.predict(picture()).to_table()
    with pytest.raises(mm.InputError, match="predicts objects, which have scores"):
        result.probabilities  # noqa: B018


def test_an_image_without_objects(cells):
    result = cells.predict(picture())
    result._objects.slices[0].scores[:] = 0
    empty = type(result)(result._image, result._raw * 0, result.names, model=result._model, objects=result._objects)
    assert empty.boxes.shape == (0, 4) and empty.masks == [] and len(empty.to_table()) == 0 and empty.to_coco() == []
    empty.plot(), empty._repr_html_(), repr(empty)


def test_areas_in_a_tiff_that_tells_micrometres_are_in_millimetres(cells, tmp_path):
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(
        tmp_path / "x.tif", np.stack([picture(), picture()]), imagej=True, resolution=(2, 2), metadata=metadata
    )
    result = cells.predict(tmp_path / "x.tif")
    assert result.spacing == pytest.approx((2e-3, 5e-4, 5e-4))
    np.testing.assert_allclose(result.to_table()["area_mm2"], result.to_table()["pixels"] * 25e-8)


def test_objects_of_a_nibabel_image_have_its_axes(tmp_path):
    folder = tiny_model(tmp_path / "model", "IAUNet", ending=".nii.gz")
    volume = np.random.default_rng(0).normal(size=(2, 30, 40)).astype(np.float32)
    model, affine = mm.load(folder, device="cpu"), np.diag([0.5, 0.5, 3, 1])
    straight = model.predict(volume, spacing=(3, 0.5, 0.5))
    turned = model.predict(nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine))
    np.testing.assert_array_equal(turned.labels, straight.labels.transpose(2, 1, 0))
    np.testing.assert_array_equal(turned.boxes, straight.boxes[:, [2, 1, 0, 5, 4, 3]])
    for one, other in zip(turned.masks, straight.masks, strict=True):
        np.testing.assert_array_equal(one, other.transpose(2, 1, 0))
    for axis in range(3):
        np.testing.assert_allclose(turned.to_table()[f"centroid-{axis}"], straight.to_table()[f"centroid-{2 - axis}"])
    np.testing.assert_allclose(turned.to_table()["area_mm2"], straight.to_table()["area_mm2"])


def test_layers_of_objects_are_saved_as_the_data_set_has_them(tmp_path):
    folder = tiny_model(tmp_path / "model", "IAUNet", ending=".nii.gz", overlap_layers=True)
    volume = np.random.default_rng(0).normal(size=(40, 50, 3)).astype(np.float32)
    image = nibabel.Nifti1Image(volume, np.diag([500, 500, 3000, 1]))
    image.header.set_xyzt_units("micron")
    result = mm.load(folder, device="cpu").predict(image)
    assert result.labels.shape[1:] == volume.shape and repr(result).endswith("in 40 × 50 × 3 (xyz)>")
    assert len(result.to_table())
    result.save(tmp_path / "x.nii.gz")
    saved = read_ids(tmp_path / "x.nii.gz", overlap_layers=True)  # [L, Z, Y, X]
    np.testing.assert_array_equal(saved[: len(result.labels)], result.labels.transpose(0, 3, 2, 1))
    assert nibabel.load(tmp_path / "x.nii.gz").header.get_xyzt_units()[0] == "micron"


def test_classes_as_a_table(organs):
    volume = np.random.default_rng(0).normal(size=(6, 20, 17))
    table = organs.predict(volume, spacing=(2, 1, 0.5)).to_table()
    assert (
        table["class"].tolist() == ["background", "<b>liver</b>", "$spleen_"] and table["pixels"].sum() == volume.size
    )
    np.testing.assert_allclose(table["volume_mm3"], table["pixels"])
    assert "volume_mm3" not in organs.predict(volume).to_table()
    with pytest.raises(mm.InputError, match="the class of each pixel, not objects"):
        organs.predict(volume).scores  # noqa: B018


def test_a_page_of_a_notebook_escapes_names_and_a_figure_leaves_pyplot_alone(organs, monkeypatch):
    monkeypatch.setattr(matplotlib, "use", None)
    backend, open_figures = matplotlib.rcParams["backend"], matplotlib._pylab_helpers.Gcf.figs.copy()
    result = organs.predict(np.random.default_rng(0).normal(size=(6, 20, 17)))
    page = result._repr_html_()
    assert "<b>liver" not in page and "&lt;b&gt;liver" in page
    png = base64.b64decode(re.search('base64,([^"]+)', page)[1])
    assert png.startswith(b"\x89PNG")
    figure = result.plot(index=2)
    figure.canvas.draw()
    assert figure.axes[0].get_title() == "image, slice 2"
    with pytest.raises(mm.InputError, match="There is no slice 6; the image has 6 slices"):
        result.plot(index=6)
    assert (backend, open_figures) == (matplotlib.rcParams["backend"], matplotlib._pylab_helpers.Gcf.figs)
    assert repr(result).startswith("<Prediction of image: ") and repr(result).endswith(" in 6 × 20 × 17 (zyx)>")


def test_files_keep_the_place_of_the_image(organs, tmp_path):
    itk = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(6, 20, 17)).astype(np.float32))
    itk.SetSpacing((0.5, 1.5, 3))
    itk.SetOrigin((1, 2, 3))
    itk.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    result = organs.predict(itk)
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        result.save(tmp_path / f"x{ending}")
        saved = sitk.ReadImage(str(tmp_path / f"x{ending}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(saved), result.labels)
        assert saved.GetPixelIDTypeAsString() == "8-bit unsigned integer"
        for name in ("Spacing", "Origin", "Direction"):
            np.testing.assert_allclose(getattr(saved, f"Get{name}")(), getattr(itk, f"Get{name}")(), atol=1e-6)
    result.save(tmp_path / "x.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), result.labels)
    assert (tmp_path / "x.json").read_text() == '{"spacing": [3.0, 1.5, 0.5]}'
    assert not list(tmp_path.glob(".*partial*"))


@pytest.mark.parametrize("reader", ["NibabelIO", "NibabelIOWithReorient", "Tiff3DIO", "NaturalImage2DIO", "InstanceIO"])
def test_formats_that_the_model_was_not_trained_on(reader, tmp_path):
    """Whatever the model's own reader is, and of volumes that its own format cannot hold."""
    network, dim = ("IAUNet", 2) if reader == "InstanceIO" else ("SimpleUNet", 2 if reader == "NaturalImage2DIO" else 3)
    folder = tiny_model(tmp_path / "model", network, dim=dim, reader=reader, ending=".png" if dim == 2 else ".nii.gz")
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(6, 20, 17)).astype(np.float32))
    image.SetSpacing((0.5, 0.5, 3))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    result = mm.load(folder, device="cpu").predict(image)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        result.save(tmp_path / f"x{ending}")
        saved = sitk.ReadImage(str(tmp_path / f"x{ending}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(saved), result.labels)
        np.testing.assert_allclose(saved.GetSpacing(), image.GetSpacing(), atol=1e-6)
        if reader not in ("Tiff3DIO", "NaturalImage2DIO"):
            np.testing.assert_allclose(saved.GetOrigin(), image.GetOrigin(), atol=1e-6)
            np.testing.assert_allclose(saved.GetDirection(), image.GetDirection(), atol=1e-6)
    result.save(tmp_path / "x.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), result.labels)
    assert (tmp_path / "x.json").read_text() == '{"spacing": [3.0, 0.5, 0.5]}'
    with pytest.raises(mm.InputError, match="cannot hold a volume of 6 slices"):
        result.save(tmp_path / "x.png")
    assert not list(tmp_path.glob(".*"))


def test_units_and_forms_of_a_nifti_stay(organs, tmp_path):
    image = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(17, 20, 6)), np.diag([500, 500, 900, 1]))
    image.header.set_xyzt_units("micron")
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 3)
    result = organs.predict(image)
    assert result.spacing == pytest.approx((0.5, 0.5, 0.9))  # in mm
    result.save(tmp_path / "x.nii.gz")
    saved = nibabel.load(tmp_path / "x.nii.gz")
    assert saved.header.get_xyzt_units()[0] == "micron"
    assert (int(saved.header["qform_code"]), int(saved.header["sform_code"])) == (1, 3)
    assert saved.get_data_dtype() == np.uint8


def test_pictures_are_saved_as_pngs_and_what_cannot_be_saved_is_told(cells, organs, tmp_path):
    result = cells.predict(picture())
    result.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "x.png", overlap_layers=False)[0], result.labels)
    with pytest.raises(mm.InputError, match="x.jpg has no file ending of a label map; legal are"):
        result.save(tmp_path / "x.jpg")
    with pytest.raises(mm.InputError, match="There is no folder"):
        result.save(tmp_path / "no" / "x.png")
    Image.fromarray(picture()).save(tmp_path / "input.png")
    before = (tmp_path / "input.png").read_bytes()
    with pytest.raises(mm.InputError, match="is the input file"):
        cells.predict(tmp_path / "input.png").save(tmp_path / "input.png")
    assert (tmp_path / "input.png").read_bytes() == before
    volume = organs.predict(np.zeros((6, 20, 17)))
    with pytest.raises(mm.InputError, match="cannot hold a volume of 6 slices: a PNG is one plane"):
        volume.save(tmp_path / "v.png")
