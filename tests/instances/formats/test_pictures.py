"""Pictures by Pillow."""

from __future__ import annotations

import numpy as np
from PIL import Image

from maskmed_nnu.instances.formats import pictures


def test_large_pictures_are_read_and_the_limit_of_pillow_stays(tmp_path, monkeypatch):
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(pictures.read_picture(tmp_path / "x.png", indexed=False).values, np.eye(8))
    assert Image.MAX_IMAGE_PIXELS == 10
