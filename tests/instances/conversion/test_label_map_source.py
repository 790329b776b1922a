"""Label maps become data sets with their ids; files that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import convert
from maskmed_nnu.instances.conversion.sources import LabelMapSource
from tests.instances.conversion.source_files import (
    SHAPE,
    cells,
    description,
    label_maps,
    labels,
    objects_of,
    picture,
    save,
    target,
)


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


@pytest.mark.parametrize(("objects", "ending"), [(40_000, ".png"), (70_000, ".tif")])
def test_ids_beyond_16_bits_are_renumbered(tmp_path, objects, ending):
    mask = np.zeros((600, 600), np.uint32)
    mask[::2, ::2].flat[:objects] = np.random.default_rng(0).permutation(objects) + 4_000_000_000
    save(tmp_path / "images" / "a.png", picture(shape=mask.shape))
    save(tmp_path / "masks" / "a.tif", mask)
    folder = target(tmp_path)
    lines = convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), folder).lines
    assert description(folder)["file_ending"] == ending
    written = labels(folder, "a").astype(np.int64)
    np.testing.assert_array_equal(written, np.where(mask > 0, mask.astype(np.int64) - 4_000_000_000 + 1, 0))
    assert any(line.startswith("renumbered 1 label map with") for line in lines)


def test_objects_in_pieces_are_told_and_split_on_request(tmp_path):
    mask = np.zeros(SHAPE, np.uint16)
    mask[2:8, 2:8], mask[2:8, 20:24], mask[12, 4], mask[15:20, 2:8] = 7, 7, 7, 3
    save(tmp_path / "images" / "a.png", picture())
    save(tmp_path / "masks" / "a.png", mask)
    source = LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell")
    warnings = convert(source, target(tmp_path)).warnings
    assert len(warnings) == 2 and warnings[1].startswith("1 object has stray pixels")
    assert "1 object is in several pieces" in warnings[0] and "split_pieces" in warnings[0]
    np.testing.assert_array_equal(labels(target(tmp_path), "a"), mask)
    folder = target(tmp_path, "Dataset011_Split")
    split = convert(source, folder, split=True)
    assert split.warnings == warnings[1:] and "pieces     1 object in several pieces became 2" in split.lines
    mask[2:8, 20:24] = 8
    np.testing.assert_array_equal(labels(folder, "a"), mask)  # the stray pixel stays with the largest piece


def test_pairs_that_do_not_fit_are_refused(tmp_path):
    images, masks = label_maps(tmp_path)
    (masks / "c1.tif").unlink()
    with pytest.raises(InputError, match=r"No mask in .* for c1.png; a mask has the name of its image"):
        LabelMapSource(images, masks, "cell")
    save(images / "c0.jpg", picture())
    with pytest.raises(InputError, match="c0.jpg and c0.png .* claim the same case c0"):
        LabelMapSource(images, masks, "cell")
    with pytest.raises(InputError, match="is not a folder"):
        LabelMapSource(tmp_path / "nowhere", masks, "cell")
    with pytest.raises(InputError, match="holds no mask"):
        LabelMapSource(images, None, "cell")
    (images / "c0.jpg").unlink()
    (images / "c1.png").unlink()
    save(masks / "lonely.tif", cells())
    for name in ("._c0.png", "Thumbs.db", "scores.csv"):
        (images / name).touch()
    assert LabelMapSource(images, masks, "cell").notes == [
        "1 mask without an image, skipped: lonely.tif",
        "1 file of another format, skipped: scores.csv",
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a.czi", "b.CZI", "notes.txt"], r"it holds 2 \.czi files .* so save them as OME-TIFF"),
        (["a.webp"], r"it holds 1 \.webp file .* so save them as PNG"),
        (["IM0001", "IM0002"], "it holds 2 DICOM files .* so convert them to NIfTI with dcm2niix"),
        (["one/a.png", "two/b.png"], r"its images are in subfolders \(one, two\), so name one of these"),
        (["notes.txt"], r"its files have other endings; legal are \.png"),
        ([".a.png"], r"it is empty; legal are \.png"),
    ],
)
def test_a_folder_without_images_is_told_with_the_cure(tmp_path, files, said):
    _, masks = label_maps(tmp_path)
    for name in files:
        path = tmp_path / "others" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(128) + b"DICM" if not path.suffix else b"x")
    with pytest.raises(InputError, match=f"others holds no image: {said}"):
        LabelMapSource(tmp_path / "others", masks, "cell")
    with pytest.raises(InputError, match=f"others holds no mask: {said}"):
        LabelMapSource(tmp_path / "images", tmp_path / "others", "cell")


@pytest.mark.real_data
def test_dsb2018_and_usiigaci(tmp_path, real_data):
    for name, images, count, torn in (("dsb2018", 200, 5680, 0), ("usiigaci", 6, 444, 3)):
        folder = target(tmp_path, f"Dataset{images:03d}_{name}")
        source = LabelMapSource(real_data / name / "images", real_data / name / "masks", "nucleus")
        warnings = convert(source, folder).warnings
        assert [w.split()[0] for w in warnings if "several pieces" in w] == [str(torn)] * bool(torn)
        assert len(warnings) == (3 if torn else 0)  # strays and holes
        found = objects_of(folder)
        assert (len(found), sum(found.values())) == (images, count)
        assert description(folder)["file_ending"] == ".png" and len(description(folder)["channel_names"]) == 1
        case = source.cases[-1]
        np.testing.assert_array_equal(labels(folder, case.name), tifffile.imread(case.files[1]))
