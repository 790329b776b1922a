"""What the plans say about mirroring: permutations of labels, classes and regions, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.mirroring import Mirroring, mirroring_of

LABELS = LabelManager({"background": 0, "liver": 1, "left": 2, "right": 3, "top": 4, "bottom": 5, "ignore": 6}, None)
BOTH = Mirroring((0, 1, 2), {1: ((4, 5),), 2: ((2, 3),)})


def read(section: dict | None, *, dimension: int = 3, labels: LabelManager = LABELS) -> Mirroring:
    configuration = {"patch_size": [8] * dimension}
    if section is not None:
        configuration["mirroring"] = section
    return mirroring_of({"plans_name": "P", "dataset_name": "D", "configurations": {}}, configuration, labels)


def test_plans_without_the_section_mirror_every_axis():
    assert read(None) == Mirroring((0, 1, 2), {}) and read(None, dimension=2) == Mirroring((0, 1), {})


def test_the_section_is_read_as_written():
    found = read({"axes": [2, 0, 1], "swap": {"2": [[2, 3]], "1": [[4, 5]], "0": []}, "reasons": {"2": "why"}})
    assert found == BOTH


@pytest.mark.parametrize(
    ("axes", "expected"),
    [((), {}), ((0,), {}), ((2,), {2: 3, 3: 2}), ((1, 2), {2: 3, 3: 2, 4: 5, 5: 4}), ((0, 1, 2), BOTH.swapped((2, 1)))],
)
def test_labels_that_change_along_several_axes(axes, expected):
    assert BOTH.swapped(axes) == expected


def test_two_axes_that_exchange_the_same_labels_do_so_one_after_the_other():
    corners = Mirroring((0, 1), {0: ((1, 2), (3, 4)), 1: ((1, 3), (2, 4))})
    assert corners.swapped((0, 1)) == corners.swapped((1, 0)) == {1: 4, 2: 3, 3: 2, 4: 1}


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.int64, torch.float32])
def test_relabelling_twice_is_nothing_and_leaves_others_alone(dtype):
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 8, (2, 5, 6, 7))).to(dtype)
    once = BOTH.relabel(labels, (1, 2))
    assert once.dtype == dtype and not torch.equal(once, labels)
    assert torch.equal(BOTH.relabel(once, (2, 1)), labels)
    for before, after in {0: 0, 1: 1, 2: 3, 3: 2, 4: 5, 5: 4, 6: 6, 7: 7}.items():
        assert torch.equal(labels == before, once == after)
    assert BOTH.relabel(labels, (0,)) is labels


def test_padding_of_minus_one_stays():
    labels = torch.tensor([-1, 0, 2, 3], dtype=torch.int16)
    assert BOTH.relabel(labels, (2,)).tolist() == [-1, 0, 3, 2]


def test_the_order_of_classes_and_regions():
    assert BOTH.order(list(map(np.int64, range(6))), (2,)) == [0, 1, 3, 2, 4, 5]
    assert BOTH.order([(1, 2, 3), (2, 3), 2, 3], (2,)) == [0, 1, 3, 2]
    assert BOTH.order([(1, 2), (2, 3), 1], (2,)) is None, "liver and right is not a region"
    assert BOTH.order([(1, 2), (2, 3), 1], (1,)) == [0, 1, 2]


REFUSED = {
    "twice": ({"axes": [0, 1, 2], "swap": {"2": [[2, 3], [3, 4]]}}, "each label appears once"),
    "itself": ({"axes": [0, 1, 2], "swap": {"2": [[2, 2]]}}, "each label appears once"),
    "three": ({"axes": [0, 1, 2], "swap": {"2": [[2, 3, 4]]}}, "pairs of labels"),
    "map": ({"axes": [0, 1, 2], "swap": {"2": {"2": 3, "3": 4}}}, "pairs of labels"),
    "unknown label": ({"axes": [0, 1, 2], "swap": {"2": [[2, 9]]}}, "swap the label 9 .* are .*1, 2, 3, 4, 5"),
    "ignore": ({"axes": [0, 1, 2], "swap": {"2": [[2, 6]]}}, "label 6"),
    "background": ({"axes": [0, 1, 2], "swap": {"2": [[0, 6]]}}, "pairs of labels"),
    "no such axis": ({"axes": [0, 3], "swap": {}}, "the axis 3, but a patch of 3 dimensions has the axes 0, 1, 2"),
    "an axis twice": ({"axes": [0, 0], "swap": {}}, "names each axis once"),
    "not mirrored": ({"axes": [0, 1], "swap": {"2": [[2, 3]]}}, "among the mirrored ones"),
    "a word": ({"axes": [0, 1], "swap": {"x": [[2, 3]]}}, "among the mirrored ones"),
    "axes": ({"axes": "all"}, "a list of integers of 0 or more"),
    "order": ({"axes": [0, 1], "swap": {"0": [[2, 3]], "1": [[3, 4]]}}, "the same result for both"),
    "misspelt": ({"axes": [0], "swaps": {}}, "did you mean swap"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_sentence_for_what_is_illegal(case):
    section, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as error:
        read(section)
    assert "\n" not in str(error.value) and "P.json" in str(error.value)
