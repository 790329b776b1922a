"""COCO documents as people and their tools write them: understood where they mean one thing, else refused in words."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskmed_nnu.cli.main import main
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.coco import CocoFile

H, W = 12, 16
NAN = float("nan")


def square(x: int, y: int, size: int = 3) -> list[list[int]]:
    return [[x, y, x + size, y, x + size, y + size, x, y + size]]


def document() -> dict:
    """Two images with two objects each, of two classes."""
    images = [
        {"id": i, "file_name": f"{n}.png", "height": H, "width": W, "license": 1} for i, n in ((1, "a"), (2, "b"))
    ]
    annotations = [
        {"id": n, "image_id": image, "category_id": 1 + n % 2, "iscrowd": 0, "segmentation": square(1 + 6 * (n % 2), n)}
        for n, image in enumerate((1, 1, 2, 2), 1)
    ]
    categories = [{"id": 1, "name": "cell", "supercategory": ""}, {"id": 2, "name": "nucleus"}]
    return {"info": {"year": "?"}, "images": images, "annotations": annotations, "categories": categories}


def read(folder: Path, content: object, classes: list[str] | None = None) -> CocoFile:
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return CocoFile(path, classes)


def counts(file: CocoFile) -> list[int]:
    return [len(file.objects(image, (H, W)).objects.classes) for image in file.images]


def every(part: str, **values: object) -> Callable[[dict], None]:
    """Change each entry; a function is called with the entry."""

    def change(content: dict) -> None:
        for entry in content[part]:
            entry.update({key: value(entry) if callable(value) else value for key, value in values.items()})

    return change


def without(part: str, key: str) -> Callable[[dict], None]:
    return lambda content: [entry.pop(key) for entry in content[part]] and None


UNDERSTOOD = {
    "image ids in quotes": every("images", id=lambda e: str(e["id"])),
    "image_id in quotes": every("annotations", image_id=lambda e: str(e["image_id"])),
    "image ids with zeros": every("images", id=lambda e: f"{e['id']:012}"),
    "image ids as pandas writes them": every("annotations", image_id=lambda e: f"{e['image_id']}.0"),
    "float image ids": every("images", id=lambda e: float(e["id"])),
    "ids that are texts": lambda c: (
        every("images", id=lambda e: f"img_{e['id']}")(c),
        every("annotations", image_id=lambda e: f"img_{e['image_id']}")(c),
    ),
    "category ids in quotes": every("categories", id=lambda e: str(e["id"])),
    "category_id in quotes": every("annotations", category_id=lambda e: f" {e['category_id']}"),
    "iscrowd in quotes": every("annotations", iscrowd="0"),
    "iscrowd is false": every("annotations", iscrowd=False),
    "iscrowd is null": every("annotations", iscrowd=None),
    "iscrowd is missing": without("annotations", "iscrowd"),
    "ids of annotations are missing": without("annotations", "id"),
    "ids of annotations are null": every("annotations", id=None),
    "sizes in quotes": every("images", width=str(W), height=f"{H}.0"),
    "float sizes": every("images", width=float(W)),
    "sizes are null": every("images", width=None, height=None),
    "sizes are missing": without("images", "width"),
    "more keys": every("annotations", area=NAN, score="high", bbox="?", keypoints=None),
    "annotations by id": lambda c: c.update(annotations={str(a["id"]): a for a in c["annotations"]}),
    "everything by id": lambda c: c.update({k: {str(e["id"]): e for e in c[k]} for k in ("images", "categories")}),
    "an image listed twice": lambda c: c["images"].append(dict(c["images"][0])),
    "a category listed twice": lambda c: c["categories"].append(dict(c["categories"][0])),
    "polygons without a list": every("annotations", segmentation=lambda e: e["segmentation"][0]),
    "points": every("annotations", segmentation=lambda e: np.reshape(e["segmentation"][0], (-1, 2)).tolist()),
    "polygons of points": every(
        "annotations", segmentation=lambda e: [np.reshape(e["segmentation"], (-1, 2)).tolist()]
    ),
    "numbers in quotes": every("annotations", segmentation=lambda e: [[str(n) for n in e["segmentation"][0]]]),
    "an empty polygon beside it": every("annotations", segmentation=lambda e: [*e["segmentation"], []]),
}


@pytest.mark.parametrize("change", UNDERSTOOD.values(), ids=UNDERSTOOD.keys())
def test_understood(tmp_path: Path, change: Callable[[dict], None]) -> None:
    content, plain = document(), read(tmp_path, document())
    change(content)
    file = read(tmp_path, content)
    assert file.classes == plain.classes == {"cell": 1, "nucleus": 2}
    for image, expected in zip(file.images, plain.images, strict=True):
        found = file.objects(image, (H, W))
        assert not found.refused
        for name in ("ids", "classes", "stuff"):
            values = getattr(plain.objects(expected, (H, W)).objects, name)
            np.testing.assert_array_equal(getattr(found.objects, name), values)


RUNS = [25, 3, H * W - 28]


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [H, W], "counts": RUNS},
        {"size": [str(H), float(W)], "counts": [str(n) for n in RUNS]},
        [{"size": [H, W], "counts": RUNS}],
        [{"size": [H, W], "counts": [25, 2, H * W - 27]}, {"size": [H, W], "counts": [26, 2, H * W - 28]}],
        {"size": [H, W], "counts": [float(n) for n in RUNS]},
    ],
)
def test_run_lengths(tmp_path: Path, segmentation: object) -> None:
    content = document()
    content["annotations"] = [{"image_id": 1, "category_id": 1, "segmentation": segmentation}]
    found = read(tmp_path, content)
    assert np.flatnonzero(found.objects(found.images[0], (H, W)).objects.ids[0].T).tolist() == [25, 26, 27]


@pytest.mark.parametrize(
    "counts", [[25.5, 3, H * W - 28.5], [2**62, 2**62, 2**62, 2**62 + H * W], [[H * W]], [None], "b''", [10**400]]
)
def test_run_lengths_that_are_none(tmp_path: Path, counts: object) -> None:
    content = document()
    content["annotations"][0]["segmentation"] = {"size": [H, W], "counts": counts}
    file = read(tmp_path, content)
    (refused,) = file.objects(file.images[0], (H, W)).refused
    assert refused.startswith("annotation 1: its ")


@pytest.mark.parametrize("value", ["1", True, 1, 1.0, "true"])
def test_crowds(tmp_path: Path, value: object) -> None:
    content = document()
    content["annotations"][0]["iscrowd"] = value
    file = read(tmp_path, content)
    assert (file.objects(file.images[0], (H, W)).objects.stuff > 0).sum() == 9


def test_repeats_are_told(tmp_path: Path) -> None:
    content = document()
    first, second, *_ = content["annotations"]
    content["annotations"] += [dict(first), {**second, "id": 9}, {**second, "id": 4, "segmentation": square(11, 8)}]
    file = read(tmp_path, content)
    assert counts(file) == [4, 2]
    assert [note.split("; ")[0] for note in file.notes] == [
        "1 annotation listed twice, counted once",
        "1 annotation with the class and mask of another one but a different id, "
        "kept as objects that overlap completely",
        "2 annotations with different masks share an id, all kept",
    ]
    assert read(tmp_path, document()).notes == []


def test_ids_that_mean_two_things_match_exactly_or_not_at_all(tmp_path: Path) -> None:
    content = document()
    content["images"][0]["id"], content["images"][1]["id"] = 1, "1"
    content["annotations"][1]["image_id"], content["annotations"][2]["image_id"] = "1", "01"
    content["annotations"][3]["image_id"] = "1"
    file = read(tmp_path, content)
    assert counts(file) == [1, 2]
    assert file.notes == ["1 annotation of images that instances.json does not list, skipped"]


REFUSED: dict[str, tuple[Callable[[dict], object], str]] = {
    "an id is null": (every("images", id=None), r"id of images\[0\] in .* is null, but .* number or a text; 1 more"),
    "an id is a list": (every("categories", id=[1]), r"id of categories\[0\] in .* is \[1\]"),
    "no file_name": (without("images", "file_name"), r"file_name of images\[0\] \(id 1\) .* is missing"),
    "empty file_name": (every("images", file_name=""), 'is "", but it must be a text that is not empty'),
    "file_name is a list": (every("images", file_name=["a.png"]), r'is \["a.png"\], but it must be a text'),
    "width is ?": (every("images", width="?"), 'width of .* is "\\?", but it must be an integer of 1 or more, or null'),
    "width is NaN": (every("images", width=NAN), "width of .* is NaN"),
    "height is 0": (every("images", height=0), "height of .* is 0"),
    "category_id is a list": (
        every("annotations", category_id=[1]),
        r"category_id of annotations\[0\] \(id 1\) .* \[1\]",
    ),
    "no image_id": (without("annotations", "image_id"), r"image_id of annotations\[0\] \(id 1\) .* is missing.*3 more"),
    "iscrowd is maybe": (every("annotations", iscrowd="maybe"), 'iscrowd of .* is "maybe", but it must be 0 or 1'),
    "no name": (every("categories", name=None), r"name of categories\[0\] \(id 1\) in .* is null"),
    "unknown category": (
        every("annotations", category_id="x"),
        'category_id "x", but its .* have the ids 1, 2',
    ),
    "unknown images": (every("annotations", image_id=7), r"No annotation .* belongs .* image_id is 7, .* the ids 1, 2"),
    "one id, two images": (every("images", id=1), "Two images .* have the id 1; it must be unique"),
    "one id, two categories": (every("categories", id=1), "Two categories .* have the id 1"),
    "boxes only": (
        every("annotations", segmentation=[], bbox=[1, 1, 3, 3]),
        r"No annotation in .* has a segmentation \(bounding boxes only\)",
    ),
    "key points only": (without("annotations", "segmentation"), "No annotation in .* has a segmentation;"),
    "no annotations": (lambda c: c.update(annotations=[]), "has no annotations"),
    "annotations are null": (lambda c: c.update(annotations=None), "has no annotations"),
    "annotations are a text": (lambda c: c.update(annotations="a.json"), 'annotations in .* is "a.json"'),
    "categories are null": (lambda c: c.update(categories=None), "4 annotations but no categories"),
    "categories are names": (
        lambda c: c.update(categories=["cell"]),
        r'categories\[0\] .* is "cell", but .* an object',
    ),
    "no images": (lambda c: c.update(images={}), r"lists no images \(images is {}\)"),
    "no categories": (lambda c: c.pop("categories"), "has no categories; COCO json holds"),
    "panoptic": (every("annotations", segments_info=[]), "COCO panoptic"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(tmp_path: Path, change: Callable[[dict], object], said: str) -> None:
    content = document()
    change(content)
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "instances.json") in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"version": "5.0.1", "flags": {}, "shapes": [], "imagePath": "a.png"}, "LabelMe"),
        ({"_via_settings": {}, "_via_img_metadata": {}}, "VGG Image Annotator"),
        ({"a.png123": {"filename": "a.png", "size": 123, "regions": []}}, "VGG Image Annotator"),
        ([{"id": 1, "data": {"image": "a.png"}, "annotations": []}], "Label Studio"),
        ({"info": {}, "categories": {}, "items": []}, "Datumaro or CVAT"),
        ({"type": "FeatureCollection", "features": []}, "QuPath"),
        ([{"type": "Feature", "geometry": {}}], "QuPath"),
        ([{"image_id": 1, "category_id": 1, "bbox": [], "score": 1}], "results alone"),
        ({"labels": {}, "file_ending": ".png"}, "dataset.json of nnU-Net"),
        ([], "has no images, annotations, categories"),
        (7, "has no images, annotations, categories"),
    ],
)
def test_another_format_is_called_by_its_name(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, content)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats()
    | st.sampled_from(["", "1", "2.0", "a.png", "0", "ä\\b"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "size", "counts"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def mixed_documents(draw: st.DrawFn) -> object:
    """A document with up to three places, anywhere, that hold another value, another type, or nothing."""
    content: object = copy.deepcopy(document())
    for _ in range(draw(st.integers(1, 3))):
        holder: object = content
        while isinstance(holder, (dict, list)) and holder:
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
            value = holder[key]
            if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 4)) == 0:
                how = draw(st.sampled_from(["drop", "repeat", "quote", "replace"]))
                if how == "drop":
                    del holder[key]
                elif how == "repeat" and isinstance(holder, list):
                    holder.append(copy.deepcopy(value))
                else:
                    holder[key] = str(value) if how == "quote" else draw(JSON)
                break
            holder = value
    return content


@given(mixed_documents())
@settings(max_examples=200, deadline=None)
def test_types_mixed_at_random_lose_nothing_without_a_word(
    tmp_path_factory: pytest.TempPathFactory, content: dict
) -> None:
    try:
        file = read(tmp_path_factory.getbasetemp(), content)
    except InputError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        return
    written = content["annotations"].values() if isinstance(content["annotations"], dict) else content["annotations"]
    crowds = sum(str(a.get("iscrowd") or 0).lower() not in ("0", "0.0", "-0.0", "false") for a in written)
    found = [file.objects(image, (H, W)) for image in file.images]
    told = sum(
        int(m[1]) for m in (re.match(r"(\d+) annotations? (?:of images|listed twice)", n) for n in file.notes) if m
    )
    accounted = sum(len(f.objects.classes) + len(f.refused) for f in found) + told
    assert accounted <= len(written) <= accounted + crowds


@given(mixed_documents())
@settings(max_examples=40, deadline=None)
def test_types_mixed_at_random_never_break_the_command(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    folder, out = tmp_path_factory.mktemp("mixed"), tmp_path_factory.mktemp("out")
    for name in ("a.png", "b.png"):
        Image.fromarray(np.arange(H * W, dtype=np.uint8).reshape(H, W)).save(folder / name)
    (folder / "x.json").write_text(json.dumps(content))
    command = ["convert", "--coco", folder / "x.json", "--images", folder, "--id", 1, "--name", "T", "--output", out]
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        status = main([*map(str, command)])
    made = out / "Dataset001_T"
    assert (status, made.is_dir()) in ((0, True), (1, False))
    assert status == 0 or said.getvalue().strip().split("\n")[-1].startswith("maskmed: ")
