"""What other tools draw of our files, by independent readers and the tools' own rules, is the mask pixel for pixel."""

from __future__ import annotations

import json
import uuid
from zipfile import ZipFile

import nrrd
import numpy as np
import pytest
import roifile
import shapely
import SimpleITK as sitk
import slicerio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage.measure import points_in_poly

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import Geometry
from maskmed_nnu.instances.tool_files import (
    Area,
    Findings,
    polygons,
    write_geojson,
    write_label_descriptions,
    write_rois,
    write_segmentation,
)

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))
RING_IN_RING = np.ones((9, 11), bool)
RING_IN_RING[1:-1, 1:-1] = False
RING_IN_RING[3:-3, 3:-3] = True
RING_IN_RING[4, 5] = False
CHESS = np.indices((6, 7)).sum(0) % 2 == 0
HOLE_AT_A_CORNER = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1]], bool)  # the hole meets the outside at a corner
SPECIAL = (RING_IN_RING, CHESS, HOLE_AT_A_CORNER, ~HOLE_AT_A_CORNER, np.ones((1, 1), bool))


def centres(shape):
    rows, columns = np.indices(shape)
    return columns.ravel() + 0.5, rows.ravel() + 0.5


def filled(geometry, shape):
    """By JTS' rule, as QuPath fills: a pixel belongs to a shape that its centre is in."""
    return shapely.contains_xy(geometry, *centres(shape)).reshape(shape)


def even_odd(roi, shape):
    """As ImageJ fills a path: a pixel whose centre is within an odd number of its rings."""
    points = np.stack(centres(shape), axis=1)
    inside = [points_in_poly(points, ring) for ring in roi.coordinates(multi=True)]
    return np.logical_xor.reduce(inside).reshape(shape)


def check_polygons(mask):
    found = polygons(mask)
    geometry = shapely.MultiPolygon([(piece[0], piece[1:]) for piece in found])
    assert geometry.is_valid
    assert len(found) == ndimage.label(mask)[1]
    assert geometry.area == np.count_nonzero(mask)
    np.testing.assert_array_equal(filled(geometry, mask.shape), mask)
    for ring in (ring for piece in found for ring in piece):
        assert len(np.unique(ring, axis=0)) == len(ring)  # none meets itself
        steps = np.roll(ring, -1, axis=0) - ring
        assert ((steps == 0).sum(1) == 1).all() and (steps[:, 0] == 0).sum() * 2 == len(ring)  # only corners are kept


@given(MASKS)
@settings(max_examples=80, deadline=None)
def test_polygons_fill_the_mask(mask):
    check_polygons(mask)


@pytest.mark.parametrize("mask", SPECIAL)
def test_polygons_with_holes_islands_and_contact_at_corners(mask):
    check_polygons(mask)


def area(mask, start=(0, 0, 0), value=1, name="cell", number=1, score=0.9):
    mask = np.asarray(mask, bool)
    mask = mask if mask.ndim == 3 else mask[None]
    return Area(f"{name} {value}", name, number, value, start, mask, score)


@given(MASKS.filter(np.any), MASKS.filter(np.any), st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_files_of_overlapping_objects(tmp_path_factory, first, second, shift):
    folder = tmp_path_factory.mktemp("files")
    shape = (13, 13)
    areas = [area(first, value=3), area(second, (0, shift, shift), value=7, score=0.25)]
    masks = np.zeros((2, *shape), bool)
    masks[0, : first.shape[0], : first.shape[1]] = first
    masks[1, shift : shift + second.shape[0], shift : shift + second.shape[1]] = second
    found = Findings(areas, (1, *shape), "x.png", descriptions={3: "a", 7: "b"})

    write_geojson(folder / "x.geojson", found)
    features = json.loads((folder / "x.geojson").read_text())["features"]
    for feature, mask in zip(features, masks, strict=True):
        geometry = shapely.geometry.shape(feature["geometry"])
        assert geometry.is_valid
        np.testing.assert_array_equal(filled(geometry, shape), mask)

    write_rois(folder / "x.zip", found)
    for roi, mask in zip(roifile.roiread(folder / "x.zip"), masks, strict=True):
        np.testing.assert_array_equal(even_odd(roi, shape), mask)

    write_segmentation(folder / "x.seg.nrrd", found)
    read = slicerio.read_segmentation(str(folder / "x.seg.nrrd"))
    voxels = read["voxels"] if read["voxels"].ndim == 4 else read["voxels"][None]
    assert len(voxels) == 1 + (masks.sum(0) > 1).any()
    for segment, mask in zip(read["segments"], masks, strict=True):
        drawn = voxels[segment["layer"], :, :, 0].T
        np.testing.assert_array_equal(drawn == segment["labelValue"], mask)


def test_qupath_reads_class_colour_score_and_measurements(tmp_path):
    areas = [area(np.ones((2, 3)), (1, 4, 5), 12), area(np.eye(2), (1, 0, 0), 2, "liver", 2, score=None)]
    write_geojson(tmp_path / "x.geojson", Findings(areas, (3, 9, 9), volume=True, spacing=(2, 1e-3, 5e-4)))
    document = json.loads((tmp_path / "x.geojson").read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    cell, liver = document["features"]
    assert uuid.UUID(cell["id"]) != uuid.UUID(liver["id"])
    assert cell["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[5, 4], [8, 4], [8, 6], [5, 6], [5, 4]]],
        "plane": {"c": -1, "z": 1, "t": 0},
    }
    assert cell["properties"] == {
        "objectType": "detection",
        "name": "cell 12",
        "classification": {"name": "cell", "color": [140, 174, 255]},
        "measurements": {"Area px^2": 6, "Area µm^2": pytest.approx(3), "Score": 0.9},
    }
    assert liver["properties"]["objectType"] == "annotation" and "Score" not in liver["properties"]["measurements"]
    assert liver["geometry"]["type"] == "MultiPolygon" and len(liver["geometry"]["coordinates"]) == 2


def test_rois_have_names_colours_and_slices(tmp_path):
    mask = np.zeros((3, 4, 4), bool)
    mask[0, :2], mask[2, 1:, 1:] = True, True
    areas = [area(mask, (4, 10, 20), name="a/b"), area(mask[0], (0, 0, 0), name="a:b"), area(RING_IN_RING, value=2)]
    found = Findings(areas, (9, 30, 40), volume=True)
    write_rois(tmp_path / "x.zip", found)
    rois = roifile.roiread(tmp_path / "x.zip")
    assert [roi.name for roi in rois] == ["a_b 1 z5 0.90", "a_b 1 z7 0.90", "a_b 1 z1 0.90", "cell 2 z1 0.90"]
    assert ZipFile(tmp_path / "x.zip").namelist() == [f"{roi.name}.roi" for roi in rois]
    assert [(roi.position, roi.z_position) for roi in rois] == [(5, 0), (7, 0), (1, 0), (1, 0)]
    assert [roi.roitype.name for roi in rois] == ["TRACED", "TRACED", "TRACED", "RECT"]
    assert rois[0].stroke_color == bytes([255, 140, 174, 255])
    assert (rois[0].left, rois[0].top, rois[0].right, rois[0].bottom) == (20, 10, 24, 12)
    write_rois(tmp_path / "y.zip", Findings(areas[:1], (9, 30, 40), volume=True, channels_in_stack=True))
    assert [(roi.position, roi.z_position) for roi in roifile.roiread(tmp_path / "y.zip")] == [(0, 5), (0, 7)]


def test_names_that_become_alike_stay_apart(tmp_path):
    areas = [area(np.ones((1, 1)), name=name) for name in ("a/b", "a:b", "a\U0001f600b")]
    write_rois(tmp_path / "x.zip", Findings(areas, (1, 9, 9)))
    assert [roi.name for roi in roifile.roiread(tmp_path / "x.zip")] == [
        "a_b 1 0.90",
        "a_b 1 0.90 (2)",
        "a_b 1 0.90 (3)",
    ]


def test_rois_beyond_the_range_of_whole_coordinates(tmp_path):
    write_rois(tmp_path / "x.zip", Findings([area(np.ones((2, 3)), (0, 70000, 100000))], (1, 10**6, 10**6)))
    (roi,) = roifile.roiread(tmp_path / "x.zip")
    ring = roi.coordinates()
    assert ring.min(0).tolist() == [100000, 70000] and ring.max(0).tolist() == [100003, 70002]


def test_slicer_reads_segments_and_place(tmp_path):
    turn = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, -1.0)
    place = Geometry((0.1, 1 / 3, 5), (1.5, -2.5, 1 / 7), turn)
    one, other = np.zeros((2, 4, 5), bool), np.ones((1, 1, 2), bool)
    one[1, 2, 3:] = True
    areas = [area(one, (1, 2, 3), 300, score=None), area(other, (0, 0, 0), 2, "tumour é \\ 2", 2)]
    write_segmentation(tmp_path / "x.seg.nrrd", Findings(areas, (6, 7, 8), volume=True, geometry=place))
    image = sitk.ReadImage(str(tmp_path / "x.seg.nrrd"))  # as ITK, with which Slicer reads
    assert image.GetSpacing() == pytest.approx(place.spacing, rel=1e-15)
    assert image.GetOrigin() == place.origin and image.GetDirection() == pytest.approx(turn, rel=1e-15)
    expected = np.zeros((6, 7, 8), int)
    expected[1:3, 2:6, 3:8][one] = 300
    expected[0, 0, :2] = 2
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), expected)
    assert image.GetMetaData("Segment1_Name") == "tumour é \\ 2 2"
    read = slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))
    np.testing.assert_array_equal(read["voxels"].T, expected)
    np.testing.assert_allclose(read["ijkToLPS"][:3, :3], np.reshape(turn, (3, 3)) * place.spacing, rtol=1e-14)
    first, second = read["segments"]
    assert (first["name"], first["labelValue"], first["layer"]) == ("cell 300", 300, 0)
    assert first["extent"] == [3, 7, 2, 5, 1, 2]
    assert first["color"] != second["color"] and max(second["color"]) <= 1
    assert second["tags"] == {"Score": "0.9"}


def test_overlapping_segments_lie_in_a_list_of_layers(tmp_path):
    areas = [area(np.ones((4, 4)), value=1), area(np.ones((2, 2)), value=2), area(np.ones((1, 1)), (1, 0, 0), value=3)]
    write_segmentation(tmp_path / "x.seg.nrrd", Findings(areas, (2, 5, 6), volume=True))
    values, header = nrrd.read(str(tmp_path / "x.seg.nrrd"))
    assert values.shape == (2, 6, 5, 2) and header["kinds"] == ["list", "domain", "domain", "domain"]
    assert [header[f"Segment{n}_Layer"] for n in range(3)] == ["0", "1", "0"]
    assert [np.count_nonzero(values == n) for n in (1, 2, 3)] == [16, 4, 1]


def test_images_without_any_object(tmp_path):
    found = Findings([], (1, 5, 6))
    write_geojson(tmp_path / "x.geojson", found)
    assert json.loads((tmp_path / "x.geojson").read_text()) == {"type": "FeatureCollection", "features": []}
    write_rois(tmp_path / "x.zip", found)
    assert roifile.roiread(tmp_path / "x.zip") == []
    write_segmentation(tmp_path / "x.seg.nrrd", found)
    assert slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))["voxels"].shape == (6, 5, 1)


def test_label_descriptions(tmp_path):
    write_label_descriptions(tmp_path / "x.txt", Findings([], (1, 5, 6), descriptions={2: 'a "b"', 0: "no", 10: "c"}))
    lines = [line.split(maxsplit=7) for line in (tmp_path / "x.txt").read_text().splitlines() if line[0] != "#"]
    assert [(line[0], line[4:]) for line in lines] == [
        ("0", ["0", "0", "0", '"Clear Label"']),
        ("2", ["1", "1", "1", "\"a 'b'\""]),
        ("10", ["1", "1", "1", '"c"']),
    ]
    with pytest.raises(InputError, match="cannot describe the label 70000: ITK-SNAP's labels end at 65535"):
        write_label_descriptions(tmp_path / "y.txt", Findings([], (1, 5, 6), descriptions={70000: "far"}))
    assert not (tmp_path / "y.txt").exists()
