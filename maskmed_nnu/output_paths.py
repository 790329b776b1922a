"""No output over an input: paths are compared by what they mean, however they are spelled."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from maskmed_nnu.errors import InputError

DATA_FOLDERS = re.compile(r"(images|labels)(Tr|Ts|Te|Va|Val|Train|Test)|gt_segmentations", re.IGNORECASE)
"""Names of the folders beside a ``dataset.json`` that hold images and true labels."""
KEPT_BESIDE_DATASET_JSON = ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "dataset_fingerprint.json", "fold_*")
"""What tells the folder of a data set or of a model from one of predictions, which holds a ``dataset.json``, too."""


def refuse_output_over_input(
    outputs: Iterable[Path | str], inputs: Iterable[Path | str], *, advice: str = "name another folder"
) -> None:
    """Refuse where one of ``outputs`` is one of ``inputs``; each may be a file or a folder, and need not exist yet.

    Links (hard ones, too), relative spellings, ``..``, letters of another case where the file system does not tell
    them apart, and mounts of one folder in two places are seen through.

    Raises:
        InputError: says which output would be written over which input; ``advice`` ends the sentence.
    """
    known = {_identity(path): path for path in inputs}
    for output in outputs:
        path = known.get(_identity(output))
        if path is not None:
            kind, harm = ("folder", "mix with") if Path(path).is_dir() else ("file", "replace")
            spelled = "" if str(path) == str(output) else f" {path}"
            raise InputError(
                f"{output}, where results would go, is the input {kind}{spelled}, which they would {harm}; {advice}."
            )


def refuse_image_folder(folder: Path | str) -> None:
    """Refuse to write into, or anywhere below, the images or true labels of a data set.

    Raises:
        InputError: says which data set's they are.
    """
    for path in _spellings(folder):
        for part in (path, *path.parents):
            if DATA_FOLDERS.fullmatch(part.name) and (part.parent / "dataset.json").is_file():
                raise InputError(
                    f"{folder} belongs to the images and labels of the data set {part.parent}, to which nothing is "
                    "written; name another folder."
                )


def refuse_data_set_folder(folder: Path | str) -> None:
    """The same, and refuse to write a ``dataset.json`` where a data set or a model has its own.

    Raises:
        InputError: says what the folder is.
    """
    refuse_image_folder(folder)
    for path in _spellings(folder):
        if (path / "dataset.json").is_file():
            kept = next((found.name for name in KEPT_BESIDE_DATASET_JSON for found in path.glob(name)), None)
            if kept:
                raise InputError(
                    f"{folder} is the folder of a data set or of a model (it holds dataset.json and {kept}), to which "
                    "nothing is written; name another folder, or one inside it."
                )


def _spellings(folder: Path | str) -> list[Path]:
    return [Path(os.path.abspath(folder)), Path(os.path.realpath(folder))]


def _identity(path: Path | str) -> object:
    """What all spellings of one path share: the file's number on its device, or else the place that links lead to."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)  # some file systems give 0
