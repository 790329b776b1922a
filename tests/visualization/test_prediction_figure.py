"""Image, truth and prediction side by side."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.visualization.outlines import COLOURS
from maskmed_nnu.visualization.prediction_figure import prediction_figure


def colours_in(picture):
    rgb = np.unique(picture[..., :3].reshape(-1, 3), axis=0)
    saturation = rgb.max(axis=1) - rgb.min(axis=1)
    return rgb[saturation > 0.25]


@pytest.mark.parametrize("shape", [(6, 12, 16), (12, 16)], ids=["3d", "2d"])
def test_picture_shows_truth_and_prediction(tmp_path, shape):
    """A volume in NIfTI or a flat PNG; the overlay must be there, and be gone where nothing is labelled."""
    ending = ".nii.gz" if len(shape) == 3 else ".png"
    image = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    label = np.zeros(shape, np.uint8)
    label[..., 3:8, 4:9] = 1
    files = [tmp_path / (name + ending) for name in ("image", "truth", "nothing")]
    for file, array in zip(files, (image, label, 0 * label), strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(file))

    prediction_figure([("case", files[0], files[1], files[1])], {1: "organ"}).savefig(tmp_path / "with.png")
    prediction_figure([("case", files[0], files[2], files[2])], {}).savefig(tmp_path / "without.png")
    assert len(colours_in(matplotlib.image.imread(tmp_path / "with.png"))) > 10
    assert len(colours_in(matplotlib.image.imread(tmp_path / "without.png"))) == 0


def test_picture_of_more_structures_than_colours(tmp_path):
    label = np.arange(2 * len(COLOURS) + 1, dtype=np.uint8).reshape(1, 1, -1).repeat(4, axis=1).repeat(3, axis=0)
    file = tmp_path / "label.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(label), str(file))
    rows = [(f"case {index}", file, file, file) for index in range(3)]
    names = {value: f"structure {value}" for value in range(1, label.max() + 1)}
    prediction_figure(rows, names).savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
