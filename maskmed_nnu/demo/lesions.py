"""Volumes with a few bright lesions each, drawn rather than scanned, as an nnU-Net raw data set.

Lesions are blobs of 3 to 11 mm radius in a body of uneven tissue. Vessels are as bright, so that brightness alone does
not tell a lesion, and two of twenty volumes have none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from maskmed_nnu.json_file import write_json

DATASET = "Dataset902_Lesions"
LABELS = {"background": 0, "lesion": 1}
SHAPE, SPACING = (24, 56, 56), (3.0, 2.0, 2.0)
"""Voxels, and mm, along z, y and x."""
RADIUS_MM = (3.0, 11.0)


def make_volume(rng: np.random.Generator, *, lesions: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image and label map [z, y, x] of a volume with `lesions` lesions."""
    points = np.moveaxis(np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2, 0, -1) * SPACING
    body = np.hypot(points[..., 1] / 50, points[..., 2] / 53) < 1
    image = np.where(body, 40 + 90 * gaussian_filter(rng.normal(size=SHAPE), 4), -20)
    for _ in range(6):  # vessels: the decoys
        start, along = rng.uniform(-30, 30, 3), rng.normal(size=3)
        along /= np.linalg.norm(along)
        offset = points - start - 4 * np.sin(points @ along / 12)[..., None] * (0, 1, 0)
        distance = np.linalg.norm(offset - (offset @ along)[..., None] * along, axis=-1)
        image += 65 * np.exp(-np.square(distance / 2.6)) * body
    mask = np.zeros(SHAPE, np.uint8)
    for _ in range(lesions):
        radius = rng.uniform(*RADIUS_MM)
        limits = np.array([28.0, 32.0, 34.0]) - radius
        radii = radius * rng.uniform(0.8, 1.25, 3)
        depth = 1 - np.linalg.norm((points - rng.uniform(-limits, limits)) / radii, axis=-1)
        image += rng.uniform(50, 80) / (1 + np.exp(-6 * depth))
        mask[depth > 0] = 1
    return (image + rng.normal(scale=9, size=SHAPE)).astype(np.float32), mask


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
