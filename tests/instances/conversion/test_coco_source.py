"""COCO json becomes a data set whose objects are those of the json; broken ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import convert
from maskmed_nnu.instances.conversion.sources import CocoSource
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO
from tests.instances.conversion.source_files import (
    coco,
    description,
    labels,
    nothing_left,
    objects_of,
    picture,
    save,
    square,
    target,
)


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
    objects, _ = InstanceIO().read_instances(str(folder / "labelsTr" / "a.tif"))
    areas = {i: int((objects.ids == i).sum()) for i in (1, 2, 3)}
    assert areas == {1: 100, 2: 100, 3: 9} and objects.classes.tolist() == [1, 1, 2]
    assert (objects.stuff == 2).sum() == 64 and (objects.stuff[0, 20:28, 20:28] == 2).all()
    assert any(line.startswith("crowd      1 image with") for line in lines)
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
    assert "clipped    1 object drawn beyond the image, clipped at its border" in lines
    assert "refused    25 objects:" in lines
    assert any("a.png: annotation 3: it is completely outside the image of 40 × 30 pixels" in line for line in lines)
    assert lines[-1].strip() == "and 5 more, listed in conversion.txt of the data set"
    assert (folder / "conversion.txt").read_text().count("completely outside") == 25


def test_only_refused_objects_make_no_data_set(tmp_path):
    json_file, images = coco(tmp_path, [square(2, 200, 10)])
    with pytest.raises(InputError, match="No image has an object .*annotation 1: it is completely outside"):
        convert(CocoSource(json_file, images), target(tmp_path))
    assert nothing_left(tmp_path)


@pytest.mark.slow
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
    objects, _ = InstanceIO().read_instances(str(folder / "labelsTr" / "a.tif"))
    assert np.bincount(objects.classes).tolist() == [0, 10_000, 10_000]


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
        objects, _ = InstanceIO().read_instances(str(folder / "labelsTr" / f"{Path(image['file_name']).stem}.tif"))
        written = [(c, (objects.ids == i).any(axis=(0, 1))) for i, c in enumerate(objects.classes, 1)]
        truth = [
            (numbers[a["category_id"]], coco_mask.decode(a["segmentation"]) > 0)
            for a in content["annotations"]
            if a["image_id"] == image["id"] and a["category_id"] in numbers
        ]
        assert sorted((c, m.tobytes()) for c, m in written) == sorted((c, m.tobytes()) for c, m in truth)


@pytest.mark.parametrize(("objects", "divisor"), [(499, 1000), (500, 10_000), (5000, 100_000)])
def test_the_divisor_leaves_room_for_denser_images(tmp_path, objects, divisor):
    common = {"image_id": 0, "iscrowd": 0}
    places = [{"size": [80, 80], "counts": [n, 1, 80 * 80 - n - 1]} for n in range(objects + 1)]
    annotations = [
        {"id": n, "category_id": 1 + (n == objects), "segmentation": place, **common} for n, place in enumerate(places)
    ]
    content = {
        "images": [{"id": 0, "file_name": "a.png"}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "nucleus"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    save(tmp_path / "a.png", np.zeros((80, 80), np.uint8))
    folder = target(tmp_path)
    convert(CocoSource(tmp_path / "x.json", tmp_path), folder)
    assert description(folder)["label_divisor"] == divisor
