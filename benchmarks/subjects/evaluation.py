"""Class maps to evaluate: ellipsoids, and a prediction that moves each a little, as two folders of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from maskmed_nnu.instances import formats

SPACING = (2.5, 0.8, 0.8)


def draw(rng: np.random.Generator, size: tuple[int, int, int], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction ``[z, y, x]``."""
    volumes = np.zeros((2, *size), np.uint8)
    for label in range(1, classes + 1):
        radius = rng.uniform(0.05, 0.16, 3) * size
        centre = rng.uniform(radius, np.array(size) - radius)
        for volume, shift in zip(volumes, (0, 3), strict=True):
            moved = centre + rng.normal(0, 1, 3) * shift
            low = np.clip(moved - radius - 1, 0, size).astype(int)
            high = np.clip(moved + radius + 2, 0, size).astype(int)
            grid = np.ogrid[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
            inside = sum(((g - m) / r) ** 2 for g, m, r in zip(grid, moved, radius, strict=True)) < 1
            volume[tuple(slice(*ends) for ends in zip(low, high, strict=True))][inside] = label
    return volumes[0], volumes[1]


def write_folders(folder: Path, volumes: int, size: Sequence[int], classes: int) -> tuple[Path, Path]:
    """Truth and prediction of so many volumes of ``size`` (x, y, z)."""
    rng = np.random.default_rng(0)
    places = folder / "truth", folder / "prediction"
    for place in places:
        place.mkdir()
    for number in range(volumes):
        for place, labels in zip(places, draw(rng, tuple(size[::-1]), classes), strict=True):
            image = nibabel.Nifti1Image(labels.T, np.diag([*SPACING[::-1], 1.0]))
            nibabel.save(image, place / f"case_{number:02}.nii.gz")
    return places


def read_and_measure(truth: Path, prediction: Path) -> None:
    """Reads each pair of volumes and measures MONAI's distances."""
    for file in sorted(truth.iterdir()):
        surface_distances(*(formats.read(place / file.name).values for place in (truth, prediction)))


def surface_distances(truth: np.ndarray, prediction: np.ndarray) -> None:
    """MONAI's ``get_edge_surface_distance`` (surfaces and distances in both directions, once for HD95 and NSD) on the
    boxes around each class: the least that its distances can cost."""
    import torch
    from monai.metrics.utils import get_edge_surface_distance

    boxes = [ndimage.find_objects(volume) for volume in (prediction, truth)]
    for label, sides in enumerate(zip(*boxes, strict=False), 1):
        if None in sides:
            continue
        box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(*sides, strict=True))
        masks = [torch.from_numpy(volume[box] == label) for volume in (prediction, truth)]
        get_edge_surface_distance(*masks, spacing=list(SPACING), symmetric=True)
