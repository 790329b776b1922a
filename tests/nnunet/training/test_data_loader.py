"""Where patches are placed, and how often an object is drawn."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from maskmed_nnu.nnunet.training import data_loader
from maskmed_nnu.nnunet.training.data_augmentation import initial_patch_size, training_transforms
from maskmed_nnu.nnunet.training.data_loader import InstanceDataLoader, draw_start


class Cases:
    """One case in memory, as nnU-Net's data sets give it."""

    identifiers = ["case"]

    def __init__(self, data: np.ndarray, seg: np.ndarray, rows: dict) -> None:
        self.case = data, seg, None, {"class_locations": rows}

    def load_case(self, identifier: str) -> tuple:
        return self.case


def make_case(boxes: list[tuple[int, ...]], shape: tuple[int, int, int] = (1, 100, 120), class_number: int = 1):
    seg = np.zeros((2, *shape), np.int16)
    rows = []
    for number, (z, y0, x0, y1, x1) in enumerate(boxes, start=1):
        seg[0, z, y0:y1, x0:x1], seg[1, z, y0:y1, x0:x1] = class_number, number
        rows.append((number, z, y0, x0, y1, x1))
    data = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return Cases(data, seg, {class_number: np.array(rows, np.int32).reshape(-1, 6)})


def loader(cases: Cases, patch=(32, 48), *, initial=None, foreground=1.0, transforms=None, batch_size=2):
    labels = LabelManager({"background": 0, "cell": 1}, None)
    return InstanceDataLoader(
        cases, batch_size, initial or patch, patch, labels, oversample_foreground_percent=foreground,
        transforms=transforms,
    )  # fmt: skip


BOXES = [(0, 0, 0, 2, 2), (0, 20, 30, 50, 75), (0, 98, 117, 100, 120)]


def test_a_small_object_is_drawn_as_often_as_a_large_one():
    np.random.seed(0)
    cases = make_case(BOXES)
    batches = loader(cases, batch_size=300)
    target = next(batches)["target"].numpy()
    whole = [(target[:, 1] == number).sum((1, 2)) == size for number, size in ((1, 4), (2, 30 * 45), (3, 6))]
    # they are too far apart for one patch to show two of them whole
    assert (np.sum(whole, 0) == 1).all()
    assert np.allclose(np.mean(whole, 1), 1 / 3, atol=0.09)
    places = {tuple(np.argwhere(patch == 2)[0]) for patch in target[whole[1], 1]}
    assert len(places) > 5  # not always in the centre


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_patches_stay_within_a_larger_image(foreground: float):
    np.random.seed(1)
    batch = next(loader(make_case(BOXES), batch_size=100, foreground=foreground))
    assert batch["data"].shape == (100, 1, 32, 48) and batch["target"].shape == (100, 2, 32, 48)
    assert batch["target"].min() == 0


def test_an_image_smaller_than_the_patch_is_shown_whole():
    np.random.seed(2)
    target = next(loader(make_case([(0, 3, 3, 9, 9)], shape=(1, 20, 200)), batch_size=20))["target"].numpy()
    assert ((target[:, 1] == 1).sum((1, 2)) == 36).all()
    assert ((target[:, 0] == -1).sum((1, 2)) == 12 * 48).all()


def test_an_object_larger_than_the_patch_fills_it():
    np.random.seed(3)
    target = next(loader(make_case([(0, 10, 10, 90, 110)]), batch_size=20))["target"]
    assert (target[:, 1] == 1).all()


def test_slices_of_a_volume():
    np.random.seed(4)
    cases = make_case([(2, 5, 5, 9, 9), (7, 60, 60, 70, 70)], shape=(9, 80, 90))
    target = next(loader(cases, batch_size=200))["target"].numpy()
    assert target.shape == (200, 2, 32, 48)
    assert set(target[:, 1].max((1, 2)).tolist()) == {1, 2}
    assert next(loader(cases, batch_size=50, foreground=0.0))["target"].numpy()[:, 1].max((1, 2)).min() == 0


def make_volume(boxes: list[tuple[int, ...]], shape: tuple[int, int, int] = (20, 60, 70)):
    seg = np.zeros((2, *shape), np.int16)
    for number, (z0, y0, x0, z1, y1, x1) in enumerate(boxes, start=1):
        seg[0, z0:z1, y0:y1, x0:x1], seg[1, z0:z1, y0:y1, x0:x1] = 1, number
    rows = np.array([(number, *box) for number, box in enumerate(boxes, start=1)], np.int32).reshape(-1, 7)
    return Cases(np.zeros((1, *shape), np.float32), seg, {1: rows})


def test_patches_of_a_volume_show_the_object_whole():
    np.random.seed(4)
    boxes = [(0, 0, 0, 3, 4, 5), (9, 30, 30, 15, 40, 50), (18, 56, 66, 20, 60, 70)]
    cases = make_volume(boxes)
    target = next(loader(cases, patch=(8, 24, 32), batch_size=300))["target"].numpy()
    sizes = [60, 6 * 10 * 20, 2 * 4 * 4]
    whole = [(target[:, 1] == number).sum((1, 2, 3)) == size for number, size in enumerate(sizes, start=1)]
    assert target.shape == (300, 2, 8, 24, 32) and (np.sum(whole, 0) == 1).all() and target.min() == 0
    assert np.allclose(np.mean(whole, 1), 1 / 3, atol=0.09)
    places = np.array([np.argwhere(patch == 2)[0] for patch in target[whole[1], 1]])
    assert (np.ptp(places, 0) > (1, 8, 8)).all()  # anywhere in the patch
    # an object larger than the patch fills it, a volume smaller than the patch is shown whole
    assert (next(loader(cases, patch=(4, 8, 8), batch_size=60))["target"][:, 1] == 2).flatten(1).all(1).sum() > 10
    padded = next(loader(cases, patch=(32, 64, 80), batch_size=2))["target"].numpy()
    assert ((padded[:, 1] > 0).sum((1, 2, 3)) == sum(sizes)).all() and padded.min() == -1


def test_examples():
    assert doctest.testmod(data_loader).failed == 0


def test_images_without_objects():
    assert next(loader(make_volume([]), patch=(8, 24, 32)))["target"].max() == 0

    assert next(loader(make_case([])))["target"].max() == 0


def test_the_margin_for_augmentation_is_cut_off_again():
    """Whatever the scale did not touch shows the object whole, so the patch is the centre of what was cut out."""
    np.random.seed(5)
    initial = initial_patch_size((32, 48), (1, 1))
    cut = next(loader(make_case(BOXES), initial=initial, batch_size=50))["target"]
    assert list(cut.shape[2:]) == initial == [48, 72]
    batches = loader(make_case(BOXES), initial=initial, batch_size=50, transforms=training_transforms((32, 48), (1, 1)))
    target = next(batches)["target"].numpy()
    areas = {1: 4, 2: 30 * 45, 3: 6}
    whole = sum((target[:, 1] == number).sum((1, 2)) == area for number, area in areas.items())
    assert target.shape == (50, 2, 32, 48) and whole.sum() >= 20  # half of the samples keep their scale


def test_every_place_that_shows_the_object_is_possible():
    np.random.seed(6)
    assert {draw_start(10, 30, (12, 18)) for _ in range(200)} == set(range(8, 13))
    assert {draw_start(10, 30, (0, 4)) for _ in range(200)} == {0}
    assert {draw_start(10, 30, (5, 18)) for _ in range(200)} == set(range(5, 9))
    assert {draw_start(10, 7, None) for _ in range(200)} == set(range(-3, 1))
