"""Plans made by the real planners from a fingerprint of wanted size, without images of that size."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import SimpleITK as sitk

from tests.instances.cells import write_cells

LABELS = {"background": 0, "a": 1, "b": 2}


@pytest.fixture
def make_planner(nnunet_env) -> Callable:
    """``make_planner(planner_class, shape=, spacing=, labels=, regions_class_order=, channels=)`` → a planner."""

    def make(
        planner_class: type,
        *,
        shape: Sequence[int] = (36, 50, 35),
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        labels: dict | None = None,
        regions_class_order: list[int] | None = None,
        channels: int = 1,
        cases: int = 20,
        **kwargs: object,
    ):
        name = "Dataset001_Made"
        raw, preprocessed = nnunet_env.raw / name, nnunet_env.preprocessed / name
        for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
            folder.mkdir(parents=True, exist_ok=True)
        image = sitk.GetImageFromArray(np.zeros((4, 4, 4), np.uint8))
        for channel in range(channels):
            sitk.WriteImage(image, str(raw / "imagesTr" / f"x_{channel:04d}.nii.gz"))
        sitk.WriteImage(image, str(raw / "labelsTr" / "x.nii.gz"))
        dataset = {
            "channel_names": {str(channel): "CT" for channel in range(channels)},
            "labels": labels or LABELS,
            "numTraining": cases,
            "file_ending": ".nii.gz",
        }
        if regions_class_order is not None:
            dataset["regions_class_order"] = regions_class_order
        (raw / "dataset.json").write_text(json.dumps(dataset))
        intensities = {"max": 1.0, "mean": 0.0, "median": 0.0, "min": -1.0, "std": 1.0}
        intensities.update(percentile_00_5=-1.0, percentile_99_5=1.0)
        fingerprint = {
            "spacings": [list(spacing)] * cases,
            "shapes_after_crop": [list(shape)] * cases,
            "foreground_intensity_properties_per_channel": {str(c): intensities for c in range(channels)},
            "median_relative_size_after_cropping": 1.0,
        }
        (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
        return planner_class(1, **kwargs)

    return make


@pytest.fixture
def make_cell_planner(nnunet_env) -> Callable:
    """``make_cell_planner(planner_class, shape=(96, 112), cells={}, **arguments)`` → a planner of generated cells.

    Their label files are there to be measured; of the images the fingerprint knows the size.
    """

    def make(planner_class: type, *, shape: Sequence[int] = (96, 112), cells: dict | None = None, **kwargs: object):
        folder = write_cells(nnunet_env.raw, images=2, shape=shape, **(cells or {}))
        preprocessed = nnunet_env.preprocessed / folder.name
        preprocessed.mkdir()
        names = ("max", "mean", "median", "min", "std", "percentile_00_5", "percentile_99_5")
        fingerprint = {
            "spacings": [[999, 1, 1]] * 3,
            "shapes_after_crop": [[1, *shape]] * 3,
            "foreground_intensity_properties_per_channel": {"0": dict.fromkeys(names, 1.0)},
            "median_relative_size_after_cropping": 1.0,
        }
        (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
        return planner_class(11, **kwargs)

    return make
