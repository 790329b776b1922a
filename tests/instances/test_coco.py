"""COCO json against pycocotools: polygons, RLE, crowd, and back to results without loss."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import rle
from maskmed_nnu.instances.coco import CocoFile, coco_annotations, coco_results
from maskmed_nnu.instances.detections import from_instance_map
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, decode, encode, stack_layers

H, W = 17, 23
masks = st_numpy.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))


@st.composite
def overlapping_objects(draw):
    """Up to 8 masks [H, W] of pixels anywhere, overlapping at will, with their classes of 1..2."""
    count = draw(st.integers(0, 8))
    drawn = []
    for _ in range(count):
        mask = np.zeros((H, W), np.uint8)
        small = draw(masks.filter(lambda m: m.any()))
        y, x = draw(st.integers(0, H - small.shape[0])), draw(st.integers(0, W - small.shape[1]))
        mask[y : y + small.shape[0], x : x + small.shape[1]] = small
        drawn.append(mask)
    return drawn, draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))


def compressed(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(n) for n in encoded["size"]], "counts": encoded["counts"].decode()}


def annotation(number, segmentation, category=1, **more):
    return {"id": number, "image_id": 7, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def coco_file(tmp_path, annotations, *, classes=None, categories=("cell", "nucleus"), shape=(H, W), **content):
    path = tmp_path / "instances.json"
    described = {
        "images": [{"id": 7, "file_name": "a.png", "height": shape[0], "width": shape[1]}],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(categories, 1)],
    }
    path.write_text(json.dumps({**described, **content}))
    return CocoFile(path, classes)


def read(tmp_path, annotations, **options):
    file = coco_file(tmp_path, annotations, **options)
    return file.objects(file.images[0], options.get("shape", (H, W)))


def pixels(objects, index):
    return (objects.ids == index).any(axis=0)


@given(masks)
def test_runs_are_those_of_pycocotools(mask):
    encoded = compressed(mask)
    counts = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], mask.T.ravel(), [2]])))).tolist()
    uncompressed = {"size": list(mask.shape), "counts": ([0] if mask[0, 0] else []) + counts}
    for form in (encoded, {**encoded, "counts": encoded["counts"].encode()}, uncompressed):
        np.testing.assert_array_equal(rle.decode(form, mask.shape), np.flatnonzero(mask.T))


@given(masks, st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_cropped_mask_is_encoded_as_pycocotools_does_the_whole_one(mask, top, left, bottom, right):
    whole = np.pad(mask, ((top, bottom), (left, right)))
    assert rle.encode(mask, (top, left), whole.shape) == compressed(whole)


def test_long_runs_need_several_characters_each():
    whole = np.zeros((3000, 2000), np.uint8)
    whole[:, 1500:1900] = 1
    whole[5, 7] = 1
    encoded = compressed(whole)
    np.testing.assert_array_equal(rle.decode(encoded, whole.shape), np.flatnonzero(whole.T))
    assert rle.encode(whole, (0, 0), whole.shape) == encoded


@given(st.text(st.characters(min_codepoint=32, max_codepoint=130), max_size=20))
@settings(max_examples=300)
def test_damaged_counts_are_refused_or_stay_inside_the_image(counts):
    try:
        positions = rle.decode({"size": [H, W], "counts": counts}, (H, W))
    except ValueError:
        return
    assert ((positions >= 0) & (positions < H * W)).all() and (np.diff(positions) > 0).all()


@given(overlapping_objects())
@settings(max_examples=60, deadline=None)
def test_masks_survive_coco_layers_label_files_detections_and_coco_again(tmp_path_factory, drawn):
    truth, classes = drawn
    assume(truth)
    annotations = [annotation(i, compressed(m), c) for i, (m, c) in enumerate(zip(truth, classes, strict=True))]
    expected = sorted((a["category_id"], a["segmentation"]["counts"]) for a in annotations)
    found = read(tmp_path_factory.mktemp("coco"), annotations, classes=["cell", "nucleus"])
    assert not found.refused and found.clipped == 0

    label_format = LabelFormat({"cell": 1, "nucleus": 2}, 1000, True)
    objects = decode(encode(found.objects, label_format), label_format)
    results = coco_results(from_instance_map(objects.ids, objects.classes), 7)
    assert sorted((r["category_id"], r["segmentation"]["counts"]) for r in results) == expected
    written = coco_annotations(objects, 7, first_id=5)
    assert sorted((a["category_id"], a["segmentation"]["counts"]) for a in written) == expected
    assert [a["id"] for a in written] == list(range(5, 5 + len(truth)))
    for entry in written:
        assert entry["bbox"] == coco_mask.toBbox(entry["segmentation"]).tolist()
        assert entry["area"] == coco_mask.area(entry["segmentation"])


@given(overlapping_objects())
@settings(max_examples=30, deadline=None)
def test_crowd_survives_and_lies_beneath_the_objects(tmp_path_factory, drawn):
    truth, classes = drawn
    classes = np.array(classes, dtype=np.int64)
    boxes = [((slice(0, H), slice(0, W)), m) for m in truth]
    stuff = np.zeros((H, W), np.int32)
    stuff[2:9, 3:20], stuff[12:, 5:] = 1, 2
    written = coco_annotations(InstanceMap(stack_layers(boxes, (H, W)), classes, stuff), 7)
    assert [a["category_id"] for a in written if a["iscrowd"]] == [1, 2]
    found = read(tmp_path_factory.mktemp("coco"), written, classes=["cell", "nucleus"]).objects
    np.testing.assert_array_equal(found.stuff, stuff)
    assert sorted(found.classes) == sorted(classes)


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-9, W + 9), st.floats(-9, H + 9)), min_size=3, max_size=8), min_size=1, max_size=3
    )
)
@settings(deadline=None)
def test_polygons_are_those_of_pycocotools(tmp_path_factory, polygons):
    flat = [[round(c, 2) for point in polygon for c in point] for polygon in polygons]
    assume(not all(0 <= c <= 1 for polygon in flat for c in polygon))  # fractions, which are refused
    reference = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, H, W)))
    found = read(tmp_path_factory.mktemp("coco"), [annotation(1, flat)])
    if reference.any():
        np.testing.assert_array_equal(pixels(found.objects, 1), reference > 0)
        assert not found.refused
    else:
        assert len(found.refused) == 1 and not found.objects.ids.any()


def test_results_score_one_in_pycocotools(tmp_path):
    ids = np.zeros((2, H, W), np.int32)
    ids[0, 2:8, 2:9], ids[1, 5:12, 4:15], ids[0, 10:16, 12:22] = 1, 2, 3
    objects = InstanceMap(ids, np.array([1, 1, 2]), np.zeros((H, W), np.int32))
    content = {
        "images": [{"id": 7, "height": H, "width": W}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": coco_annotations(objects, 7),
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes(coco_results(from_instance_map(ids, objects.classes), 7)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == 1


def test_a_soft_mask_below_one_half_gives_no_result():
    detections = from_instance_map(np.ones((1, 4, 4), np.int32), np.array([1]))
    detections.masks[0][:] = 127
    assert coco_results(detections, 1) == []
    detections.masks[0][1:3, 2] = 128
    (result,) = coco_results(detections, 1)
    assert result["bbox"] == [2, 1, 1, 2]
    assert json.loads(json.dumps(result)) == result


def test_livecell_style_annotations_keyed_by_id(tmp_path):
    squares = [[[x, y, x + 3, y, x + 3, y + 3, x, y + 3]] for x in range(0, 100, 4) for y in range(0, 100, 4)]
    annotations = {str(i): annotation(i, square) for i, square in enumerate(squares)}
    found = read(tmp_path, annotations, shape=(100, 100))
    assert np.bincount(found.objects.ids.ravel()).tolist() == [10000 - 9 * 625] + [9] * 625


INSIDE = [[2, 2, 8, 2, 8, 8, 2, 8]]


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ([[40, 2, 50, 2, 50, 8]], "completely outside the image of 23 × 17 pixels"),
        ([[2, -9, 5, -9, 5, -2]], "completely outside"),
        ([[2, 2, 1e9, 2, 8, 8]], "go up to 1e+09"),
        ([[0, 0, 0.9, 0, 0.9, 0.9, 0, 0.9]], "seem to be fractions of the image size"),
        ([[2, 2, 2.1, 2, 2.1, 2.1]], "smaller than a pixel"),
        ([[0.1, 0.1, 0.4, 0.1, 0.4, 0.4]], "seem to be fractions of the image size"),
        ([[2, 2, 8, 2]], "fewer than three points"),
        ([[2, 2, 8, 2, 8, 8, 2]], "an odd number of coordinates or NaN"),
        ([[2, 2, 8, 2, 8, float("nan")]], "an odd number of coordinates or NaN"),
        ([], "no segmentation"),
        (None, "no segmentation"),
        ([1, 2, 3, 4], "fewer than three points"),
        ("abc", "no segmentation"),
        ([["a", 2, 8, 2, 8, 8]], "neither polygons nor RLE"),
        ({"counts": [5]}, "neither polygons nor RLE"),
        ({"size": [W, H], "counts": [W * H]}, "for an image of 17 × 23 pixels"),
        ({"size": [H, W], "counts": [5, 5]}, "does not add up"),
        ({"size": [H, W], "counts": [W * H + 5, -5]}, "does not add up"),
        ({"size": [H, W], "counts": [W * H]}, "its mask is empty"),
        ({"size": [H], "counts": [H]}, "no size of two numbers"),
        ({"size": [H, W], "counts": "oooo"}, "not in COCO's compressed form"),
    ],
)
def test_an_object_that_cannot_be_read_is_refused_by_name_and_the_others_are_kept(tmp_path, segmentation, said):
    found = read(tmp_path, [annotation(1, INSIDE), annotation(31, segmentation), annotation(3, INSIDE)])
    (refused,) = found.refused
    assert refused.startswith("annotation 31: ")
    assert said in refused
    assert len(found.objects.classes) == 2


def test_one_polygon_may_stand_without_a_list(tmp_path):
    assert pixels(read(tmp_path, [annotation(1, INSIDE[0])]).objects, 1).sum() == 36


def test_a_polygon_across_the_border_is_clipped_and_counted(tmp_path):
    over, touching = [[18, 2, 30, 2, 30, 8, 18, 8]], [[18, 10, W + 0.5, 10, W + 0.5, 15, 18, 15]]
    found = read(tmp_path, [annotation(1, over), annotation(2, touching)])
    assert (found.clipped, found.refused) == (1, [])
    assert pixels(found.objects, 1)[2:8, 18:].all() and pixels(found.objects, 1).sum() == 30


def test_categories_become_consecutive_classes(tmp_path):
    categories = [{"id": 30, "name": "b"}, {"id": 4, "name": "a"}, {"id": 9, "name": "never"}]
    annotations = [annotation(1, INSIDE, 30), annotation(2, INSIDE, 4)]
    path = tmp_path / "c.json"
    images = [{"id": 7, "file_name": "a.png"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    file = CocoFile(path)
    assert file.classes == {"a": 1, "b": 2}
    assert file.notes == ["without annotations, skipped: never"]
    assert file.objects(file.images[0], (H, W)).objects.classes.tolist() == [2, 1]
    file = CocoFile(path, ["b"])
    assert file.classes == {"b": 1} and file.notes == ["not selected: a, never"]
    assert file.objects(file.images[0], (H, W)).objects.classes.tolist() == [1]
    assert CocoFile(path, ["never", "b"]).classes == {"never": 1, "b": 2}


def test_annotations_of_unlisted_images_are_told(tmp_path):
    stray = annotation(2, INSIDE) | {"image_id": 99}
    assert coco_file(tmp_path, [annotation(1, INSIDE), stray]).notes[0] == (
        "1 annotation of images that instances.json does not list, skipped"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"annotations": [annotation(5, INSIDE, 9)]}, "Annotation 5 .* has category_id 9, .* have the ids 1, 2"),
        ({"images": [{"id": 7, "file_name": "a"}, {"id": 7, "file_name": "b"}]}, "Two images .* the id 7"),
        ({"images": [{"id": 7, "file_name": "a"}, {"id": 8, "file_name": "a"}]}, "Two images .* file_name 'a'"),
        ({"images": [{"id": 7}]}, r"file_name of images\[0\] \(id 7\) in .* is missing, but it must be a text"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "Two categories .* the name 'a'"),
        ({"categories": [{"id": 1}]}, r"name of categories\[0\] \(id 1\) in .* is missing"),
    ],
)
def test_a_json_that_contradicts_itself_is_refused(tmp_path, content, said):
    options = {"annotations": [], **content}
    with pytest.raises(InputError, match=said):
        path = tmp_path / "x.json"
        base = {
            "images": [{"id": 7, "file_name": "a.png"}],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        }
        path.write_text(json.dumps({**base, **options}))
        CocoFile(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not valid JSON"), ("[]", "has no images"), ('{"images": []}', "no annotations, categories")],
)
def test_another_file_than_coco_json_is_refused(tmp_path, text, said):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        CocoFile(path)
    with pytest.raises(InputError, match="cannot be read"):
        CocoFile(tmp_path / "missing.json")


def test_an_unknown_class_is_refused_with_the_names_there_are(tmp_path):
    with pytest.raises(InputError, match="no category 'cells'; it has cell, nucleus"):
        coco_file(tmp_path, [annotation(1, INSIDE)], classes=["cells"])
