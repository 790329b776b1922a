"""Label files: ids come back as they were written, damaged files and what a format cannot hold are refused."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.files import read_ids, write_ids
from maskmed_nnu.instances.formats import Geometry

ENDINGS = (".png", ".tif", ".tiff", ".ome.tif", ".nii", ".nii.gz", ".nrrd", ".mha")
WITH_LAYERS = ENDINGS[1:]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ending=st.sampled_from(ENDINGS),
    shape=st.sampled_from([(1, 5, 6), (1, 3, 5, 4), (2, 5, 6), (3, 2, 5, 4), (1, 1, 1)]),
    data=st.data(),
)
def test_ids_survive_the_file(tmp_path: Path, ending: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    if ending == ".png":
        shape = (1, *shape[-2:])
    highest = data.draw(st.sampled_from([200, 40_000, 65_535] if ending == ".png" else [200, 65_535, 2**32 - 1]))
    raw = data.draw(hnp.arrays(np.uint32, shape, elements=st.integers(0, highest)))
    path = tmp_path / f"case{ending}"
    write_ids(path, raw)
    back = read_ids(path, overlap_layers=shape[0] > 1)
    assert back.shape == raw.shape
    assert np.array_equal(back, raw)
    assert back.dtype.kind == "u"
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_40000_objects_survive(tmp_path: Path, ending: str) -> None:
    raw = np.arange(1, 40_001, dtype=np.uint32).reshape(1, 200, 200)
    write_ids(tmp_path / f"x{ending}", raw)
    assert np.array_equal(read_ids(tmp_path / f"x{ending}", overlap_layers=False), raw)


def test_other_libraries_read_what_we_write(tmp_path: Path) -> None:
    raw = np.array([[[0, 1], [70_000, 3]], [[5, 0], [0, 0]]], np.uint32)
    write_ids(tmp_path / "x.tif", raw)
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        assert len(file.pages) == 2
        assert file.pages[0].compression.name == "ADOBE_DEFLATE"
        assert np.array_equal(file.asarray(), raw)
    write_ids(tmp_path / "x.nii.gz", raw)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "x.nii.gz"))), raw)
    write_ids(tmp_path / "x.png", raw[:1] % 70_000 + 256)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), raw[0] % 70_000 + 256)


@pytest.mark.parametrize(("highest", "kind"), [(255, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_the_smallest_type_is_written(tmp_path: Path, highest: int, kind: type) -> None:
    for name in ("x.tif", "x.nii.gz"):
        write_ids(tmp_path / name, np.full((1, 2, 2), highest, np.int64))
        assert formats.read(tmp_path / name).values.dtype == kind


def test_files_of_other_libraries(tmp_path: Path) -> None:
    plane = np.array([[0, 1], [2, 3]])
    Image.fromarray(plane.astype(np.uint8)).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(plane > 0).save(tmp_path / "binary.png")
    tifffile.imwrite(tmp_path / "single.tif", plane[None].astype(np.int32))
    tifffile.imwrite(tmp_path / "float.tif", plane.astype(np.float32))
    tifffile.imwrite(
        tmp_path / "imagej.tif", np.stack([plane] * 3).astype(np.uint16), imagej=True, metadata={"axes": "ZYX"}
    )
    sitk.WriteImage(sitk.GetImageFromArray(plane[None].astype(np.float64)), str(tmp_path / "slice.nii.gz"))
    for name in ("palette.png", "single.tif", "float.tif", "slice.nii.gz"):
        assert np.array_equal(read_ids(tmp_path / name, overlap_layers=False), plane[None])
    assert np.array_equal(read_ids(tmp_path / "binary.png", overlap_layers=False), plane[None] > 0)
    assert read_ids(tmp_path / "imagej.tif", overlap_layers=False).shape == (1, 3, 2, 2)
    assert read_ids(tmp_path / "imagej.tif", overlap_layers=True).shape == (3, 2, 2)
    assert read_ids(tmp_path / "single.tif", overlap_layers=True).shape == (1, 2, 2)


@pytest.mark.parametrize("name", ["x.tif", "x.ome.tif"])
def test_pages_that_were_written_one_by_one_are_all_read(tmp_path: Path, name: str) -> None:
    raw = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    with tifffile.TiffWriter(tmp_path / name) as file:
        for page in raw:
            file.write(page, photometric="minisblack")
    assert np.array_equal(read_ids(tmp_path / name, overlap_layers=True), raw)
    with tifffile.TiffWriter(tmp_path / name) as file:
        for page in raw:
            file.write(np.stack([page] * 3, -1), photometric="rgb")
    raster = formats.read(tmp_path / name)
    assert raster.colour and np.array_equal(raster.values, np.stack([raw] * 3, -1))


def test_a_png_that_would_lose_bits_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    ids = np.array([[[300, 65535], [310, 65535]]], ">u2")  # one row of two pixels, each with its opacity
    parts = (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 4, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" + ids.tobytes()))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.png cannot be read \(16-bit grey with transparency"):
        formats.read(tmp_path / "x.png")


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_volumes_keep_the_geometry(tmp_path: Path, ending: str, dimension: int, layers: int) -> None:
    turned = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
    turned = turned[:dimension, :dimension]
    geometry = Geometry((0.5, 0.75, 3.0)[:dimension], (-1.0, 2.0, 7.0)[:dimension], tuple(turned.ravel()))
    raw = np.arange(layers * 4 * 5 * 6, dtype=np.uint16).reshape(layers, 4, 5, 6)[:, : 1 if dimension == 2 else 4]
    write_ids(tmp_path / f"x{ending}", raw, geometry=geometry)
    image = sitk.ReadImage(str(tmp_path / f"x{ending}"))
    assert image.GetDimension() == dimension + (layers > 1)
    assert image.GetSpacing()[:dimension] == geometry.spacing
    assert image.GetOrigin()[:dimension] == geometry.origin
    direction = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)
    if (
        ending != ".nii.gz" or image.GetDimension() < 4
    ):  # NIfTI has no direction of a fourth axis, and ITK drops the others' with it
        assert np.allclose(direction[:dimension, :dimension], turned)
    assert np.array_equal(sitk.GetArrayFromImage(image), raw.reshape(image.GetSize()[::-1]))
    assert read_ids(tmp_path / f"x{ending}", overlap_layers=layers > 1).shape == (
        layers,
        *raw.shape[1 + (dimension < 3) :],
    )


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60_000, shape).astype(np.uint16)


def _uncompressed_tiff(path: Path) -> None:
    tifffile.imwrite(path, _noise((3, 64, 64)), photometric="minisblack")


def _pages_one_by_one(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        for plane in _noise((3, 64, 64)):
            file.write(plane, compression="zlib", contiguous=False, metadata=None)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.95, 0.99])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.png", lambda path: write_ids(path, _noise((1, 64, 64)))),
        ("x.tif", lambda path: write_ids(path, _noise((3, 64, 64)))),
        ("uncompressed.tif", _uncompressed_tiff),
        ("pages.tif", _pages_one_by_one),
        ("x.nii", lambda path: write_ids(path, _noise((3, 64, 64)))),
        ("x.nii.gz", lambda path: write_ids(path, _noise((3, 64, 64)))),
    ],
)
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, write, part: float) -> None:
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    assert read_ids(path, overlap_layers=True).shape[-1] == 64
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match=f"{name} cannot be read .*truncated, damaged") as caught:
        read_ids(path, overlap_layers=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.nii.gz", "x.mha"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_the_machine_does_not_give_is_not_called_damaged(
    tmp_path: Path, name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(InputError, match=rf"{name} cannot be read \({os.strerror(number)}\); check the path"):
        formats.read(tmp_path / name)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_of_something_else_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    path.write_text("no image at all" * 100)
    with pytest.raises(InputError, match="cannot be read"):
        read_ids(path, overlap_layers=False)
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        read_ids(path, overlap_layers=False)


def test_colours_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((8, 9, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "x.png")
    Image.fromarray(np.zeros((8, 9, 4), np.uint8)).save(tmp_path / "alpha.png")
    tifffile.imwrite(tmp_path / "x.tif", colours, photometric="rgb")
    rgb = np.zeros((9, 8, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "x.nii")
    for name in ("x.png", "alpha.png", "x.tif", "x.nii"):
        with pytest.raises(InputError, match=f"{name} is a colour image"):
            read_ids(tmp_path / name, overlap_layers=False)
    tifffile.imwrite(tmp_path / "planes.tif", _noise((3, 8, 9)), photometric="rgb")  # a guess of tifffile's at 3 planes
    with pytest.raises(InputError, match='photometric="minisblack"'):
        read_ids(tmp_path / "planes.tif", overlap_layers=True)


@pytest.mark.parametrize(("value", "told"), [(0.25, "0.25"), (np.nan, "nan")])
def test_a_float_mask_is_refused(tmp_path: Path, value: float, told: str) -> None:
    mask = np.array([[0, value]], np.float32)
    tifffile.imwrite(tmp_path / "x.tif", mask)
    sitk.WriteImage(sitk.GetImageFromArray(mask), str(tmp_path / "x.nii.gz"))
    for name in ("x.tif", "x.nii.gz"):
        with pytest.raises(InputError, match=f"{name}: The mask holds {told}"):
            read_ids(tmp_path / name, overlap_layers=False)


def test_axes_too_many_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((2, 3, 4, 5), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="shape 2 × 3 × 4 × 5; .*overlap_layers"):
        read_ids(tmp_path / "x.tif", overlap_layers=False)
    assert read_ids(tmp_path / "x.tif", overlap_layers=True).shape == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("name", "raw", "sentence"),
    [
        ("x.png", np.full((1, 2, 2), 65_536), "cannot hold the id 65536: a PNG ends at 65535"),
        ("x.png", np.ones((2, 2, 2), int), "cannot hold 2 layers of overlapping objects"),
        ("x.png", np.ones((1, 3, 2, 2), int), "cannot hold a volume of 3 slices"),
        ("x.jpg", np.ones((1, 2, 2), int), "cannot hold object ids; legal file endings are .png"),
        ("x.tif", np.full((1, 2, 2), 2**32), "from 0 to 4294967295"),
        ("x.tif", np.full((1, 2, 2), -1), "from 0 to 4294967295"),
        ("x.tif", np.full((1, 2, 2), 0.5), "whole numbers"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path: Path, name: str, raw: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        write_ids(tmp_path / name, raw)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tif"
    write_ids(path, np.ones((1, 2, 2), np.uint16))

    def die(partial: Path, *args: object, **kwargs: object) -> None:
        Path(partial).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(tifffile, "imwrite", die)
    with pytest.raises(OSError, match="disk full"):
        write_ids(path, np.zeros((1, 2, 2), np.uint16))
    assert os.listdir(tmp_path) == ["x.tif"]
    assert read_ids(path, overlap_layers=False).all()


@pytest.mark.parametrize(
    ("written", "colour"),
    [
        ({"shape": (6, 5, 3), "photometric": "rgb"}, True),
        ({"shape": (3, 6, 5), "photometric": "rgb", "planarconfig": "separate"}, True),
        ({"shape": (6, 5, 4), "photometric": "rgb", "extrasamples": ["unassalpha"]}, True),
        ({"shape": (6, 5, 2), "photometric": "minisblack", "extrasamples": ["unassalpha"]}, True),
        ({"shape": (6, 5, 2), "photometric": "minisblack"}, False),
        ({"shape": (6, 5, 4), "photometric": "minisblack"}, False),
    ],
)
def test_samples_of_a_tiff_pixel_are_colours_only_where_the_file_says_so(written, colour, tmp_path):
    written = dict(written)
    shape = written.pop("shape")
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    tifffile.imwrite(tmp_path / "x.tif", values, **{"planarconfig": "contig"} | written)
    raster = formats.read(tmp_path / "x.tif")
    samples_first = written.get("planarconfig") == "separate"
    expected = np.moveaxis(values, 0, -1) if samples_first else values
    assert raster.colour == colour
    np.testing.assert_array_equal(raster.values, expected if colour else np.moveaxis(expected, -1, 0))
