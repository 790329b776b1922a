"""Regions that hold each other, and objects of a stack by whether each slice found them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageColor

from maskmed_nnu.instances import formats
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.nnunet.evaluation.case_layers import FOUND, INVENTED, MISSED, view_classes, view_objects
from maskmed_nnu.nnunet.evaluation.object_validation import score_objects
from maskmed_nnu.nnunet.evaluation.validated_cases import ValidatedCase
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.visualization.case_pictures import distinct_colours


def case_of(folder, *, truth, found, image, ending: str) -> ValidatedCase:
    files = [folder / f"{name}{ending}" for name in ("truth", "found", "image")]
    for file, values in zip(files, (truth, found, image), strict=True):
        formats.write(file, values)
    return ValidatedCase("c", "c", "0", files[1], files[0], (files[2],))


def near(picture, colour: str, share: float = 1.0) -> np.ndarray:
    """Where a picture on black has ``share`` of a colour."""
    rgb = np.asarray(Image.open(io.BytesIO(picture.jpeg))).astype(float)
    return np.abs(rgb - share * np.array(ImageColor.getrgb(colour))).max(-1) < 40


def test_a_region_is_drawn_over_the_one_that_holds_it(tmp_path):
    truth = np.zeros((40, 40), np.uint8)
    truth[5:35, 5:35], truth[15:25, 15:25] = 1, 2
    case = case_of(tmp_path, truth=truth, found=truth, image=np.zeros_like(truth), ending=".png")
    whole, core = distinct_colours(2)
    (picture,) = view_classes(case, Classes({"whole": (1, 2), "core": (2,)})).planes
    place = lambda row, column: (round(row / 40 * picture.height), round(column / 40 * picture.width))  # noqa: E731
    assert near(picture, whole)[: place(6, 0)[0]].any() and near(picture, whole, 0.4)[place(10, 10)]
    assert not near(picture, whole, 0.4)[place(20, 20)]  # tinted twice
    assert near(picture, core)[place(15, 15)[0] + 1, place(20, 20)[1]]


def test_objects_of_a_stack(tmp_path):
    truth, found = np.zeros((2, 3, 60, 60), np.uint8)
    truth[:, 5:20, 5:20], truth[:, 40:55, 5:20] = 1, 2
    found[1, 5:20, 5:20], found[1, 40:55, 40:55] = 4, 6
    case = case_of(tmp_path, truth=truth, found=found, image=np.zeros(truth.shape, np.uint16), ending=".tif")
    label_format = LabelFormat({"cell": 1})
    view = view_objects(case, label_format, [1])
    assert not view.placed and len(view.planes) == 3
    middle = view.slices[[one.name for one in view.slices].index("z 2 of 3")]
    corner = lambda mask: mask.nonzero()[0].mean() < 180, lambda mask: mask.nonzero()[1].mean() < 180
    for colour, share, top, left in ((FOUND, 1, True, True), (INVENTED, 1, False, False), (MISSED, 0.4, False, True)):
        mask = near(middle, colour, share)
        assert mask.sum() > 50 and (corner[0](mask), corner[1](mask)) == (top, left)
    first = view.slices[0]
    assert not near(first, FOUND).any() and near(first, MISSED, 0.4).sum() > 5000  # nothing was found there

    scores = score_objects([case], tmp_path, label_format, stuff_classes=[])
    assert {(one.what, one.size) for one in scores.failures} == {
        ("missed", "5 of 6 objects"), ("invented", "1 object"),
    }  # fmt: skip
    assert scores.metrics["F1@0.5"]["cell"]["c"] == 2 / (2 + 1 + 5)


def test_objects_in_space(tmp_path):
    """One that is found in a single slice of three is missed in all."""
    truth, found = np.zeros((2, 3, 60, 60), np.uint8)
    truth[:, 5:20, 5:20], truth[:, 40:55, 5:20] = 1, 2
    found[:, 5:20, 5:20], found[1, 40:55, 5:20] = 4, 6
    case = case_of(tmp_path, truth=truth, found=found, image=np.zeros(truth.shape, np.uint16), ending=".tif")
    view = view_objects(case, LabelFormat({"cell": 1}), [1], in_space=True)
    middle = view.slices[[one.name for one in view.slices].index("z 2 of 3")]
    assert near(middle, FOUND).any() and near(middle, INVENTED).any() and near(middle, MISSED, 0.4).any()
    scores = score_objects([case], tmp_path, LabelFormat({"cell": 1}), stuff_classes=[], in_space=True)
    assert {(one.what, one.size) for one in scores.failures} == {
        ("missed", "1 of 2 objects"), ("invented", "1 object"),
    }  # fmt: skip
    assert scores.metrics["F1@0.5"]["cell"]["c"] == 0.5
