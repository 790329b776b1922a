"""Sources of every style become nnU-Net data sets whose objects are those of the source; broken ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion import convert as convert_module
from maskmed_nnu.instances.conversion.convert import case_names, convert
from maskmed_nnu.instances.conversion.sources import (
    CocoSource,
    LabelMapSource,
    MaskPerObjectSource,
    SemanticSource,
    SourceCase,
)
from maskmed_nnu.nnunet.instances.reader import InstanceIO

SHAPE = (30, 40)


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path)
    return path


def picture(seed: int = 0, shape=SHAPE, dtype=np.uint8, samples: int | None = None) -> np.ndarray:
    size = (*shape, samples) if samples else shape
    return np.random.default_rng(seed).integers(0, 250, size).astype(dtype)


def cells(seed: int = 0, shape=SHAPE, dtype=np.uint16) -> np.ndarray:
    """Squares with ids that are neither consecutive nor in order; a stack of them where `shape` has three axes."""
    if len(shape) == 3:
        return np.stack([cells(seed + z, shape[1:], dtype) for z in range(shape[0])])
    rng, mask = np.random.default_rng(seed), np.zeros(shape, dtype)
    for y in range(1, shape[0] - 5, 6):
        for x in range(1, shape[1] - 5, 6):
            if rng.random() < 0.7:
                mask[y : y + rng.integers(2, 6), x : x + rng.integers(2, 6)] = rng.integers(1, 200)
    return mask


def label_maps(folder: Path, count: int = 3, *, image=".png", mask=".tif", **options) -> tuple[Path, Path]:
    for i in range(count):
        save(folder / "images" / f"c{i}{image}", picture(i, **options))
        save(folder / "masks" / f"c{i}{mask}", cells(i))
    return folder / "images", folder / "masks"


def coco(folder: Path, annotations: list[dict], *, shape=SHAPE, categories=("cell",)) -> tuple[Path, Path]:
    save(folder / "images" / "a.png", picture(shape=shape))
    path = folder / "instances.json"
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": shape[0], "width": shape[1]}],
        "annotations": [{"id": i, "image_id": 1, **a} for i, a in enumerate(annotations, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
    }
    path.write_text(json.dumps(content))
    return path, folder / "images"


def square(y: int, x: int, size: int, category: int = 1, **more) -> dict:
    polygon = [x, y, x + size, y, x + size, y + size, x, y + size]
    return {"category_id": category, "segmentation": [polygon], "iscrowd": 0, **more}


def description(folder: Path) -> dict:
    return json.loads((folder / "dataset.json").read_text())


def labels(folder: Path, name: str, part: str = "labelsTr") -> np.ndarray:
    path = folder / part / f"{name}{description(folder)['file_ending']}"
    return tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))


def target(tmp_path: Path, name: str = "Dataset010_Cells") -> Path:
    (tmp_path / "raw").mkdir(exist_ok=True)
    return tmp_path / "raw" / name


def nothing_left(tmp_path: Path) -> bool:
    return not list((tmp_path / "raw").iterdir())


def test_label_maps_keep_their_ids(tmp_path):
    images, masks = label_maps(tmp_path)
    folder = target(tmp_path)
    lines = convert(LabelMapSource(images, masks, "nucleus"), folder).lines
    assert description(folder) == {
        "name": "Cells",
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "nucleus": 1},
        "numTraining": 3,
        "file_ending": ".png",
        "overwrite_image_reader_writer": "InstanceIO",
    }
    for i in range(3):
        np.testing.assert_array_equal(labels(folder, f"c{i}"), cells(i))
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f"imagesTr/c{i}_0000.png")), picture(i))
    count = sum(len(np.unique(cells(i))) - 1 for i in range(3))
    assert f"objects    {count} (1 nucleus: {count})" in lines
    assert "overlaps   none" in lines and "refused    nothing" in lines
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_cellpose_masks_beside_the_images(tmp_path):
    for name in ("000", "b"):
        save(tmp_path / "x" / f"{name}_img.tif", picture(1))
        save(tmp_path / "x" / f"{name}_masks.tif", cells(1))
    save(tmp_path / "x" / "c d.tif", picture(2))
    save(tmp_path / "x" / "c d_cp_masks.png", cells(2))
    save(tmp_path / "x" / "c d_flows.tif", picture(3))
    convert(LabelMapSource(tmp_path / "x", None, "object"), target(tmp_path))
    folder = target(tmp_path)
    assert sorted(p.name for p in (folder / "labelsTr").iterdir()) == ["000_img.tif", "b_img.tif", "c_d.tif"]
    np.testing.assert_array_equal(labels(folder, "000_img"), cells(1))
    assert "c_d ← c d.tif" in (folder / "conversion.txt").read_text().splitlines()


def test_the_last_cases_by_name_are_held_back(tmp_path):
    images, masks = label_maps(tmp_path, 4)
    folder = target(tmp_path)
    convert(LabelMapSource(images, masks, "cell"), folder, test=1)
    assert description(folder)["numTraining"] == 3
    assert [p.name for p in (folder / "imagesTs").iterdir()] == ["c3_0000.png"]
    np.testing.assert_array_equal(labels(folder, "c3", "labelsTs"), cells(3))
    with pytest.raises(InputError, match="--test 4 of 4 cases"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path, "Dataset011_Other"), test=4)


def test_a_mask_per_object_with_transparency_overlap_and_an_empty_mask(tmp_path):
    grey = picture(0)
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    truth = [np.zeros(SHAPE, np.uint8) for _ in range(3)]
    truth[0][3:12, 3:12], truth[1][8:20, 8:20] = 255, 1
    for name in ("one", "two"):
        save(tmp_path / "dsb" / name / "images" / f"{name}.png", rgba)
        for i, mask in enumerate(truth):
            save(tmp_path / "dsb" / name / "masks" / f"{i}.png", mask)
    folder = target(tmp_path)
    lines = convert(MaskPerObjectSource(tmp_path / "dsb", "nucleus"), folder).lines
    assert description(folder)["channel_names"] == {"0": "grey"}
    assert description(folder)["overlap_layers"] is True and description(folder)["file_ending"] == ".tif"
    np.testing.assert_array_equal(tifffile.imread(folder / "imagesTr/one_0000.tif"), grey)
    layers = labels(folder, "two")
    np.testing.assert_array_equal(layers > 0, np.stack(truth[:2]) > 0)
    assert any(line.startswith("overlaps   up to 2 objects at a pixel, in 2 images") for line in lines)
    assert "           one.png: mask 2.png: it is empty" in lines
    assert any("three equal channels became one" in line for line in lines)


def test_coco_with_overlap_classes_and_crowd_comes_back_through_the_reader(tmp_path):
    crowd = square(20, 20, 8, 2, iscrowd=1)
    json_file, images = coco(
        tmp_path, [square(2, 2, 10), square(6, 6, 10), square(8, 8, 3, 2), crowd], categories=("cell", "nucleus")
    )
    folder = target(tmp_path)
    lines = convert(CocoSource(json_file, images), folder).lines
    made = description(folder)
    assert (made["labels"], made["label_divisor"], made["overlap_layers"]) == (
        {"background": 0, "cell": 1, "nucleus": 2},
        1000,
        True,
    )
    objects, _ = InstanceIO().read_objects(str(folder / "labelsTr" / "a.tif"))
    areas = {i: int((objects.ids == i).sum()) for i in (1, 2, 3)}
    assert areas == {1: 100, 2: 100, 3: 9} and objects.classes.tolist() == [1, 1, 2]
    assert (objects.stuff == 2).sum() == 64 and (objects.stuff[0, 20:28, 20:28] == 2).all()
    assert any(line.startswith("crowd      1 images") for line in lines)
    assert any(line.startswith("overlaps   up to 3 objects") for line in lines)


def test_selected_coco_classes_without_overlap_make_a_png(tmp_path):
    json_file, images = coco(tmp_path, [square(2, 2, 10), square(3, 3, 4, 2)], categories=("cell", "nucleus"))
    folder = target(tmp_path)
    lines = convert(CocoSource(json_file, images, ["nucleus"]), folder).lines
    assert description(folder)["labels"] == {"background": 0, "nucleus": 1}
    assert labels(folder, "a").sum() == 16
    assert "note       not selected: cell" in lines


def test_a_crowd_needs_a_divisor_even_with_one_class(tmp_path):
    json_file, images = coco(tmp_path, [square(2, 2, 10), square(15, 15, 5, iscrowd=1)])
    folder = target(tmp_path)
    convert(CocoSource(json_file, images), folder)
    assert description(folder)["label_divisor"] == 1000
    assert sorted(np.unique(labels(folder, "a"))) == [0, 1000, 1001]


def test_refused_and_clipped_objects_are_told_and_listed(tmp_path):
    outside = [square(2, 100 + i, 5) for i in range(25)]
    json_file, images = coco(tmp_path, [square(2, 2, 10), square(2, 35, 10), *outside])
    folder = target(tmp_path)
    lines = convert(CocoSource(json_file, images), folder).lines
    assert "clipped    1 objects drawn beyond their image were cut off at its border" in lines
    assert "refused    25 objects:" in lines
    assert any("a.png: annotation 3: it lies wholly outside the image of 40 × 30 pixels" in line for line in lines)
    assert lines[-1].strip() == "and 5 more, listed in the data set's conversion.txt"
    assert (folder / "conversion.txt").read_text().count("wholly outside") == 25


def test_40000_objects_in_one_image_from_coco(tmp_path):
    annotations = [square(y, x, 2) for y in range(0, 600, 3) for x in range(0, 600, 3)]
    json_file, images = coco(tmp_path, annotations, shape=(600, 600))
    folder = target(tmp_path)
    convert(CocoSource(json_file, images), folder)
    values, counts = np.unique(labels(folder, "a"), return_counts=True)
    assert description(folder)["file_ending"] == ".png"
    np.testing.assert_array_equal(values, np.arange(40_001))
    assert (counts[1:] == 4).all()


def test_10000_objects_of_each_of_two_classes_need_wider_ids(tmp_path):
    annotations = [square(y, x, 1, 1 + (y + x) % 2) for y in range(100) for x in range(200)]
    json_file, images = coco(tmp_path, annotations, shape=(100, 200), categories=("a", "b"))
    folder = target(tmp_path)
    convert(CocoSource(json_file, images), folder)
    assert description(folder)["label_divisor"] == 100_000
    assert labels(folder, "a").dtype == np.uint32 and len(np.unique(labels(folder, "a"))) == 20_000
    objects, _ = InstanceIO().read_objects(str(folder / "labelsTr" / "a.tif"))
    assert np.bincount(objects.classes).tolist() == [0, 10_000, 10_000]


@pytest.mark.parametrize(("objects", "ending"), [(40_000, ".png"), (70_000, ".tif")])
def test_ids_beyond_16_bits_are_renumbered(tmp_path, objects, ending):
    mask = np.zeros(300 * 300, np.uint32)
    mask[:objects] = np.random.default_rng(0).permutation(objects) + 4_000_000_000
    mask = mask.reshape(300, 300)
    save(tmp_path / "images" / "a.png", picture(shape=mask.shape))
    save(tmp_path / "masks" / "a.tif", mask)
    folder = target(tmp_path)
    lines = convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), folder).lines
    assert description(folder)["file_ending"] == ending
    written = labels(folder, "a").astype(np.int64)
    np.testing.assert_array_equal(written, np.where(mask > 0, mask.astype(np.int64) - 4_000_000_000 + 1, 0))
    assert any(line.startswith("renumbered 1 label maps") for line in lines)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 3, 7)])
def test_semantic_masks_keep_their_order_of_values(tmp_path, values):
    mask = np.array(values, np.uint8)[np.random.default_rng(0).integers(0, len(values), SHAPE)]
    save(tmp_path / "images" / "a.jpg", picture(0, samples=3))
    save(tmp_path / "masks" / "a.png", mask)
    folder = target(tmp_path)
    lines = convert(SemanticSource(tmp_path / "images", tmp_path / "masks"), folder).lines
    np.testing.assert_array_equal(labels(folder, "a"), np.searchsorted(values, mask))
    made = description(folder)
    assert "overwrite_image_reader_writer" not in made
    assert made["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    expected = {"foreground": 1} if len(values) == 2 else {"class_3": 1, "class_7": 2}
    assert made["labels"] == {"background": 0, **expected}
    assert any(line.startswith(f"labels     {values[1]} → 1") for line in lines)


def test_semantic_names_and_what_is_refused_of_them(tmp_path):
    save(tmp_path / "images" / "a.png", picture())
    save(tmp_path / "masks" / "a.png", np.repeat(np.array([[0, 1, 255]], np.uint8), 10, axis=0).repeat(4, axis=1))
    save(tmp_path / "images" / "a.png", picture(shape=(10, 12)))
    folder, source = target(tmp_path), SemanticSource(tmp_path / "images", tmp_path / "masks")
    for names, said in (
        (["wound"], "names 1 classes, but the masks hold 2 values beside 0: 1, 255"),
        (["ignore", "x"], "'ignore', which has a meaning"),
        (["x", "x"], "'x' is named twice"),
    ):
        with pytest.raises(InputError, match=said):
            convert(source, folder, class_names=names)
    convert(source, folder, class_names=["wound", "ignore"])
    assert description(folder)["labels"] == {"background": 0, "wound": 1, "ignore": 2}
    many = np.arange(400, dtype=np.uint16).reshape(20, 20)
    save(tmp_path / "m" / "images" / "a.png", picture(shape=(20, 20)))
    save(tmp_path / "m" / "masks" / "a.png", many)
    with pytest.raises(InputError, match="leave out --semantic"):
        convert(SemanticSource(tmp_path / "m/images", tmp_path / "m/masks"), target(tmp_path, "Dataset011_M"))


def one_image(tmp_path: Path, image: np.ndarray, suffix: str = ".png", **options) -> tuple[Path, dict]:
    """Convert an image of any kind with a label map of its size."""
    shape = options.pop("shape", SHAPE)
    save(tmp_path / "images" / f"a{suffix}", image, **options)
    save(tmp_path / "masks" / "a.tif", cells(shape=shape))
    folder = target(tmp_path)
    convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), folder)
    return folder, description(folder)


def read_image(folder: Path, count: int = 1) -> np.ndarray:
    ending = description(folder)["file_ending"]
    files = [str(folder / "imagesTr" / f"a_{i:04d}{ending}") for i in range(count)]
    return InstanceIO().read_images(files)[0]


def test_grey_16_bit_pngs_stay_so(tmp_path):
    image = picture(dtype=np.uint16) * 200
    folder, made = one_image(tmp_path, image)
    assert made["file_ending"] == ".png"
    np.testing.assert_array_equal(read_image(folder)[0, 0], image)


def test_16_bit_colour_goes_to_tiff(tmp_path):
    image = picture(dtype=np.uint16, samples=3) * 200
    (tmp_path / "images").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(image, isVector=True), str(tmp_path / "images" / "a.png"))
    save(tmp_path / "masks" / "a.tif", cells())
    folder = target(tmp_path)
    convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), folder)
    assert description(folder)["file_ending"] == ".tif" and len(description(folder)["channel_names"]) == 3
    np.testing.assert_array_equal(read_image(folder)[:, 0], np.moveaxis(image, -1, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, ">u2", "bool"])
def test_tiffs_of_other_types(tmp_path, dtype):
    image = picture().astype(dtype)
    folder, made = one_image(tmp_path, image, ".tif")
    assert made["file_ending"] == ".tif"
    np.testing.assert_array_equal(read_image(folder)[0, 0], image.astype(np.float32))


def test_a_tiff_of_channels_becomes_a_file_each(tmp_path):
    image = picture(shape=(2, *SHAPE))
    folder, made = one_image(tmp_path, image, ".tif", photometric="minisblack")
    assert made["channel_names"] == {"0": "channel 0", "1": "channel 1"}
    np.testing.assert_array_equal(read_image(folder, 2)[:, 0], image)


def test_stacks_of_tiffs(tmp_path):
    image = picture(shape=(6, *SHAPE))
    folder, _ = one_image(tmp_path, image, ".tif", photometric="minisblack", shape=(6, *SHAPE))
    np.testing.assert_array_equal(read_image(folder)[0], image)
    np.testing.assert_array_equal(labels(folder, "a"), cells(shape=(6, *SHAPE)))


def test_a_mixture_of_grey_and_colour_becomes_colour(tmp_path):
    images, masks = label_maps(tmp_path)
    save(images / "c1.png", picture(1, samples=3))
    folder = target(tmp_path)
    lines = convert(LabelMapSource(images, masks, "cell"), folder).lines
    assert lines[0] == "images     3, RGB (uint8, 2 grey ones became RGB), written as png"
    assert np.asarray(Image.open(folder / "imagesTr/c0_0000.png")).shape == (*SHAPE, 3)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "imagesTr/c1_0000.png")), picture(1, samples=3))


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_nifti_stays_nifti_with_its_geometry(tmp_path, ending):
    image = sitk.GetImageFromArray(picture(shape=(5, *SHAPE)).astype(np.float32))
    image.SetSpacing((0.5, 0.7, 2.0))
    image.SetOrigin((3, 4, 5))
    mask = sitk.GetImageFromArray(cells(shape=(5, *SHAPE)).astype(np.float64))
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    mask.CopyInformation(image)
    sitk.WriteImage(image, str(tmp_path / "images" / f"a{ending}"))
    sitk.WriteImage(mask, str(tmp_path / "masks" / "a.nii.gz"))
    folder = target(tmp_path)
    convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), folder)
    for path in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"):
        written = sitk.ReadImage(str(folder / path))
        np.testing.assert_allclose((*written.GetSpacing(), *written.GetOrigin()), (0.5, 0.7, 2, 3, 4, 5), rtol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), cells(shape=(5, *SHAPE)))
    mask.SetSpacing((0.5, 0.7, 3.0))
    sitk.WriteImage(mask, str(tmp_path / "masks" / "a.nii.gz"))
    with pytest.raises(InputError, match="has the spacing .* but its image a.nii"):
        convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "c"), target(tmp_path, "Dataset011_B"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_all_broken_files_are_named_at_once_and_nothing_is_left(tmp_path):
    images, masks = label_maps(tmp_path, 6, image=".tif")
    truncate(images / "c0.tif")
    save(masks / "c1.tif", cells(shape=(30, 41)))
    save(masks / "c2.tif", cells().astype(np.float32) / 3)
    save(masks / "c3.tif", cells().astype(np.int16) - 1)
    save(images / "c4.tif", np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(InputError) as error:
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))
    lines = str(error.value).splitlines()
    assert lines[0] == "5 of 6 cases are broken; repair or remove them:"
    for line, said in zip(
        lines[1:],
        ("cannot be read", "has the size 30 × 41, but its image c1.tif has 30 × 40", "whole", "negative", "NaN"),
        strict=True,
    ):
        assert said in line
    assert nothing_left(tmp_path)


def test_channels_of_a_nifti_become_a_file_each(tmp_path):
    values = np.random.default_rng(0).random((2, 4, 8, 9)).astype(np.float32)
    mask = np.zeros(values.shape[1:], np.uint8)
    mask[:, 2:5, 3:7] = 1
    for part, array, spacing in (("images", values, (0.5, 0.6, 2.0, 1.0)), ("masks", mask, (0.5, 0.6, 2.0))):
        (tmp_path / part).mkdir()
        image = sitk.GetImageFromArray(array, isVector=False)
        image.SetSpacing(spacing)
        sitk.WriteImage(image, str(tmp_path / part / "a.nii.gz"))
    target = tmp_path / "Dataset001_X"
    convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), target)
    assert len(json.loads((target / "dataset.json").read_text())["channel_names"]) == 2
    for channel, expected in enumerate(values):
        written = sitk.ReadImage(str(target / "imagesTr" / f"a_000{channel}.nii.gz"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), expected)
        assert written.GetSpacing() == pytest.approx((0.5, 0.6, 2.0))
    label = nibabel.load(target / "labelsTr" / "a.nii.gz")
    assert label.shape == (9, 8, 4) and label.header.get_zooms() == pytest.approx((0.5, 0.6, 2.0))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".nii.gz"])
@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_truncated_file_of_any_kind_is_refused(tmp_path, suffix, part):
    for folder, array in (("images", picture(shape=(200, 200))), ("masks", cells(shape=(200, 200)).astype(np.uint8))):
        kind = ".tif" if suffix == ".nii.gz" and folder != part else suffix
        path = tmp_path / folder / f"a{kind}"
        path.parent.mkdir()
        if kind == ".nii.gz":
            sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        else:
            save(path, array)
    truncate(tmp_path / part / f"a{suffix}")
    with pytest.raises(InputError, match=f"{part}/a{suffix} cannot be read"):
        convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), target(tmp_path))


def test_coco_sizes_that_differ_from_the_file_are_refused(tmp_path):
    json_file, images = coco(tmp_path, [square(2, 2, 10)])
    save(images / "a.png", picture(shape=(40, 30)))
    with pytest.raises(InputError, match=r"has 30 × 40 pixels, but instances.json says 40 × 30"):
        convert(CocoSource(json_file, images), target(tmp_path))


def test_coco_images_may_lie_in_subfolders_but_not_twice(tmp_path):
    json_file, images = coco(tmp_path, [square(2, 2, 10)])
    (images / "A172").mkdir()
    (images / "a.png").rename(images / "A172" / "a.png")
    convert(CocoSource(json_file, images), target(tmp_path))
    save(images / "BT" / "a.png", picture())
    with pytest.raises(InputError, match="have the name that instances.json lists"):
        CocoSource(json_file, images)
    for path in images.rglob("a.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"a.png, listed in instances.json, is not in"):
        CocoSource(json_file, images)


def test_only_refused_objects_make_no_data_set(tmp_path):
    json_file, images = coco(tmp_path, [square(2, 200, 10)])
    with pytest.raises(InputError, match="no object in any of the 1 images .*annotation 1: it lies wholly outside"):
        convert(CocoSource(json_file, images), target(tmp_path))
    assert nothing_left(tmp_path)


def test_pairs_that_do_not_fit_are_refused(tmp_path):
    images, masks = label_maps(tmp_path)
    (masks / "c1.tif").unlink()
    with pytest.raises(InputError, match=r"No mask in .* for c1.png; a mask has its image's name"):
        LabelMapSource(images, masks, "cell")
    save(images / "c0.jpg", picture())
    with pytest.raises(InputError, match="c0.jpg and c0.png .* claim the same case c0"):
        LabelMapSource(images, masks, "cell")
    with pytest.raises(InputError, match="is no folder"):
        LabelMapSource(tmp_path / "nowhere", masks, "cell")
    with pytest.raises(InputError, match="holds no mask"):
        LabelMapSource(images, None, "cell")
    (images / "c0.jpg").unlink()
    (images / "c1.png").unlink()
    save(masks / "lonely.tif", cells())
    source = LabelMapSource(images, masks, "cell")
    assert source.notes == ["masks without an image, left out: lonely.tif"]


def test_dsb_folders_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no folder with images/ and masks/"):
        MaskPerObjectSource(tmp_path / "empty", "cell")
    save(tmp_path / "dsb" / "a" / "images" / "a.png", picture())
    with pytest.raises(InputError, match="a in .* needs one picture in images/ and a folder masks/"):
        MaskPerObjectSource(tmp_path / "dsb", "cell")
    save(tmp_path / "dsb" / "a" / "masks" / "m.png", cells().astype(np.uint8))
    with pytest.raises(InputError, match="different values; a mask of one object"):
        convert(MaskPerObjectSource(tmp_path / "dsb", "cell"), target(tmp_path))
    save(tmp_path / "dsb" / "a" / "masks" / "m.png", np.ones((5, 5), np.uint8))
    with pytest.raises(InputError, match="has the size 5 × 5"):
        convert(MaskPerObjectSource(tmp_path / "dsb", "cell"), target(tmp_path))


def test_an_image_without_objects_is_legal(tmp_path):
    images, masks = label_maps(tmp_path)
    save(masks / "c1.tif", np.zeros(SHAPE, np.uint16))
    folder = target(tmp_path)
    lines = convert(LabelMapSource(images, masks, "cell"), folder).lines
    assert any(line.endswith("1 images hold none") for line in lines)
    assert not labels(folder, "c1").any()


def test_images_that_make_no_one_data_set_are_refused(tmp_path):
    images, masks = label_maps(tmp_path, 2, image=".tif")
    save(images / "c1.tif", picture(shape=(2, *SHAPE)), photometric="minisblack")
    with pytest.raises(InputError, match="different numbers of channels: 1, 2"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))
    save(images / "c1.tif", picture(shape=(4, *SHAPE)), photometric="minisblack")
    save(masks / "c1.tif", cells(shape=(4, *SHAPE)), photometric="minisblack")
    with pytest.raises(InputError, match="has 2 axes, c1.tif has 3"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))


def test_an_existing_target_is_refused_and_left_alone(tmp_path):
    images, masks = label_maps(tmp_path)
    (target(tmp_path, "Dataset010_Other")).mkdir()
    with pytest.raises(InputError, match="already holds Dataset010_Other"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))
    with pytest.raises(InputError, match="no name of an nnU-Net data set"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path, "Cells"))
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["Dataset010_Other"]


def test_a_stopped_conversion_goes_on_where_it_ended(tmp_path, monkeypatch):
    images, masks = label_maps(tmp_path, 4)
    folder, written = target(tmp_path), []
    stock = convert_module.write_ids

    def write_two(path, raw, **options):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        stock(path, raw, **options)

    monkeypatch.setattr(convert_module, "write_ids", write_two)
    with pytest.raises(KeyboardInterrupt):
        convert(LabelMapSource(images, masks, "cell"), folder)
    assert not folder.exists()
    written.clear()
    convert(LabelMapSource(images, masks, "cell"), folder)
    assert written == ["c2.png", "c3.png"]
    for i in range(4):
        np.testing.assert_array_equal(labels(folder, f"c{i}"), cells(i))
    assert sorted(p.name for p in folder.iterdir()) == ["conversion.txt", "dataset.json", "imagesTr", "labelsTr"]
    assert len(list((folder / "imagesTr").iterdir())) == 4


def test_a_stopped_conversion_starts_again_where_its_input_has_changed(tmp_path, monkeypatch):
    images, masks = label_maps(tmp_path, 2)
    folder = target(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(convert_module, "report", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            convert(LabelMapSource(images, masks, "cell"), folder)
    save(masks / "c0.tif", cells(9))
    convert(LabelMapSource(images, masks, "cell"), folder)
    np.testing.assert_array_equal(labels(folder, "c0"), cells(9))


def test_case_names_are_legal_and_unique():
    def names(*given):
        return case_names([SourceCase(name, Path(name), ()) for name in given])

    assert names("a b.c", "well-1", "Zelle_ä") == ["a_b_c", "well-1", "Zelle_ä"]
    assert names("train/1", "val/1", "val/2") == ["train_1", "val_1", "2"]
    with pytest.raises(InputError, match="would both be the case a_b; rename one"):
        names("a b", "a_b")


def objects_of(folder: Path) -> dict[str, int]:
    """Objects per case, through the reader that nnU-Net will use."""
    found = {}
    for path in sorted((folder / "labelsTr").iterdir()):
        objects, _ = InstanceIO().read_objects(str(path))
        found[path.stem] = len(objects.classes)
    return found


def test_objects_in_pieces_are_told_and_split_on_request(tmp_path):
    mask = np.zeros(SHAPE, np.uint16)
    mask[2:8, 2:8], mask[2:8, 20:24], mask[12, 4], mask[15:20, 2:8] = 7, 7, 7, 3
    save(tmp_path / "images" / "a.png", picture())
    save(tmp_path / "masks" / "a.png", mask)
    source = LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell")
    left = convert(source, target(tmp_path))
    assert left.torn == 1 and "pieces     1 objects in several pieces (a: 1) were left as they are" in left.lines
    np.testing.assert_array_equal(labels(target(tmp_path), "a"), mask)
    folder = target(tmp_path, "Dataset011_Split")
    split = convert(source, folder, split=True)
    assert split.torn == 0 and "pieces     1 objects in several pieces (a: 1) became 2" in split.lines
    mask[2:8, 20:24] = 8
    np.testing.assert_array_equal(labels(folder, "a"), mask)  # the stray pixel stays with the largest piece


@pytest.mark.real_data
def test_dsb2018_and_usiigaci(tmp_path, real_data):
    for name, images, count, torn in (("dsb2018", 200, 5680, 0), ("usiigaci", 6, 444, 3)):
        folder = target(tmp_path, f"Dataset{images:03d}_{name}")
        source = LabelMapSource(real_data / name / "images", real_data / name / "masks", "nucleus")
        assert convert(source, folder).torn == torn
        found = objects_of(folder)
        assert (len(found), sum(found.values())) == (images, count)
        assert description(folder)["file_ending"] == ".png" and len(description(folder)["channel_names"]) == 1
        case = source.cases[-1]
        np.testing.assert_array_equal(labels(folder, case.name), tifffile.imread(case.files[1]))


@pytest.mark.real_data
@pytest.mark.parametrize(("classes", "count"), [(["cytoplasm"], 183), (["cytoplasm", "nucleus"], 366)])
def test_isbi2014(tmp_path, real_data, classes, count):
    from pycocotools import mask as coco_mask

    folder = target(tmp_path)
    convert(CocoSource(real_data / "isbi2014" / "instances.json", real_data / "isbi2014" / "images", classes), folder)
    assert sum(objects_of(folder).values()) == count
    assert description(folder)["overlap_layers"] is True
    content = json.loads((real_data / "isbi2014" / "instances.json").read_text())
    numbers = {c["id"]: classes.index(c["name"]) + 1 for c in content["categories"] if c["name"] in classes}
    for image in content["images"][:5]:
        objects, _ = InstanceIO().read_objects(str(folder / "labelsTr" / f"{Path(image['file_name']).stem}.tif"))
        written = [(c, (objects.ids == i).any(axis=(0, 1))) for i, c in enumerate(objects.classes, 1)]
        truth = [
            (numbers[a["category_id"]], coco_mask.decode(a["segmentation"]) > 0)
            for a in content["annotations"]
            if a["image_id"] == image["id"] and a["category_id"] in numbers
        ]
        assert sorted((c, m.tobytes()) for c, m in written) == sorted((c, m.tobytes()) for c, m in truth)


@pytest.mark.real_data
def test_fuseg(tmp_path, real_data):
    folder = target(tmp_path)
    convert(SemanticSource(real_data / "fuseg" / "images", real_data / "fuseg" / "masks"), folder, test=5)
    made = description(folder)
    assert (made["numTraining"], made["file_ending"], made["labels"]) == (
        22,
        ".png",
        {"background": 0, "foreground": 1},
    )
    assert made["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    for path in (folder / "labelsTs").iterdir():
        np.testing.assert_array_equal(
            np.asarray(Image.open(path)), np.asarray(Image.open(real_data / "fuseg" / "masks" / path.name))
        )
