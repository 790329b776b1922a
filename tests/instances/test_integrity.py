"""Faults of label files that can be read."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.transform import resize

from maskmed_nnu.instances.annotation_quirks import Quirks
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.instances.integrity import MAX_INSTANCES, check_label_map

NUCLEI = LabelFormat({"nucleus": 1})
PANOPTIC = LabelFormat({"cytoplasm": 1, "nucleus": 2}, 1000, True)


def squares(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A layer uint16 [30, 30] with a square for each (id, y, x, side)."""
    layer = np.zeros((30, 30), np.uint16)
    for number, y, x, side in boxes:
        layer[y : y + side, x : x + side] = number
    return layer


@pytest.mark.parametrize(
    ("raw", "label_format"),
    [
        ([squares()], NUCLEI),
        ([squares((7, 0, 0, 5), (9, 5, 0, 5), (300, 5, 5, 5))], NUCLEI),  # touching
        ([squares((1, 0, 0, 5), (1, 5, 5, 5))], NUCLEI),  # one over a corner
        ([squares((2000, 0, 0, 5), (2000, 20, 20, 5), (1000, 9, 9, 2))], PANOPTIC),  # stuff may have pieces
        ([squares((1001, 0, 0, 9)), squares((1002, 4, 4, 9), (2001, 0, 0, 2))], PANOPTIC),
    ],
)
def test_no_faults(raw: list, label_format: LabelFormat) -> None:
    found = check_label_map(np.array(raw), label_format)
    assert (found.faults, found.quirks) == ([], Quirks())


@pytest.mark.parametrize(
    ("raw", "label_format", "torn"),
    [
        ([squares((40, 0, 0, 4), (40, 20, 20, 6), (40, 10, 0, 5), (300, 0, 20, 3), (41, 15, 15, 3))], NUCLEI, 1),
        ([squares((1007, 0, 0, 9)), squares((2005, 0, 0, 2), (2005, 9, 9, 2))], PANOPTIC, 1),
    ],
)
def test_objects_in_pieces_are_counted_in_every_layer(raw: list, label_format: LabelFormat, torn: int) -> None:
    found = check_label_map(np.array(raw), label_format)
    assert (found.faults, found.quirks) == ([], Quirks(torn=torn))


def test_an_object_cut_by_another_is_in_pieces() -> None:
    layer = squares((1, 0, 0, 9))
    layer[4] = 2
    assert check_label_map(layer[None], NUCLEI).quirks == Quirks(torn=1)


def test_ids_that_wrapped_in_8_bits_are_found() -> None:
    ids = np.zeros((64, 64), np.uint16)
    ids[::3, ::3] = np.arange(1, 22 * 22 + 1).reshape(22, 22)
    assert check_label_map(ids[None], NUCLEI).faults == []
    (fault,) = check_label_map(ids[None].astype(np.uint8), NUCLEI).faults
    assert fault.startswith(
        "It holds ids that overflowed: the highest one is 255, the last of 8 bits, and the ids 1, 2, 3"
    )


def test_torn_objects_among_exactly_255_are_no_evidence_of_wrapping() -> None:
    ids = np.zeros((64, 64), np.uint8)
    ids[:48:3, :48:3].flat[:255] = np.arange(1, 256)
    ids[60, :60:20] = (90, 140, 200)
    found = check_label_map(ids[None], NUCLEI)
    assert (found.faults, found.quirks.torn) == ([], 3)


def test_interpolated_ids_are_a_fault() -> None:
    blurred = resize(squares((200, 2, 2, 9), (90, 15, 15, 9)), (60, 60), preserve_range=True)
    (fault,) = check_label_map(blurred.astype(np.uint16)[None], NUCLEI).faults
    assert fault.startswith("It is not a label map") and "nearest neighbour" in fault


def test_a_ring_of_a_class_in_between_is_none() -> None:
    layer = np.zeros((30, 30), np.uint16)
    for i, (y, x) in enumerate(np.argwhere(np.ones((5, 5))) * 6):
        layer[y : y + 5, x : x + 5] = 1001 + i
        layer[y + 1 : y + 4, x + 1 : x + 4] = 2001 + i
    assert check_label_map(layer[None], PANOPTIC).faults == []


def test_stray_pixels_are_counted() -> None:
    found = check_label_map(np.array([squares((5, 0, 0, 10), (5, 20, 20, 2))]), NUCLEI)
    assert (found.faults, found.quirks) == ([], Quirks(stray=1))


def test_volumes_are_connected_across_slices() -> None:
    volume = np.stack([squares((1, 0, 0, 5)), squares((1, 4, 4, 5)), squares()])
    assert check_label_map(volume[None], NUCLEI).quirks == Quirks()
    assert check_label_map(volume[None, [0, 2, 1]], NUCLEI).quirks == Quirks(torn=1)


def test_more_objects_than_can_be_trained_on() -> None:
    ids = np.zeros((1, 2 * 181, 2 * 182), np.uint16)
    ids[:, ::2, ::2] = np.arange(1, 181 * 182 + 1).reshape(181, 182)
    assert ids.max() > MAX_INSTANCES
    assert "It holds 32942 objects, but at most 32767" in check_label_map(ids, NUCLEI).faults[0]
    ids[ids > MAX_INSTANCES] = 0
    assert check_label_map(ids, NUCLEI).faults == []


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [(np.full((1, 4, 4), -3), "negative value -3"), (np.full((1, 4, 4), 3001), "Id 3001 is of class 3")],
)
def test_what_cannot_be_decoded_is_a_fault(raw: np.ndarray, sentence: str) -> None:
    (fault,) = check_label_map(raw, PANOPTIC).faults
    assert sentence in fault
