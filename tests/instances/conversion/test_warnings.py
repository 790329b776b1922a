"""A conversion warns of label maps that were hardly meant as they are, and says nothing of sound ones."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import ndimage

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import convert
from maskmed_nnu.instances.conversion.sources import LabelMapSource, SemanticSource
from tests.instances.conversion.source_files import description, picture, save, target

SHAPE = (48, 48)


def discs(seed: int) -> np.ndarray:
    """Sixteen discs, each in a cell of a grid, uint8 [48, 48]."""
    rng, ids = np.random.default_rng(seed), np.zeros(SHAPE, np.uint8)
    yy, xx = np.mgrid[:48, :48]
    for i in range(16):
        y, x = 12 * np.array([i // 4, i % 4]) + rng.integers(5, 7, 2)
        ids[(yy - y) ** 2 + (xx - x) ** 2 <= 16] = i + 1
    return ids


def convert_all(tmp_path, change, source, **options):
    for i in range(3):
        save(tmp_path / "images" / f"c{i}.png", picture(i, SHAPE))
        save(tmp_path / "masks" / f"c{i}.png", change(discs(i)))
    arguments = (tmp_path / "images", tmp_path / "masks", *(["cell"] if source is LabelMapSource else []))
    return convert(source(*arguments), target(tmp_path), **options).warnings


def outlines(ids):
    return np.where(ndimage.minimum_filter(ids, footprint=[[0, 1, 0], [1, 1, 1], [0, 1, 0]]) == ids, 0, ids)


def steps_of_one(ids):
    return np.where(outlines(ids) > 0, 1, 2 * (ids > 0)).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "source", "said"),
    [
        (lambda ids: ids, LabelMapSource, None),
        (lambda ids: ids % 3, SemanticSource, None),
        (
            lambda ids: np.uint8(255) * (ids > 0),
            LabelMapSource,
            "Objects are not distinguished: every label map holds one",
        ),
        (lambda ids: ids % 4, LabelMapSource, "9 of 9 ids are in separate pieces (c0.png, c1.png, c2.png)"),
        (lambda ids: ids + 1, LabelMapSource, "One object covers the border of the image in 3 of 3 label maps"),
        (lambda ids: np.where(ids % 2, 1, 255).astype(np.uint8), SemanticSource, "The value 255 covers the border"),
        (lambda ids: discs(0), LabelMapSource, "3 of 3 label maps are identical"),
        (outlines, LabelMapSource, "The objects are outlines in 3 of 3 label maps"),
        (steps_of_one, SemanticSource, "Areas are separated by a line of one other value"),
        (
            lambda ids: np.where(ids == 16, 255, ids % 3).astype(np.uint8),
            SemanticSource,
            "The value 255, far above the",
        ),
        (
            lambda ids: np.where(ids == 16, 255, ids).astype(np.uint8),
            LabelMapSource,
            "The highest id is 255, far above",
        ),
        (lambda ids: ids % 4 * 85, SemanticSource, None),
        (lambda ids: 3 * outlines(ids), SemanticSource, "appear only as lines or specks of one or two pixels"),
    ],
)
def test_each_kind_is_told_once(tmp_path, change, source, said):
    warnings = convert_all(tmp_path, change, source)
    assert [said in warning for warning in warnings if said][:1] == [True] * bool(said)
    assert said or not warnings


def test_the_cure_of_a_void_is_taken(tmp_path):
    def with_void(ids):
        return np.where(ids == 16, 255, ids % 3).astype(np.uint8)

    (warning,) = convert_all(tmp_path / "a", with_void, SemanticSource)
    *names, last = re.search(r"classes ([^:]+):", warning)[1].split()
    assert last == "ignore"
    assert not convert_all(tmp_path / "b", with_void, SemanticSource, class_names=[*names, last])
    assert description(target(tmp_path / "b"))["labels"] == {"background": 0, "class_1": 1, "class_2": 2, "ignore": 3}


def test_an_image_that_is_its_mask_or_trades_places_with_it_is_refused(tmp_path):
    for i in range(2):
        for folder, values in (("maps", discs(i) * 15), ("copies", discs(i) * 15), ("pictures", picture(i, SHAPE))):
            save(tmp_path / folder / f"c{i}.png", values)
    with pytest.raises(InputError, match=r"copies/c0.png holds the same values as its image c0.png"):
        convert(LabelMapSource(tmp_path / "maps", tmp_path / "copies", "cell"), target(tmp_path))
    with pytest.raises(InputError, match=r"pictures/c0.png looks like an image, and its image c0.png like a label map"):
        convert(SemanticSource(tmp_path / "maps", tmp_path / "pictures"), target(tmp_path))
