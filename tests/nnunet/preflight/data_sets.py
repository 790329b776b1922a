"""Tiny data sets, made wrong on purpose."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

DESCRIPTION = {
    "channel_names": {"0": "MR"},
    "labels": {"background": 0, "a": 1},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
CASES = ("c0", "c1", "c2")


def write_raw(parent: Path, name: str = "Dataset010_T", **changes: object) -> Path:
    """Three cases of 6 × 5 × 4 voxels that are all right; ``changes`` go into ``dataset.json``."""
    root = parent / name
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for case in CASES:
        write_nifti(root / "imagesTr" / f"{case}_0000.nii.gz")
        write_nifti(root / "labelsTr" / f"{case}.nii.gz")
    describe(root, **changes)
    return root


def describe(root: Path, **changes: object) -> None:
    (root / "dataset.json").write_text(json.dumps({**DESCRIPTION, **changes}))


def write_nifti(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4), np.uint8), np.eye(4)), path)


def write_png(path: Path, *, colour: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((5, 4, 3) if colour else (5, 4), np.uint8)).save(path)


def write_preprocessed(parent: Path, plans: dict, cases: tuple[str, ...] = ("c0", "c1", "c2", "c3", "c4")) -> Path:
    """What preprocessing leaves, of empty files."""
    root = parent / plans["dataset_name"]
    data = root / plans["configurations"]["2d"]["data_identifier"]
    for folder in (data, root / "gt_segmentations"):
        folder.mkdir(parents=True)
    for case in cases:
        for ending in (".b2nd", "_seg.b2nd", ".pkl"):
            (data / f"{case}{ending}").touch()
        (root / "gt_segmentations" / f"{case}.nii.gz").touch()
    (root / f"{plans['plans_name']}.json").write_text(json.dumps(plans))
    describe(root)
    return root


def write_model(
    parent: Path, plans: dict, *, folds: tuple[str, ...] = ("0",), trainer: str = "nnUNetTrainerMaskMed"
) -> Path:
    """What training leaves, of empty checkpoints."""
    model = parent / plans["dataset_name"] / f"{trainer}__{plans['plans_name']}__2d"
    for fold in folds:
        (model / f"fold_{fold}").mkdir(parents=True)
        zipfile.ZipFile(model / f"fold_{fold}" / "checkpoint_final.pth", "w").close()
    describe(model)
    (model / "plans.json").write_text(json.dumps(plans))
    return model


def plans(name: str = "Dataset010_T") -> dict:
    """As little of plans of ours as is looked at."""
    return {
        "dataset_name": name,
        "plans_name": "MaskMedPlans",
        "experiment_planner_used": "MaskMedPlanner",
        "maskmed_nnu": {"version": "0"},
        "configurations": {
            "2d": {
                "data_identifier": "MaskMedPlans_2d",
                "architecture": {"network_class_name": "maskmed_nnu.networks.maskmed.MaskMed"},
            },
            "3d_cascade_fullres": {"inherits_from": "2d", "previous_stage": "3d_lowres"},
        },
    }


def clear(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder
