"""How far a training has come, by what nnU-Net's commands have left in its folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.preflight.faults import refuse
from maskmed_nnu.nnunet.preflight.folders import environment_faults
from maskmed_nnu.nnunet.preflight.splits import FOLDS, SPLITS
from maskmed_nnu.nnunet.training.checkpoint_files import BEST, FINAL, LATEST, stopped_after_the_final


def check_folders() -> None:
    """Refuse to begin where one of nnU-Net's three folders cannot be used.

    Raises:
        InputError: with every fault.
    """
    faults = [
        *environment_faults(reads="nnUNet_raw", writes="nnUNet_preprocessed"),
        *environment_faults(reads="nnUNet_raw", writes="nnUNet_results"),
    ]
    refuse(list(dict.fromkeys(faults)), command="The training")


def preprocessed(data_set: str, plans: str, configuration: str, cases: Sequence[str], ending: str) -> str:
    """``"nothing"``, ``"planned"`` or ``"preprocessed"``, with all of ``cases``.

    Raises:
        InputError: where the plans do not have the configuration.
    """
    folder = Path(os.environ["nnUNet_preprocessed"]) / data_set
    path = folder / f"{plans}.json"
    if not path.is_file() or not (folder / "dataset.json").is_file():
        return "nothing"
    content: Any = read_json(path, expected="nnU-Net's plans")
    data = folder / str(resolve_configuration(content, configuration).get("data_identifier"))
    there = {entry.name for entry in os.scandir(data)} if data.is_dir() else set()
    truth = folder / "gt_segmentations"
    labels = {entry.name for entry in os.scandir(truth)} if truth.is_dir() else set()
    for case in cases:
        whole = {f"{case}.b2nd", f"{case}_seg.b2nd"} <= there or f"{case}.npz" in there
        if not (whole and f"{case}.pkl" in there and f"{case}{ending}" in labels):
            return "planned"
    return "preprocessed"


def fold_state(model: Path, fold: str) -> str:
    """``"new"``, ``"interrupted"``, ``"trained"`` (but not validated) or ``"finished"``."""
    folder = model / f"fold_{fold}"
    if (folder / FINAL).is_file() and not stopped_after_the_final(folder):
        return "finished" if (folder / "validation" / "summary.json").is_file() else "trained"
    return "interrupted" if any((folder / name).is_file() for name in (LATEST, BEST)) else "new"


def number_of_folds(data_set: str, raw: Path, cases: int) -> int:
    """Those of ``splits_final.json``, or the five that nnU-Net makes; none where there are too few cases for them."""
    for folder in (Path(os.environ["nnUNet_preprocessed"]) / data_set, raw):
        if (folder / SPLITS).is_file():
            splits = read_json(folder / SPLITS, expected="nnU-Net's list of folds")
            if not isinstance(splits, list):
                raise InputError(f"{folder / SPLITS} holds no list of folds; delete it, and nnU-Net makes five.")
            return len(splits)
    return FOLDS if cases >= FOLDS else 0
