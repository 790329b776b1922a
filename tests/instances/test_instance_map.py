"""Objects ⇄ the values of label files: nothing is lost, and what is not a label map of objects is refused in words."""

from __future__ import annotations

import itertools
import re
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, decode, encode, stack_layers

NUCLEI = LabelFormat({"nucleus": 1})
PANOPTIC = LabelFormat({"cytoplasm": 1, "nucleus": 2, "debris": 3}, 1000)
LAYERED = LabelFormat(PANOPTIC.classes, 1000, True)
PATIENT = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # with a busy machine


@st.composite
def objects_and_format(draw: st.DrawFn) -> tuple[InstanceMap, LabelFormat]:
    """Objects that ``PANOPTIC`` and its variants can hold: images and volumes, layers, classes, stuff, or one class."""
    label_format = draw(st.sampled_from([NUCLEI, PANOPTIC, LAYERED, LabelFormat({"a": 1}, None, True)]))
    layers = draw(st.integers(1, 3)) if label_format.overlap_layers else 1
    spatial = draw(st.sampled_from([(6, 5), (1, 7), (2, 4, 3)]))
    ids = draw(hnp.arrays(np.int32, (layers, *spatial), elements=st.integers(0, 4)))
    ids += 4 * np.arange(layers, dtype=np.int32).reshape(-1, *[1] * len(spatial)) * (ids > 0)
    found = np.unique(ids[ids > 0])
    ids = np.where(ids > 0, np.searchsorted(found, ids) + 1, 0).astype(np.int32)
    number = max(label_format.classes.values())
    classes = draw(hnp.arrays(np.int64, len(found), elements=st.integers(1, number)))
    stuff = np.zeros(spatial, np.int32)
    if label_format.label_divisor:
        stuff = draw(hnp.arrays(np.int32, spatial, elements=st.integers(0, number)))
        stuff[(ids > 0).all(axis=0)] = 0
    return InstanceMap(ids, classes, stuff), label_format


def as_a_set(objects: InstanceMap) -> list[tuple[int, bytes]]:
    """Class and pixels of every object, in an order that does not depend on the numbering."""
    return sorted((int(c), (objects.ids == i).tobytes()) for i, c in enumerate(objects.classes, 1))


@PATIENT
@given(objects_and_format())
def test_objects_survive_encoding(case: tuple[InstanceMap, LabelFormat]) -> None:
    objects, label_format = case
    raw = encode(objects, label_format)
    back = decode(raw, label_format)
    assert as_a_set(back) == as_a_set(objects)
    assert np.array_equal(back.stuff, objects.stuff)
    assert (back.ids.dtype, back.classes.dtype, back.stuff.dtype) == (np.int32, np.int64, np.int32)
    assert np.array_equal(encode(back, label_format), raw)


@PATIENT
@given(objects_and_format())
def test_semantic_map_against_its_definition(case: tuple[InstanceMap, LabelFormat]) -> None:
    objects, _ = case
    expected = objects.stuff.copy()
    for kind in range(1, 4):
        for number in np.flatnonzero(objects.classes == kind) + 1:
            expected[(objects.ids == number).any(axis=0)] = kind
    assert np.array_equal(objects.semantic(), expected)
    assert objects.semantic().dtype == np.int16


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, bool])
def test_every_type_of_whole_numbers_is_read(kind: type) -> None:
    raw = np.array([[[0, 1, 1, 0]]], kind)
    assert decode(raw, NUCLEI).ids.tolist() == [[[0, 1, 1, 0]]]


def test_ids_become_consecutive_in_the_order_of_their_values() -> None:
    objects = decode(np.array([[[2001, 0, 1007], [1002, 1007, 3000]]], np.uint32), PANOPTIC)
    assert objects.ids.tolist() == [[[3, 0, 2], [1, 2, 0]]]
    assert objects.classes.tolist() == [1, 1, 2]
    assert objects.stuff.tolist() == [[0, 0, 0], [0, 0, 3]]


@pytest.mark.parametrize("label_format", [NUCLEI, LabelFormat({"a": 1, "b": 2}, 100_000)])
def test_40000_objects_in_one_image(label_format: LabelFormat) -> None:
    ids = np.arange(1, 40_001, dtype=np.int32).reshape(1, 200, 200).repeat(3, axis=1).repeat(3, axis=2)
    classes = np.where(np.arange(40_000) < 10_000, 1, len(label_format.classes))
    start = time.process_time()
    back = decode(encode(InstanceMap(ids, classes, np.zeros((600, 600), np.int32)), label_format), label_format)
    assert time.process_time() - start < 2
    assert np.array_equal(back.ids, ids)
    assert np.array_equal(back.classes, classes)


@pytest.mark.parametrize(("divisor", "kind"), [(1000, np.uint16), (100_000, np.uint32)])
def test_the_smallest_type_is_taken(divisor: int, kind: type) -> None:
    objects = InstanceMap(np.array([[[0, 1]]], np.int32), np.array([3]), np.zeros((1, 2), np.int32))
    raw = encode(objects, LabelFormat(PANOPTIC.classes, divisor))
    assert raw.dtype == kind
    assert raw.tolist() == [[[0, 3 * divisor + 1]]]


def test_an_empty_image_has_no_objects() -> None:
    objects = decode(np.zeros((1, 4, 5), np.uint8), PANOPTIC)
    assert len(objects.classes) == 0
    assert not objects.semantic().any()
    assert not encode(objects, PANOPTIC).any()


def test_stuff_goes_on_beneath_objects_where_a_layer_is_free() -> None:
    objects = InstanceMap(np.array([[[1, 0]], [[0, 0]]], np.int32), np.array([2]), np.array([[3, 3]], np.int32))
    raw = encode(objects, LAYERED)
    assert raw.tolist() == [[[2001, 3000]], [[3000, 0]]]
    assert objects.semantic().tolist() == [[2, 3]]
    one_layer = InstanceMap(objects.ids[:1], objects.classes, objects.stuff)
    assert encode(one_layer, PANOPTIC).tolist() == [[[2001, 3000]]]  # the object wins


@pytest.mark.parametrize(
    ("raw", "label_format", "sentence"),
    [
        ([[[1001, 4002, 5001]]], PANOPTIC, r"Id 4002 \(and 1 more\) is of class 4 .* 1 cytoplasm, 2 nucleus, 3 debris"),
        ([[[17, 0]]], PANOPTIC, r"Id 17 is of class 0"),
        ([[[4000, 0]]], PANOPTIC, r"Id 4000 is of class 4"),
        ([[[-32768, 1]]], NUCLEI, r"negative value -32768"),
        ([[[0.0, 0.5, 1.0]]], NUCLEI, r"holds 0.5; ids are whole numbers"),
        ([[[0.0, np.nan]]], NUCLEI, r"holds nan; ids are whole numbers"),
        ([[[0.0, np.inf]]], NUCLEI, r"holds inf; ids are whole numbers"),
        (np.array([[[2.0**24 + 2]]], np.float32), NUCLEI, r"float32, which tells ids apart only below 16777216"),
        (np.array([[[2**32]]], np.int64), NUCLEI, r"id 4294967296; ids must fit in 32 bits"),
        (np.array([[["a"]]]), NUCLEI, r"values of type"),
        ([[[1001, 0]], [[0, 1002]], [[1001, 0]]], LAYERED, r"Id 1001 is in the layers 1, 3;"),
        ([[[2000, 0]], [[3000, 0]]], LAYERED, r"different stuff or crowd classes at the same pixel"),
    ],
)
def test_no_label_map_of_objects(raw: list | np.ndarray, label_format: LabelFormat, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        decode(np.asarray(raw), label_format)


@pytest.mark.parametrize(
    ("ids", "classes", "stuff", "label_format", "sentence"),
    [
        ([[[1]], [[2]]], [1, 1], [[0]], NUCLEI, "need 2 layers, but .*overlap_layers"),
        ([[[1]]], [4], [[0]], PANOPTIC, "the classes 4, which dataset.json does not declare"),
        ([[[0]]], [], [[1]], NUCLEI, "no label_divisor"),
        ([[[1, 2, 3]]], [2, 2, 2], [[0, 0, 0]], LabelFormat({"a": 1, "b": 2}, 3), "3 objects of one class.*room for 2"),
    ],
)
def test_what_a_format_cannot_hold(
    ids: list, classes: list, stuff: list, label_format: LabelFormat, sentence: str
) -> None:
    objects = InstanceMap(np.array(ids, np.int32), np.array(classes, np.int64), np.array(stuff, np.int32))
    with pytest.raises(InputError, match=sentence):
        encode(objects, label_format)


def test_index_fills_the_divisor_to_the_last_but_one() -> None:
    objects = InstanceMap(np.array([[[1, 2]]], np.int32), np.array([1, 1]), np.zeros((1, 2), np.int32))
    assert encode(objects, LabelFormat({"a": 1, "b": 2}, 3)).tolist() == [[[4, 5]]]


def test_format_from_dataset_json() -> None:
    labels = {"background": 0, "b": 2, "a": 1}
    found = LabelFormat.from_dataset_json({"labels": labels, "label_divisor": 1000, "overlap_layers": True})
    assert found == LabelFormat({"a": 1, "b": 2}, 1000, True)
    assert LabelFormat.from_dataset_json({"labels": {"background": 0, "a": "1"}}) == LabelFormat({"a": 1}, None, False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": {"a": 1}}, "has no background"),
        ({"labels": {"background": 0}}, "there must be a class"),
        ({"labels": {"background": 0, "a": 1, "b": 2}}, "2 classes (a, b) but no label_divisor"),
        ({"labels": {"background": 0, "a": 1, "b": 3}, "label_divisor": 9}, "no class has 2"),
        ({"labels": {"background": 0, "a": 1, "b": 1}, "label_divisor": 9}, "numbers its classes 1, 2, 3"),
        ({"labels": {"0": "background", "1": "a"}}, 'names before numbers: {"background": 0, "a": 1}'),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}, "label_divisor": 9}, "no regions"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "ignore label"),
        ({"label_divisor": 1}, "label_divisor in dataset.json is 1;"),
        ({"label_divisor": "1000"}, "label_divisor in dataset.json is '1000'"),
        ({"label_divisor": 2**31}, "from 2 to 2147483647"),
        ({"overlap_layers": 1}, "overlap_layers in dataset.json is 1;"),
    ],
)
def test_dataset_json_that_declares_no_objects(change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        LabelFormat.from_dataset_json({"labels": {"background": 0, "a": 1}} | change)


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5), st.integers(1, 5))))
def test_stacked_layers_keep_every_object_whole(rectangles: list[tuple]) -> None:
    crops = [((slice(y, y + h), slice(x, x + w)), np.ones((h, w), bool)) for y, x, h, w in rectangles]
    depth = np.zeros((14, 14), int)
    for box, _ in crops:
        depth[box] += 1
    layers = stack_layers(crops, (14, 14))
    assert layers.dtype == np.int32
    assert np.array_equal((layers > 0).sum(axis=0), depth)
    assert (len(layers) == 1) == (depth.max() <= 1)
    for number, (box, mask) in enumerate(crops, 1):
        where = np.argwhere(layers == number)
        assert len(np.unique(where[:, 0])) == 1
        assert (layers[where[0, 0]][box] == number).all()
        assert len(where) == mask.sum()


def test_stacking_takes_the_first_free_layer() -> None:
    crops = [((slice(0, 4),), np.ones(4)), ((slice(2, 6),), np.ones(4)), ((slice(4, 8),), np.array([1, 1, 0, 1]))]
    assert stack_layers(crops, (8,)).tolist() == [[1, 1, 1, 1, 3, 3, 0, 3], [0, 0, 2, 2, 2, 2, 0, 0]]
    assert stack_layers([], (2, 3)).tolist() == [[[0, 0, 0], [0, 0, 0]]]


def test_stacking_is_fast_for_dense_images() -> None:
    circle = np.hypot(*np.mgrid[-8:9, -8:9]) <= 8
    corners = itertools.product(range(0, 1000, 12), range(0, 1000, 12))
    crops = [((slice(y, y + 17), slice(x, x + 17)), circle) for y, x in corners]
    start = time.process_time()
    layers = stack_layers(crops, (1024, 1024))
    assert time.process_time() - start < 3
    assert sum(len([box for box in ndimage.find_objects(layer) if box]) for layer in layers) == len(crops) > 7000
