"""The table and the picture."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.cli.report import COLOURS, dice_scores, dice_table, draw, label_names, mean_dice


def summary(*cases):
    return {"metric_per_case": [{"metrics": {k: {"Dice": v} for k, v in case.items()}} for case in cases]}


def test_scores_come_by_name_and_the_background_is_left_out():
    scores = dice_scores(summary({"1": 0.8, "2": 0.5}, {"1": 0.6, "2": 0.9}), {"background": 0, "a": 1, "b": 2})
    assert list(scores) == ["a", "b"]
    assert scores["a"].tolist() == [0.8, 0.6]
    assert mean_dice(scores) == pytest.approx(0.7)


def test_regions_are_found_under_nnunets_keys():
    scores = dice_scores(summary({"(1, 2)": 0.8, "2": 0.5}), {"background": 0, "whole": [1, 2], "core": 2})
    assert {name: values.tolist() for name, values in scores.items()} == {"whole": [0.8], "core": [0.5]}


def test_absent_structures_count_as_neither_hit_nor_miss():
    scores = {"a": np.array([0.5, np.nan]), "b": np.array([np.nan, np.nan])}
    assert mean_dice(scores) == pytest.approx(0.5)
    assert np.isnan(mean_dice({"b": scores["b"]}))


def test_table_has_mean_worst_best_and_number_of_cases():
    lines = dice_table({"liver": np.array([0.9, 0.7, np.nan]), "left kidney": np.array([np.nan] * 3)}).splitlines()
    assert lines[0].split() == ["mean", "worst", "best", "cases"]
    assert lines[1].split() == ["liver", "0.800", "0.700", "0.900", "2"]
    assert lines[2].split() == ["left", "kidney", "nan", "nan", "nan", "0"]
    assert len({len(line) for line in lines}) == 1


def test_names_of_label_values():
    labels = {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    assert label_names({"labels": labels}) == {1: "liver", 2: "spleen"}
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}
    description = {"labels": regions, "regions_class_order": [1, 2, 3]}
    assert label_names(description) == {1: "whole", 2: "core", 3: "active"}


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

    draw([("case", files[0], files[1], files[1])], {1: "organ"}, tmp_path / "with.png")
    draw([("case", files[0], files[2], files[2])], {}, tmp_path / "without.png")
    assert len(colours_in(matplotlib.image.imread(tmp_path / "with.png"))) > 10
    assert len(colours_in(matplotlib.image.imread(tmp_path / "without.png"))) == 0


def test_picture_of_more_structures_than_colours(tmp_path):
    label = np.arange(2 * len(COLOURS) + 1, dtype=np.uint8).reshape(1, 1, -1).repeat(4, axis=1).repeat(3, axis=0)
    file = tmp_path / "label.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(label), str(file))
    rows = [(f"case {index}", file, file, file) for index in range(3)]
    draw(rows, {value: f"structure {value}" for value in range(1, label.max() + 1)}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
