"""The generated cells overlap, and their json holds whole masks."""

from __future__ import annotations

import json

import numpy as np

from maskmed_nnu.demo.cells import draw_cells, write_pictures
from maskmed_nnu.instances import rle


def test_cells_overlap_and_each_has_a_nucleus_within():
    pictures = [draw_cells(np.random.default_rng([0, index])) for index in range(8)]
    assert sum((picture.masks[::2].sum(0) > 1).sum() for picture in pictures) > 500
    for picture in pictures:
        bodies, nuclei = picture.masks[::2], picture.masks[1::2]
        assert picture.classes == [1, 2] * len(bodies) and not (nuclei & ~bodies).any()
        assert picture.image[nuclei.any(0)].mean() > picture.image[bodies.any(0)].mean()


def test_the_json_holds_whole_masks_of_overlapping_cells(tmp_path):
    for name in ("a", "b"):
        write_pictures(tmp_path / name, training=2, test=1, seed=3)
    text = (tmp_path / "a" / "cells.json").read_text()
    assert text == (tmp_path / "b" / "cells.json").read_text()
    drawn = draw_cells(np.random.default_rng([3, 0]))
    mine = [entry for entry in json.loads(text)["annotations"] if entry["image_id"] == 0]
    assert [entry["category_id"] for entry in mine] == drawn.classes
    positions = rle.decode(mine[0]["segmentation"], drawn.masks[0].shape)
    assert np.array_equal(np.sort(positions), np.flatnonzero(drawn.masks[0].T))
