"""A tiny nnU-Net raw data set in which only the side tells two organs apart, and one lies in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHAPE = (16, 16, 24)
"""[z, y, x]; x runs to the left, so that the left one has the higher x."""
LABELS = {"background": 0, "one": 1, "other": 2, "middle": 3}


def make_sides(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (float32) and label map (uint8), both ``[z, y, x]``."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    label = np.zeros(SHAPE, np.uint8)
    for value, place, radius in ((1, 5, 3), (2, 18, 3), (3, 11.5, 2)):
        at = np.array([8, 5 if value == 3 else 9, place]) + rng.uniform(-1, 1, 3)
        label[(z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < (radius + rng.uniform(-0.3, 0.3)) ** 2] = value
    image = np.array([0, 120, 120, 200], np.float32)[label] + rng.normal(0, 15, SHAPE).astype(np.float32)
    return image, label


def write_sides(raw: Path, name: str, *, cases: int = 8, regions: bool = False) -> Path:
    """Write ``raw/name``; of the two images in ``imagesTs`` the second is the first in the mirror."""
    folder = raw / name
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True)
    for index in range(cases):
        image, label = make_sides(index)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"case_{index:02d}_0000.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(label), str(folder / "labelsTr" / f"case_{index:02d}.nii.gz"))
    unseen, _ = make_sides(cases)
    for case, image in (("a", unseen), ("b", unseen[..., ::-1])):
        sitk.WriteImage(
            sitk.GetImageFromArray(np.ascontiguousarray(image)), str(folder / "imagesTs" / f"{case}_0000.nii.gz")
        )
    labels = {"background": 0, "all": [1, 2, 3], "one": 1, "other": 2} if regions else LABELS
    description = {"labels": labels, "channel_names": {"0": "MR"}, "numTraining": cases, "file_ending": ".nii.gz"}
    if regions:
        description["regions_class_order"] = [3, 1, 2]
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder
