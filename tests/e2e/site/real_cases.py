"""A few cases of real data sets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def copy_cases(source: Path, target: Path, *, train: int, test: int) -> None:
    """The first ``train`` cases of a raw data set as one, the next ``test`` ones in imagesTs and labelsTs."""
    labels = sorted((source / "labelsTr").glob("*.nii.gz"))[: train + test]
    assert len(labels) == train + test, f"{source} holds too few cases"
    for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (target / part).mkdir(parents=True)
    for index, label in enumerate(labels):
        part = "Tr" if index < train else "Ts"
        image = source / "imagesTr" / label.name.replace(".nii.gz", "_0000.nii.gz")
        shutil.copy(label, target / f"labels{part}")
        shutil.copy(image, target / f"images{part}")
    dataset = json.loads((source / "dataset.json").read_text())
    dataset["numTraining"] = train
    (target / "dataset.json").write_text(json.dumps(dataset))


def few_pictures(folder: Path, source: Path, count: int) -> Path:
    """The first ``count`` images and masks of a folder pair."""
    for path in sorted((source / "images").iterdir())[:count]:
        mask = next((source / "masks").glob(f"{path.stem}.*"))
        for file in (path, mask):
            target = folder / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return folder
