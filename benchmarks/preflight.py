"""What the check before planning costs, beside reading each image's header once.

    python benchmarks/preflight.py --cases 1000

Makes a data set of so many tiny cases of two channels in a temporary folder, and measures processor time and wall time
of both: the check of names, files and headers, and the comparison of where images and label maps lie.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np

from maskmed_nnu.nnunet.preflight.headers import read_header
from maskmed_nnu.nnunet.preflight.planning import planning_faults

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


def timed(what: str, work: Callable[[], object]) -> object:
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    print(f"{what:<24}{time.process_time() - processor:8.2f} s processor{time.perf_counter() - wall:8.2f} s wall")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    cases = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("raw", "preprocessed"):
            (root / name).mkdir()
            os.environ[f"nnUNet_{name}"] = str(root / name)
        images = write_cases(root / "raw", cases)
        read_header(next(images.iterdir()))  # imports nibabel
        timed("each header once", lambda: [read_header(path) for path in images.iterdir()])
        check = {"planner": "MaskMedPlanner", "configurations": ("2d", "3d_fullres"), "verify": True}
        faults = timed("the check", lambda: planning_faults([1], **check))
        assert faults == [], faults
        from maskmed_nnu.nnunet.experiment_planning.data_set_grids import check_grids  # nnU-Net reads its folders now

        timed("where the files lie", lambda: check_grids(1))


if __name__ == "__main__":
    main()
