"""Masks of classes become a data set of stock nnU-Net."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import convert
from maskmed_nnu.instances.conversion.sources import SemanticSource
from tests.instances.conversion.source_files import SHAPE, description, labels, picture, save, target


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 3, 7)])
def test_semantic_masks_keep_their_order_of_values(tmp_path, values):
    mask = np.array(values, np.uint8)[np.random.default_rng(0).integers(0, len(values), SHAPE)]
    save(tmp_path / "images" / "a.jpg", picture(0, samples=3))
    save(tmp_path / "masks" / "a.png", mask)
    folder = target(tmp_path)
    lines = convert(SemanticSource(tmp_path / "images", tmp_path / "masks"), folder).lines
    np.testing.assert_array_equal(labels(folder, "a"), np.searchsorted(values, mask))
    made = description(folder)
    assert "overwrite_image_reader_writer" not in made
    assert made["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    expected = {"foreground": 1} if len(values) == 2 else {"class_3": 1, "class_7": 2}
    assert made["labels"] == {"background": 0, **expected}
    assert any(line.startswith(f"labels     {values[1]} → 1") for line in lines)


def test_semantic_names_and_what_is_refused_of_them(tmp_path):
    save(tmp_path / "images" / "a.png", picture())
    save(tmp_path / "masks" / "a.png", np.repeat(np.array([[0, 1, 255]], np.uint8), 10, axis=0).repeat(4, axis=1))
    save(tmp_path / "images" / "a.png", picture(shape=(10, 12)))
    folder, source = target(tmp_path), SemanticSource(tmp_path / "images", tmp_path / "masks")
    for names, said in (
        (["wound"], "gives 1 name, but the masks hold 2 values beside 0: 1, 255"),
        (["ignore", "x"], "'ignore', which is reserved in nnU-Net"),
        (["x", "x"], "'x' is named twice"),
    ):
        with pytest.raises(InputError, match=said):
            convert(source, folder, class_names=names)
    convert(source, folder, class_names=["wound", "ignore"])
    assert description(folder)["labels"] == {"background": 0, "wound": 1, "ignore": 2}
    many = np.zeros((40, 40), np.uint16)
    many[::2, ::2] = np.arange(400).reshape(20, 20)
    save(tmp_path / "m" / "images" / "a.png", picture(shape=(40, 40)))
    save(tmp_path / "m" / "masks" / "a.png", many)
    with pytest.raises(InputError, match="leave semantic and components out"):
        convert(SemanticSource(tmp_path / "m/images", tmp_path / "m/masks"), target(tmp_path, "Dataset011_M"))


@pytest.mark.real_data
def test_fuseg(tmp_path, real_data):
    folder = target(tmp_path)
    convert(SemanticSource(real_data / "fuseg" / "images", real_data / "fuseg" / "masks"), folder, test=5)
    made = description(folder)
    assert (made["numTraining"], made["file_ending"], made["labels"]) == (
        22,
        ".png",
        {"background": 0, "foreground": 1},
    )
    assert made["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    for path in (folder / "labelsTs").iterdir():
        np.testing.assert_array_equal(
            np.asarray(Image.open(path)), np.asarray(Image.open(real_data / "fuseg" / "masks" / path.name))
        )
