"""What a TIFF's metadata says of itself is believed; what it leaves open is refused with the axes that were found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.formats import read_tiff_spacing

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def stack(*axes: int, dtype: type = np.uint16) -> np.ndarray:
    return np.arange(np.prod(axes) * 48).reshape(*axes, 6, 8).astype(dtype)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("ZCYX", (5, 2)), ("CZYX", (2, 5)), ("ZYX", (5,)), ("CYX", (3,)), ("TYX", (4,)), ("TZCYX", (2, 3, 2))],
)
@pytest.mark.parametrize("kind", ["imagej", "ome", "shaped"])  # ImageJ's order is TZCYX
def test_axes_are_those_of_the_metadata(tmp_path: Path, axes: str, shape: tuple[int, ...], kind: str) -> None:
    if kind == "imagej" and axes == "CZYX":
        axes = "ZCYX"
    values = stack(*shape)
    tifffile.imwrite(tmp_path / "x.tif", values, metadata={"axes": axes}, **{kind: True} if kind != "shaped" else {})
    raster = formats.read(tmp_path / "x.tif")
    assert raster.axes == axes
    np.testing.assert_array_equal(raster.values, values)
    if "T" in axes:
        with pytest.raises(InputError, match=rf"x\.tif has the axes {axes} \(.*T is time: {shape[0]} frames; .*axes Z"):
            raster.channels_first("x.tif", pages="Z")
    else:
        channels, spatial = raster.channels_first("x.tif", pages="Z")
        assert spatial == ("ZYX" if "Z" in axes else "YX")
        expected = {"ZCYX": (1, 0, 2, 3), "ZYX": (0, 1, 2)}.get(axes, range(values.ndim))
        assert np.array_equal(channels, values.transpose(expected) if "C" in axes else values[None])


@pytest.mark.parametrize(("pages", "spatial"), [("Z", "ZYX"), ("C", "YX")])
def test_pages_without_a_name_are_what_the_reader_says(tmp_path: Path, pages: str, spatial: str) -> None:
    tifffile.imwrite(tmp_path / "x.tif", stack(3), photometric="minisblack")
    raster = formats.read(tmp_path / "x.tif")
    assert raster.axes == "QYX"
    assert raster.channels_first("x", pages=pages)[1] == spatial


def test_single_axes_are_none(tmp_path: Path) -> None:
    for shape in ((6, 8, 1), (1, 6, 8), (1, 1, 6, 8, 1)):
        tifffile.imwrite(tmp_path / "x.tif", GREY.reshape(shape))
        raster = formats.read(tmp_path / "x.tif")
        assert raster.axes == "YX"
        np.testing.assert_array_equal(raster.values, GREY)


def test_the_user_names_axes_that_the_file_does_not(tmp_path: Path) -> None:
    values = stack(5, 2)
    tifffile.imwrite(tmp_path / "x.tif", values)
    with pytest.raises(InputError, match=r"QQYX \(5 × 2 × 6 × 8\), and 2 of them are unknown; .*axes ZCYX"):
        formats.read(tmp_path / "x.tif").channels_first("x.tif", pages="Z")
    channels, _ = formats.read(tmp_path / "x.tif", axes="ZCYX").channels_first("x.tif", pages="Z")
    np.testing.assert_array_equal(channels, values.transpose(1, 0, 2, 3))
    tifffile.imwrite(tmp_path / "rgb.tif", stack(4)[..., None].repeat(3, -1).astype(np.uint8), photometric="rgb")
    assert formats.read(tmp_path / "rgb.tif", axes="ZYX").axes == "ZYXS"
    for axes, words in (
        ("ZYX", "does not describe"),
        ("ZZYX", "does not describe"),
        ("TZYX", "does not describe"),
    ):
        with pytest.raises(InputError, match=rf"QQYX \(5 × 2 × 6 × 8\), which axes {axes} {words}"):
            formats.read(tmp_path / "x.tif", axes=axes)
    tifffile.imwrite(tmp_path / "named.tif", values, metadata={"axes": "ZCYX"})
    with pytest.raises(InputError, match=r"ZCYX \(5 × 2 × 6 × 8\), which axes YXZC contradicts"):
        formats.read(tmp_path / "named.tif", axes="YXZC")


@pytest.mark.parametrize(("shape", "axes"), [((20, 24, 5), "YXC"), ((4, 20, 24, 5), "ZYXC")])
def test_channels_behind_the_columns_are_suggested_and_can_be_named(tmp_path: Path, shape: tuple, axes: str) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack", metadata=None if len(shape) == 3 else {})
    spatial = len(shape) - 1
    with pytest.raises(InputError, match=f"axes {axes}"):
        source_images.read(tmp_path / "x.tif", axes=spatial)
    picture = source_images.read(tmp_path / "x.tif", axes=spatial, order=axes)
    np.testing.assert_array_equal(picture.channels, np.moveaxis(values, -1, 0))


def with_pages(path: Path, *pages: tuple[np.ndarray, dict], **options: object) -> Path:
    with tifffile.TiffWriter(path, **options) as file:
        for values, more in pages:
            file.write(values, **more)
    return path


PLAIN: dict = {"metadata": None, "photometric": "minisblack"}


def test_previews_and_smaller_versions_are_no_data(tmp_path: Path) -> None:
    large, small = stack(dtype=np.uint8).repeat(8, 0).repeat(8, 1), stack(dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    reduced = {**PLAIN, "subfiletype": 1}
    tiles = {"tile": (16, 16)}
    files = [
        with_pages(tmp_path / "pages.tif", (large, PLAIN), (small, reduced)),
        with_pages(tmp_path / "preview.tif", (large, PLAIN), (np.zeros((5, 5, 3), np.uint8), {"subfiletype": 1})),
        with_pages(tmp_path / "first.tif", (small[:, :30], reduced), (large, PLAIN)),
        with_pages(tmp_path / "sub.tif", (large, {"subifds": 1, **tiles}), (small, {"subfiletype": 1, **tiles})),
        with_pages(tmp_path / "x.ome.tif", (large, {"subifds": 1, **tiles}), (small, {"subfiletype": 1, **tiles})),
        with_pages(tmp_path / "m.ome.tif", (large, {}), (small, {"metadata": {"Name": "macro"}})),
        with_pages(tmp_path / "mask.tif", (large, PLAIN), (large > 9, {"subfiletype": 4, "photometric": 4})),
    ]
    for file in files:
        raster = formats.read(file)
        assert raster.axes == "YX", file
        np.testing.assert_array_equal(raster.values, large)


def test_different_images_are_refused_by_name_and_shape(tmp_path: Path) -> None:
    big, small = stack(2), stack()[:3, :4]
    unmarked = with_pages(tmp_path / "x.tif", (stack(), PLAIN), (small, PLAIN))  # half as large, but who knows
    with pytest.raises(InputError, match=r"x\.tif holds 2 different images: number 1 of YX \(6 × 8\), number 2 of YX"):
        formats.read(unmarked)
    ome = with_pages(
        tmp_path / "x.ome.tif", (big, {"metadata": {"Name": "cells"}}), (small, {"metadata": {"Name": "crop"}})
    )
    with pytest.raises(InputError, match=r"2 different images: cells of CYX \(2 × 6 × 8\), crop of YX \(3 × 4\)"):
        formats.read(ome)
    scenes = with_pages(tmp_path / "s.ome.tif", (big, {}), (big, {}))
    with pytest.raises(InputError, match=r"QCYX \(2 × 2 × 6 × 8\), and Q is unknown"):
        formats.read(scenes).channels_first(scenes, pages="Z")


def test_an_ome_tiff_whose_planes_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.ome.tif", stack(4), metadata={"axes": "ZYX"})
    text = tifffile.TiffFile(tmp_path / "x.ome.tif").ome_metadata
    more = text.replace('SizeZ="4"', 'SizeZ="9"')
    with_pages(tmp_path / "x.ome.tif", *[(page, {**PLAIN, "description": more}) for page in stack(4)], ome=False)
    with pytest.raises(InputError, match=r"x\.ome\.tif cannot be read \(.*missing"):
        formats.read(tmp_path / "x.ome.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif"])
def test_pictures_are_upright_as_in_viewers(tmp_path: Path, name: str, orientation: int) -> None:
    picture = Image.fromarray(GREY.repeat(8, 0).repeat(8, 1) * 5)
    exif = Image.Exif()
    exif[274] = orientation
    picture.save(tmp_path / "shown.png", exif=exif)
    with Image.open(tmp_path / "shown.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    if name == "x.tif":
        tifffile.imwrite(tmp_path / name, np.asarray(picture), extratags=[(274, 3, 1, orientation, True)])
    else:
        picture.save(tmp_path / name, exif=exif, quality=100)
    for indexed in (False, True):
        values = formats.read(tmp_path / name, indexed=indexed).values
        assert values.shape == expected.shape
        assert np.abs(values - expected).max() <= (2 if name == "x.jpg" else 0)


def test_stacks_of_colours_are_upright(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 6, 8, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    np.testing.assert_array_equal(formats.read(tmp_path / "x.tif").values, np.rot90(values, -1, axes=(1, 2)))


def test_min_is_white(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    for dtype, highest in ((np.uint8, 255), (np.uint16, 65_535)):
        tifffile.imwrite(path, GREY.astype(dtype), photometric="miniswhite")
        np.testing.assert_array_equal(formats.read(path).values, highest - GREY.astype(dtype))
        np.testing.assert_array_equal(formats.read(path, indexed=True).values, GREY)
    tifffile.imwrite(path, GREY > 9)  # which tifffile calls min-is-white
    np.testing.assert_array_equal(formats.read(path, indexed=True).values, GREY > 9)
    tifffile.imwrite(path, GREY > 9, software="a scanner")
    np.testing.assert_array_equal(formats.read(path, indexed=True).values, GREY <= 9)
    np.testing.assert_array_equal(formats.read(path).values, np.asarray(Image.open(path)))
    tifffile.imwrite(path, GREY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(InputError, match="smallest value is white, which is undefined for the type float32"):
        formats.read(path)


def test_colours_of_print_and_of_laboratories(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    for mode in ("CMYK", "LAB"):
        Image.fromarray(colours).convert(mode).save(tmp_path / "x.tif")
        raster = formats.read(tmp_path / "x.tif")
        assert raster.axes == "YXS"
        np.testing.assert_array_equal(raster.values, np.asarray(Image.open(tmp_path / "x.tif").convert("RGB")))
    tifffile.imwrite(tmp_path / "x.tif", stack(3).transpose(1, 2, 0), photometric="cielab")
    with pytest.raises(
        InputError, match="stores colours as CIELAB with 16 bits and NONE compression, .* save it as RGB"
    ):
        formats.read(tmp_path / "x.tif")
    tifffile.imwrite(tmp_path / "x.tif", GREY, photometric="cfa", extratags=[(33421, 3, 2, (2, 2), True)])
    with pytest.raises(InputError, match="stores colours as CFA"):
        formats.read(tmp_path / "x.tif")


def test_a_fourth_sample_that_is_no_transparency_is_a_channel(tmp_path: Path) -> None:
    values = stack(4, dtype=np.uint8).transpose(1, 2, 0)
    for extra, axes in (("unassalpha", "YXS"), ("assocalpha", "YXS"), ("unspecified", "CYX")):
        tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", extrasamples=[extra])
        assert formats.read(tmp_path / "x.tif").axes == axes


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.uint64, np.int64, np.float16, np.float32, np.float64])
def test_sample_formats(tmp_path: Path, dtype: type) -> None:
    tifffile.imwrite(tmp_path / "x.tif", GREY.astype(dtype), compression="lzw")
    raster = formats.read(tmp_path / "x.tif")
    assert raster.values.dtype == dtype and np.array_equal(raster.values, GREY)


def test_what_cannot_be_read_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "x.tif", GREY.astype(np.complex64))
    with pytest.raises(InputError, match="type complex64; integers or real numbers are needed"):
        formats.read(tmp_path / "x.tif")
    tifffile.imwrite(tmp_path / "x.tif", GREY, compression="lzw")

    def without(self: object, key: int) -> None:
        raise KeyError(f"{tifffile.COMPRESSION(key)!r} requires the 'imagecodecs' package")

    monkeypatch.setattr(type(tifffile.TIFF.DECOMPRESSORS), "__getitem__", without)
    with pytest.raises(InputError, match=r"compressed with LZW, which needs the package imagecodecs; install it"):
        formats.read(tmp_path / "x.tif")


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m", "nm", "mm"])
def test_imagej_tells_the_spacing(tmp_path: Path, unit: str) -> None:
    factor = {"nm": 1e-3, "mm": 1e3}.get(unit, 1)
    metadata = {"axes": "ZYX", "spacing": 2.5, "unit": unit}
    tifffile.imwrite(tmp_path / "x.tif", stack(3), imagej=True, resolution=(4, 2), metadata=metadata)
    assert formats.read(tmp_path / "x.tif").spacing == pytest.approx([2.5 * factor, 0.5 * factor, 0.25 * factor])
    assert read_tiff_spacing(tmp_path / "x.tif") == formats.read(tmp_path / "x.tif").spacing


def test_ome_tells_the_spacing_and_turning_swaps_it(tmp_path: Path) -> None:
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": 250,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeZ": 2,
    }
    tifffile.imwrite(tmp_path / "x.ome.tif", stack(3), metadata=metadata)
    assert formats.read(tmp_path / "x.ome.tif").spacing == pytest.approx([2, 0.5, 0.25])
    tifffile.imwrite(tmp_path / "x.ome.tif", stack(3), metadata=metadata, extratags=[(274, 3, 1, 6, True)])
    assert formats.read(tmp_path / "x.ome.tif").spacing == pytest.approx([2, 0.25, 0.5])


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": (72, 72), "resolutionunit": "inch"},
        {"imagej": True, "resolution": (72, 72), "metadata": {"axes": "ZYX", "unit": "inch", "spacing": 1}},
        {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 3}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
    ],
)
def test_no_spacing_is_told_without_a_length(tmp_path: Path, options: dict) -> None:
    tifffile.imwrite(tmp_path / "x.tif", stack(3), **options)
    assert formats.read(tmp_path / "x.tif").spacing is None


def test_pictures_of_several_frames_and_false_endings_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY + 9)]
    for name, kind in (("x.png", "PNG"), ("x.bmp", "GIF"), ("y.png", "TIFF")):
        frames[0].save(tmp_path / name, format=kind, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"x\.png holds 2 images; save the one to use"):
        formats.read(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x\.bmp is a GIF file with the wrong ending"):
        formats.read(tmp_path / "x.bmp")
    with pytest.raises(InputError, match=r"y\.png is a TIFF file with the wrong ending"):
        formats.read(tmp_path / "y.png")
    frames[0].save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=frames[1:], quality=100)
    frames[0].save(tmp_path / "one.jpg", quality=100)  # the first picture is the one that viewers show
    np.testing.assert_array_equal(formats.read(tmp_path / "x.jpg").values, formats.read(tmp_path / "one.jpg").values)
