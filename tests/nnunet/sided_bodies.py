"""Tiny raw data sets in which only the side tells two organs apart, stored any way round."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

NAME = "Dataset001_Sides"
LABELS = {"background": 0, "one": 1, "other": 2, "middle": 3}
LETTERS = "LPS"
BRIGHTNESS = np.array([0, 120, 120, 200], np.uint8)


def body(rng: np.random.Generator, *, flat: bool = False) -> np.ndarray:
    """Labels [x, y, z] to the left, back and head; 1 is on the right, 2 on the left, 3 between them."""
    x, y, z = np.ogrid[:24, :16, : 1 if flat else 12]
    labels = np.zeros(np.broadcast(x, y, z).shape, np.uint8)
    for label, place in ((1, (5, 9, 6)), (2, (18, 9, 6)), (3, (11.5, 4, 6))):
        at = np.add(place, rng.uniform(-1, 1, 3))
        at[2] *= not flat
        labels[(x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2 < rng.uniform(2.5, 3) ** 2] = label
    return labels


def write_volume(path: Path, labels: np.ndarray, code: str) -> None:
    """With axes that run as ``code`` says, which is what SimpleITK's reader gives back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = (("R", "L"), ("A", "P"), ("I", "S"))
    stored = apply_orientation(labels, ornt_transform(axcodes2ornt(LETTERS, ends), axcodes2ornt(code, ends)))
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored.T))
    directions = np.zeros((3, 3))
    for axis, letter in enumerate(code):
        world = next(i for i, pair in enumerate(ends) if letter in pair)
        directions[world, axis] = 1 if letter in LETTERS else -1
    image.SetDirection(directions.ravel().tolist())
    sitk.WriteImage(image, str(path))


def write_bodies(
    raw: Path,
    codes: list[str],
    *,
    name: str = NAME,
    ending: str = ".nii.gz",
    relabel: dict[int, int] | None = None,
    **more: object,
) -> dict:
    """Write the raw data set ``name``, a case for each of ``codes``; its dataset.json is returned."""
    rng = np.random.default_rng(0)
    for i, code in enumerate(codes):
        labels = body(rng)
        labels = np.vectorize(lambda label: (relabel or {}).get(label, label))(labels).astype(np.uint8)
        write_volume(raw / name / "imagesTr" / f"c{i:02d}_0000{ending}", BRIGHTNESS[labels], code)
        write_volume(raw / name / "labelsTr" / f"c{i:02d}{ending}", labels, code)
    described = {"channel_names": {"0": "MR"}, "labels": LABELS, "numTraining": len(codes), "file_ending": ending}
    described.update(more)
    (raw / name / "dataset.json").write_text(json.dumps(described))
    return described
