"""Brain-like volumes with a few bright lesions each, drawn rather than scanned, as an nnU-Net raw data set.

Lesions are blobs of 3.5 to 12 mm radius. Vessels, and the scalp, are as bright, so that brightness alone does not tell
a lesion, and one volume in ten has none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from maskmed_nnu.itk import sitk
from maskmed_nnu.json_file import write_json

DATASET = "Dataset902_Lesions"
LABELS = {"background": 0, "lesion": 1}
SHAPE, SPACING = (22, 100, 84), (3.0, 1.75, 1.75)
"""Voxels, and mm, along z, y and x."""
RADIUS_MM = (3.5, 12.0)
PLANNING = ("-overwrite_target_spacing", "4.2", "3.7", "3.7")
"""Options of the planner: a coarse grid to train on in minutes; predictions have the images' own voxels."""


def make_volume(rng: np.random.Generator, *, lesions: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image and label map [z, y, x] of a volume with `lesions` lesions."""
    points = np.moveaxis(np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2, 0, -1) * SPACING
    z, y, x = np.moveaxis(points, -1, 0)
    folds = gaussian_filter(rng.normal(size=SHAPE), (1.5, 3, 3))
    folds /= folds.std()
    radii = np.array([110.0, 81.0, 67.0]) * rng.uniform(0.93, 1.0, 3)
    head = np.linalg.norm(points / radii, axis=-1) + 0.004 * folds
    image = np.where(head < 1, 120.0, 2.0)  # scalp
    image[head < 0.93] = 15  # skull
    image[head < 0.87] = 35  # fluid
    brain = head + 0.012 * folds < 0.84
    image[brain] = np.where(head + 0.05 * folds > 0.74, 92, 72)[brain]  # grey and white matter
    for side in (-1, 1):  # ventricles
        bent = x - side * (7 + np.square(y) / 90)
        image[np.hypot(np.hypot(z / 24, (y + 4) / rng.uniform(26, 32)), bent / rng.uniform(4.5, 7)) < 1] = 35
    for _ in range(6):  # vessels: the decoys
        start, along = rng.uniform(-40, 40, 3), rng.normal(size=3)
        along /= np.linalg.norm(along)
        offset = points - start - 5 * np.sin(points @ along / 12)[..., None] * (0, 1, 0)
        distance = np.linalg.norm(offset - (offset @ along)[..., None] * along, axis=-1)
        image += 65 * np.exp(-np.square(distance / 2.2)) * brain
    mask = np.zeros(SHAPE, np.uint8)
    for _ in range(lesions):
        radius = np.exp(rng.uniform(*np.log(RADIUS_MM)))
        limits = np.array([32.0, 50.0, 40.0]) - radius
        depth = 1 - np.linalg.norm(
            (points - rng.uniform(-limits, limits)) / (radius * rng.uniform(0.8, 1.25, 3)), axis=-1
        )
        depth += 0.05 * folds
        image += rng.uniform(50, 80) / (1 + np.exp(-8 * depth))
        mask[depth > 0] = 1
    image = gaussian_filter(image, (0.4, 0.6, 0.6)) * (1 + 0.12 * gaussian_filter(rng.normal(size=SHAPE), 12) / 0.01)
    return (image + rng.normal(scale=5, size=SHAPE)).astype(np.float32), mask


def write_dataset(
    folder: Path, *, training: int = 20, test: int = 6, seed: int = 0, report: Callable[[str], None] = lambda line: None
) -> None:
    """Write `training` cases to imagesTr/labelsTr and `test` further ones to imagesTs/labelsTs.

    The same `seed` gives the same data set. ``dataset.json`` comes last: where it stands, the data set is complete.
    """
    for index in range(training + test):
        part, name = "Tr" if index < training else "Ts", f"lesions_{index:03d}"
        rng = np.random.default_rng([seed, index])
        number = 0 if index % 10 == 9 else int(rng.integers(1, 5))
        image, mask = make_volume(rng, lesions=number)
        files: list[tuple[str, str, NDArray[Any]]] = [("images", "_0000", image), ("labels", "", mask)]
        for kind, ending, array in files:
            path = folder / (kind + part) / f"{name}{ending}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            volume: Any = sitk.GetImageFromArray(array)
            volume.SetSpacing(SPACING[::-1])
            sitk.WriteImage(volume, str(path))
        report(f"  {name}  {number} lesions")
    description = {"channel_names": {"0": "MR"}, "labels": LABELS, "numTraining": training, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", {**description, "description": "Lesions drawn by `maskmed demo`"}, indent=2)


def count_lesions(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Found, missed and invented lesions; pieces that touch at a corner are one, and any common voxel finds one.

    >>> count_lesions(np.array([[[1, 0, 1, 0, 0]]]), np.array([[[1, 0, 0, 0, 1]]]))
    (1, 1, 1)
    """
    corners = np.ones((3, 3, 3))
    true, number = label(truth > 0, corners)
    predicted, others = label(prediction > 0, corners)
    found = len(np.unique(true[(predicted > 0) & (true > 0)]))
    hits = len(np.unique(predicted[(predicted > 0) & (true > 0)]))
    return found, number - found, others - hits
