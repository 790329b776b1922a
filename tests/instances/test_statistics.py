"""Statistics against a loop over objects, and what merging must not change."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from maskmed_nnu.instances import boxes, class_layers, statistics
from maskmed_nnu.instances.class_layers import assign_layers, stack_class_layers
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.statistics import measure, merge, summarise
from tests.instances.cells import CLASSES, draw_cells


def masks_of(objects: InstanceMap) -> list[np.ndarray]:
    return [(objects.ids == number).any(0) for number in range(1, len(objects.classes) + 1)]


def overlapping_pairs(objects: InstanceMap) -> list[tuple[int, int]]:
    masks = masks_of(objects)
    return [
        (a, b)
        for b in range(len(masks))
        for a in range(b)
        if objects.classes[a] == objects.classes[b] and (masks[a] & masks[b]).any()
    ]


@pytest.mark.parametrize("module", [boxes, class_layers, statistics])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("overlapping", "classes"), [(False, 1), (True, 2), (True, 3)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (3.0, 0.5, 1.0)])
def test_same_as_a_loop_over_objects(overlapping, classes, spacing):
    rng, shape = np.random.default_rng(1), {2: (96, 112), 3: (14, 40, 48)}[len(spacing)]
    _, objects = draw_cells(rng, shape=shape, overlapping=overlapping, classes=classes, count=20)
    table = measure(objects, num_classes=classes, spacing=spacing)
    masks = masks_of(objects)
    places = [np.argwhere(mask) for mask in masks]
    np.testing.assert_array_equal(table.classes, objects.classes)
    np.testing.assert_allclose(table.areas, [len(place) * np.prod(spacing) for place in places])
    edges = [(place.max(0) - place.min(0) + 1) * spacing for place in places]
    np.testing.assert_allclose(table.extents, edges)

    centres = np.array([place.mean(0) for place in places]) * spacing
    distances = cdist(centres, centres) + np.diag([np.inf] * len(centres))
    distances[objects.classes[:, None] != objects.classes] = np.inf
    np.testing.assert_allclose(table.spacings, distances.min(1))

    for number in range(1, classes + 1):
        mine = [mask for mask, kind in zip(masks, objects.classes, strict=True) if kind == number]
        assert table.counts[0, number - 1] == len(mine)
        assert table.depths[0, number - 1] == np.max(np.sum(mine, axis=0), initial=0)
        assert table.unindexed[0, number - 1] == (objects.stuff == number).sum()


def test_objects_of_a_volume_that_its_border_cuts_off():
    """They would pass for small ones; what reaches from border to border is as large as one can see."""
    ids = np.zeros((1, 8, 20, 30), np.int32)
    ids[0, 0:2, 5:9, 5:9], ids[0, 3:6, 10:14, 10:14], ids[0, :, 0:3, 20:26] = 1, 2, 3
    objects = InstanceMap(ids, np.ones(3, np.int64), np.zeros((8, 20, 30), np.int32))
    table = measure(objects, num_classes=1, spacing=(5.0, 1.0, 1.0))
    assert table.cut.tolist() == [[True, False, False], [False] * 3, [False, True, False]]
    assert table.spans.tolist() == [2, 3, 8] and table.sizes.tolist() == [[40, 20, 30]]
    cell = summarise(table, {"cell": 1})["classes"]["cell"]
    assert (cell["extent"]["z"]["min"], cell["extent"]["z"]["max"], cell["extent"]["y"]["min"]) == (15, 40, 4)
    assert cell["spans"]["50"] == 3 and cell["area"]["min"] == 2 * 16 * 5 and cell["objects_per_slice"]["max"] == 3
    # where all are cut off, that is all there is to know
    alone = InstanceMap(np.where(ids == 1, 1, 0), np.ones(1, np.int64), objects.stuff)
    assert (
        summarise(measure(alone, num_classes=1, spacing=(5.0, 1.0, 1.0)), {"cell": 1})["all"]["extent"]["z"]["50"] == 10
    )
    assert not measure(objects, num_classes=1).cut.any()  # slices count as they are seen
    # of one that is cut off along an axis of the plane the other edge counts
    corner = np.zeros((1, 8, 20, 30), np.int32)
    corner[0, 2:5, 0:3, 5:12], corner[0, 2:5, 8:13, 0:2] = 1, 2
    two = InstanceMap(corner, np.ones(2, np.int64), objects.stuff)
    extent = summarise(measure(two, num_classes=1, spacing=(5.0, 1.0, 1.0)), {"cell": 1})["all"]["extent"]
    assert (extent["shorter"]["min"], extent["longer"]["max"]) == (5, 7)


def test_each_slice_of_a_volume_is_an_image():
    rng = np.random.default_rng(2)
    slices = [draw_cells(rng, count=count)[1].ids[0] for count in (9, 0, 3)]
    ids = np.stack([np.where(one > 0, one + 20 * z, 0) for z, one in enumerate(slices)])
    present, ids = np.unique(ids, return_inverse=True)
    objects = InstanceMap(ids.reshape(1, 3, 96, 112), np.ones(len(present) - 1, np.int64), np.zeros((3, 96, 112), int))
    table = measure(objects, num_classes=1)
    expected = [len(np.unique(one)) - 1 for one in slices]
    assert table.counts[:, 0].tolist() == expected and expected[1] == 0
    assert len(table.areas) == sum(expected) and table.sizes.tolist() == [[96, 112]] * 3
    summary = summarise(table, {"cell": 1})
    assert summary["slices"] == 3 and summary["all"]["slices_without"] == 1
    assert summary["all"]["density"]["max"] == pytest.approx(max(expected) / (96 * 112), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_layers_hold_one_class_and_no_overlap(seed: int):
    rng = np.random.default_rng(seed)
    _, objects = draw_cells(rng, overlapping=True, classes=2, count=24, radius=(8, 14))
    layer = assign_layers(objects)
    pairs = overlapping_pairs(objects)
    assert pairs and all(layer[a] != layer[b] for a, b in pairs)
    assert layer.max() < len(objects.ids)
    clashing = {number for pair in pairs for number in pair}
    assert all(layer[number] == 0 for number in range(len(layer)) if number not in clashing)

    table = measure(objects, num_classes=2)
    assert table.depths[0].min() >= 1 and (table.depths <= table.layers).all()
    layer_classes = [number for number in (1, 2) for _ in range(table.layers[0, number - 1])]
    stack = stack_class_layers(objects, layer, layer_classes)
    for number, mask in enumerate(masks_of(objects), start=1):
        (where,) = np.flatnonzero((stack == number).any((1, 2)))
        assert layer_classes[where] == objects.classes[number - 1]
        np.testing.assert_array_equal(stack[where] == number, mask)
    with pytest.raises(ValueError, match="layers for class 1, there are 1"):
        stack_class_layers(objects, layer, [1, *layer_classes[table.layers[0, 0] :]])


def test_merging_changes_nothing_but_the_order():
    rng = np.random.default_rng(3)
    tables = [measure(draw_cells(rng, classes=3, overlapping=True)[1], num_classes=3) for _ in range(4)]
    together = summarise(merge(tables), CLASSES[3])
    assert together == summarise(merge([merge(tables[2:]), merge(tables[:2])]), CLASSES[3])
    assert json.loads(json.dumps(together)) == together
    assert together["all"]["objects"] == sum(len(table.classes) for table in tables)
    assert [one["kind"] for one in together["classes"].values()] == ["thing", "thing", "stuff"]
    assert together["classes"]["cell"]["overlap_depth"] >= 2
    assert together["all"]["extent"]["longer"]["95"] >= together["classes"]["nucleus"]["extent"]["longer"]["95"]


def test_no_object_anywhere():
    _, objects = draw_cells(np.random.default_rng(0), count=0)
    summary = summarise(merge([measure(objects, num_classes=1)] * 2), {"cell": 1})
    assert summary["classes"]["cell"]["kind"] == "absent" and summary["all"]["slices_without"] == 2
    assert summary["all"]["area"] is None and summary["all"]["objects_per_slice"]["max"] == 0


def test_a_crowd_is_no_stuff():
    _, objects = draw_cells(np.random.default_rng(0))
    crowd = objects.stuff.copy()
    crowd[:3] = 1
    table = measure(InstanceMap(objects.ids, objects.classes, crowd), num_classes=1)
    cell = summarise(table, {"cell": 1})["classes"]["cell"]
    assert cell["kind"] == "thing" and cell["unindexed_pixels"] == 3 * 112
