"""A raw data set of nnU-Net's with many tiny cases."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np

CHANNELS = 2


def write_cases(raw: Path, cases: int) -> Path:
    """A data set without a fault, of 8 × 8 × 8 voxels a case; returns the folder of its images."""
    root = raw / "Dataset001_Many"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)), raw / "one.nii.gz")
    content = (raw / "one.nii.gz").read_bytes()
    for case in range(cases):
        for channel in range(CHANNELS):
            (root / "imagesTr" / f"case_{case:05d}x_{channel:04d}.nii.gz").write_bytes(content)
        (root / "labelsTr" / f"case_{case:05d}x.nii.gz").write_bytes(content)
    description = {
        "channel_names": {str(channel): "MR" for channel in range(CHANNELS)},
        "labels": {"background": 0, "a": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root / "imagesTr"
