"""A folder of masks for each image becomes a data set; folders that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import convert
from maskmed_nnu.instances.conversion.sources import MaskPerObjectSource
from tests.instances.conversion.source_files import SHAPE, cells, description, labels, picture, save, target


def test_a_mask_per_object_with_transparency_overlap_and_an_empty_mask(tmp_path):
    grey = picture(0)
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    truth = [np.zeros(SHAPE, np.uint8) for _ in range(3)]
    truth[0][3:12, 3:12], truth[1][8:20, 8:20] = 255, 1
    for name in ("one", "two"):
        save(tmp_path / "dsb" / name / "images" / f"{name}.png", rgba)
        for i, mask in enumerate(truth):
            save(tmp_path / "dsb" / name / "masks" / f"{i}.png", mask)
    folder = target(tmp_path)
    lines = convert(MaskPerObjectSource(tmp_path / "dsb", "nucleus"), folder).lines
    assert description(folder)["channel_names"] == {"0": "grey"}
    assert description(folder)["overlap_layers"] is True and description(folder)["file_ending"] == ".tif"
    np.testing.assert_array_equal(tifffile.imread(folder / "imagesTr/one_0000.tif"), grey)
    layers = labels(folder, "two")
    np.testing.assert_array_equal(layers > 0, np.stack(truth[:2]) > 0)
    assert any(line.startswith("overlaps   up to 2 objects at a pixel, in 2 images") for line in lines)
    assert "           one.png: mask 2.png: it is empty" in lines
    assert any("three equal channels became one" in line for line in lines)


def test_dsb_folders_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no folder with images/ and masks/"):
        MaskPerObjectSource(tmp_path / "empty", "cell")
    save(tmp_path / "dsb" / "a" / "images" / "a.png", picture())
    with pytest.raises(InputError, match="a in .* needs one image in images/ and a folder masks/"):
        MaskPerObjectSource(tmp_path / "dsb", "cell")
    save(tmp_path / "dsb" / "a" / "masks" / "m.png", cells().astype(np.uint8))
    with pytest.raises(InputError, match="different values, .* are converted as images and masks"):
        convert(MaskPerObjectSource(tmp_path / "dsb", "cell"), target(tmp_path))
    blurred = gaussian_filter(np.uint8(255) * (cells() == cells().max()), 1)
    save(tmp_path / "dsb" / "a" / "masks" / "m.png", blurred)
    with pytest.raises(InputError, match="greys at its edges, as left by interpolation"):
        convert(MaskPerObjectSource(tmp_path / "dsb", "cell"), target(tmp_path))
    save(tmp_path / "dsb" / "a" / "masks" / "m.png", np.ones((5, 5), np.uint8))
    with pytest.raises(InputError, match="has the size 5 × 5"):
        convert(MaskPerObjectSource(tmp_path / "dsb", "cell"), target(tmp_path))
