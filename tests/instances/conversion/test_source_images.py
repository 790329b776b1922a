"""Images of every type and format arrive in the data set with the values and geometry that they had."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.conversion.convert import convert
from maskmed_nnu.instances.conversion.sources import LabelMapSource
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO
from tests.instances.conversion.source_files import (
    SHAPE,
    cells,
    description,
    label_maps,
    labels,
    picture,
    save,
    target,
    truncate,
)


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


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.full((8, 8), np.nan, np.float32), "holds NaN or infinite values; replace them"),
        (np.zeros((8, 8), np.complex64), "holds values of the type complex64; integers or real numbers are needed"),
        (
            np.zeros((20, 8, 8), np.uint8),
            r"has the axes QYX \(20 × 8 × 8\), but no more than 16 channels \(C\) are read; .* axes ZCYX",
        ),
    ],
)
def test_images_that_hold_no_intensities_are_refused(tmp_path, values, sentence):
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    with pytest.raises(InputError, match=sentence):
        source_images.read(tmp_path / "a.tif", axes=2)


def test_a_mask_in_colour_is_refused_and_one_of_equal_channels_is_not(tmp_path):
    ids = np.zeros((6, 5), np.uint8)
    ids[1:3] = 7
    Image.fromarray(np.stack([ids] * 3, -1)).save(tmp_path / "grey.png")
    assert np.array_equal(source_images.read_mask(tmp_path / "grey.png")[0], ids)
    Image.fromarray(np.stack([ids, ids, 0 * ids], -1)).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match="is a colour image, but a mask holds one number for each pixel"):
        source_images.read_mask(tmp_path / "colour.png")


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


def hyperstacks(tmp_path: Path, image: np.ndarray, mask: np.ndarray, axes: str, **options) -> LabelMapSource:
    """ImageJ's image and mask, with the same options."""
    for part, array, letters in (("images", image, axes), ("masks", mask, axes.replace("C", ""))):
        metadata = {"axes": letters, **options.get("metadata", {})}
        save(tmp_path / part / "a.tif", array, imagej=True, **options | {"metadata": metadata})
    return LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell")


def test_the_axes_of_hyperstacks_are_read(tmp_path):
    image = picture(shape=(2, 3, *SHAPE))  # as many slices and channels as could be taken for one another
    folder = target(tmp_path)
    convert(hyperstacks(tmp_path, image, cells(shape=(2, *SHAPE)), "ZCYX"), folder)
    np.testing.assert_array_equal(read_image(folder, 3), image.transpose(1, 0, 2, 3))
    np.testing.assert_array_equal(labels(folder, "a"), cells(shape=(2, *SHAPE)))


@pytest.mark.parametrize(
    ("axes", "shape", "mask", "sentence"),
    [
        ("ZYX", (3, *SHAPE), SHAPE, r"ZYX \(3 × 30 × 40\), but its annotation is 2D and does not fit slices"),
        ("CYX", (3, *SHAPE), (3, *SHAPE), r"CYX \(3 × 30 × 40\), but its annotation is a stack of slices"),
        ("TYX", (3, *SHAPE), (3, *SHAPE), r"TYX \(3 × 30 × 40\), and T is time: 3 frames"),
    ],
)
def test_axes_that_do_not_fit_are_named_and_can_be_told(tmp_path, axes, shape, mask, sentence):
    save(tmp_path / "images" / "a.tif", picture(shape=shape), imagej=True, metadata={"axes": axes})
    save(tmp_path / "masks" / "a.tif", cells(shape=mask), photometric="minisblack")
    images = tmp_path / "images"
    with pytest.raises(InputError, match=rf"a\.tif has the axes {sentence}") as caught:
        convert(LabelMapSource(images, tmp_path / "masks", "cell"), target(tmp_path))
    told = str(caught.value).split("axes ")[-1][:3]
    convert(LabelMapSource(images, tmp_path / "masks", "cell", order=told), target(tmp_path))
    assert len(list((target(tmp_path) / "imagesTr").iterdir())) == (3 if told == "CYX" else 1)


def test_channels_behind_rows_and_columns_can_be_told(tmp_path):
    image = picture(shape=(*SHAPE, 2))
    save(tmp_path / "images" / "a.tif", image, photometric="minisblack")
    save(tmp_path / "masks" / "a.tif", cells(), photometric="minisblack")
    with pytest.raises(InputError, match=r"QYX \(30 × 40 × 2\), .*as in axes YXC\."):
        convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), target(tmp_path))
    convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell", order="YXC"), target(tmp_path))
    np.testing.assert_array_equal(tifffile.imread(target(tmp_path) / "imagesTr" / "a_0001.tif"), image[..., 1])


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left") as caught:
        source_images.write(tmp_path / "a.png", source_images.SourceImage(picture()[None], False))
    assert caught.value.filename == str(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_link_to_nothing_is_no_image_that_may_be_left_out(tmp_path):
    images, masks = label_maps(tmp_path)
    (images / "c1.png").unlink()
    (images / "c1.png").symlink_to("elsewhere.png")
    with pytest.raises(InputError, match=r"c1\.png is a link to a missing file"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))


def test_a_mask_of_channels_is_refused(tmp_path):
    save(tmp_path / "a.tif", cells(shape=(3, *SHAPE)), imagej=True)  # which tifffile writes as channels
    with pytest.raises(InputError, match=r"CYX \(3 × 30 × 40\), which contain channels .* axes ZYX"):
        source_images.read_mask(tmp_path / "a.tif")
    assert source_images.read_mask(tmp_path / "a.tif", order="ZYX")[0].shape == (3, *SHAPE)


def test_the_spacing_of_stacks_is_kept_where_nnunet_looks_for_it(tmp_path):
    options = {"resolution": (4, 4), "metadata": {"unit": "um", "spacing": 2}}
    source = hyperstacks(tmp_path, picture(shape=(3, *SHAPE)), cells(shape=(3, *SHAPE)), "ZYX", **options)
    folder = target(tmp_path)
    convert(source, folder)
    for part in ("imagesTr", "labelsTr"):
        assert json.loads((folder / part / "a.json").read_text()) == {"spacing": [2, 0.25, 0.25]}
    assert InstanceIO().read_images([str(folder / "imagesTr" / "a_0000.tif")])[1]["spacing"] == [2, 0.25, 0.25]
    more = {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "um", "spacing": 2}}
    save(tmp_path / "masks" / "a.tif", cells(shape=(3, *SHAPE)), **more)
    sentence = r"masks/a\.tif has voxels of 2 × 0.5 × 0.5 µm, but its image a\.tif of 2 × 0.25 × 0.25"
    with pytest.raises(InputError, match=sentence):
        convert(source, target(tmp_path, "Dataset011_B"))


def test_photos_lie_in_the_data_set_as_viewers_show_them(tmp_path):
    shown, ids = picture(shape=(30, 30)), cells(shape=(30, 30))
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(np.rot90(shown)).save(tmp_path / "images" / "a.png", exif=exif)
    save(tmp_path / "masks" / "a.tif", np.rot90(ids), extratags=[(274, 3, 1, 6, True)])
    folder = target(tmp_path)
    convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), folder)
    written = Image.open(folder / "imagesTr" / "a_0000.png")
    assert 274 not in written.getexif()
    np.testing.assert_array_equal(np.asarray(written), shown)
    np.testing.assert_array_equal(labels(folder, "a"), ids)


def test_a_mask_of_the_photo_as_it_is_stored_gets_a_hint(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(picture()).save(tmp_path / "images" / "a.png", exif=exif)
    save(tmp_path / "masks" / "a.tif", cells())
    with pytest.raises(InputError, match=r"has the size 30 × 40, .* has 40 × 30; .* images with an EXIF orientation"):
        convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), target(tmp_path))


def test_a_mixture_of_grey_and_colour_becomes_colour(tmp_path):
    images, masks = label_maps(tmp_path)
    save(images / "c1.png", picture(1, samples=3))
    folder = target(tmp_path)
    lines = convert(LabelMapSource(images, masks, "cell"), folder).lines
    assert lines[0] == "images     3, RGB (uint8, 2 grey images became RGB), written as png"
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
    with pytest.raises(InputError, match="a spacing of 0.5 × 0.7 × 3 mm instead of 0.5 × 0.7 × 2 mm"):
        convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "c"), target(tmp_path, "Dataset011_B"))


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


def test_images_that_make_no_one_data_set_are_refused(tmp_path):
    images, masks = label_maps(tmp_path, 2, image=".tif")
    save(images / "c1.tif", picture(shape=(2, *SHAPE)), photometric="minisblack")
    with pytest.raises(InputError, match="different numbers of channels: 1, 2"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))
    save(images / "c1.tif", picture(shape=(4, *SHAPE)), photometric="minisblack")
    save(masks / "c1.tif", cells(shape=(4, *SHAPE)), photometric="minisblack")
    with pytest.raises(InputError, match="has 2 axes, c1.tif has 3"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".nii.gz"])
@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_truncated_file_of_any_kind_is_refused(tmp_path, suffix, part):
    for folder, array in (("images", picture(shape=(200, 200))), ("masks", cells(shape=(200, 200)).astype(np.uint8))):
        kind = ".tif" if suffix in (".nii.gz", ".jpg") and folder != part else suffix
        path = tmp_path / folder / f"a{kind}"
        path.parent.mkdir()
        if kind == ".nii.gz":
            sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        else:
            save(path, array)
    truncate(tmp_path / part / f"a{suffix}")
    with pytest.raises(InputError, match=f"{part}/a{suffix} cannot be read"):
        convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), target(tmp_path))
