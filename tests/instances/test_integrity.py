"""Faults of label files that can be read."""

from __future__ import annotations

import numpy as np
import pytest

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
    assert (found.faults, found.notes) == ([], [])


def test_objects_in_pieces_are_named_with_their_sizes() -> None:
    raw = np.array([squares((40, 0, 0, 4), (40, 20, 20, 6), (40, 10, 0, 5), (300, 0, 20, 3), (41, 15, 15, 3))])
    assert (
        check_label_map(raw, NUCLEI)
        .faults[0]
        .startswith("Not in one piece: object 40 (3 pieces of 36, 25, 16 pixels); give")
    )


def test_the_other_layers_count_too() -> None:
    raw = np.array([squares((1007, 0, 0, 9)), squares((2005, 0, 0, 2), (2005, 9, 9, 2))])
    assert "object 2005 (2 pieces of 4, 4 pixels)" in check_label_map(raw, PANOPTIC).faults[0]


def test_an_object_cut_by_another_is_in_pieces() -> None:
    layer = squares((1, 0, 0, 9))
    layer[4] = 2
    assert "object 1 (2 pieces of 36, 36 pixels)" in check_label_map(layer[None], NUCLEI).faults[0]


def test_ids_that_wrapped_in_8_bits_are_found() -> None:
    ids = np.zeros((64, 64), np.uint16)
    ids[::3, ::3] = np.arange(1, 22 * 22 + 1).reshape(22, 22)
    assert check_label_map(ids[None], NUCLEI).faults == []
    (fault,) = check_label_map(ids[None].astype(np.uint8), NUCLEI).faults
    assert "object 1 (2 pieces of 1, 1 pixels)" in fault
    assert "and 223 more" in fault


def test_stray_pixels_are_noted_only() -> None:
    found = check_label_map(np.array([squares((5, 0, 0, 10), (5, 20, 20, 2))]), NUCLEI)
    assert found.faults == []
    assert found.notes == ["Stray pixels apart from their object, which may stay: ids 5."]


def test_volumes_are_connected_across_slices() -> None:
    volume = np.stack([squares((1, 0, 0, 5)), squares((1, 4, 4, 5)), squares()])
    assert check_label_map(volume[None], NUCLEI).faults == []
    assert "2 pieces" in check_label_map(volume[None, [0, 2, 1]], NUCLEI).faults[0]


def test_more_objects_than_can_be_trained_on() -> None:
    ids = np.arange(1, 181 * 182 + 1, dtype=np.uint16).reshape(1, 181, 182)
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
