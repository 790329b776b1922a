"""``maskmed_nnu.report``: a training as one HTML page."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskmed_nnu.api.label_meaning import find_partners
from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.output_paths import refuse_image_folder
from maskmed_nnu.progress import Report

NAME = "report.html"
ENDINGS = (".html", ".htm")
HEAD = 2000
"""Bytes in which a report names what wrote it."""


@dataclass(frozen=True)
class TrainingReport:
    """The result of `report`.

    ``score`` is the mean of the cases' Dice, or of their PQ for models of objects (``scored_by``); None if there are no
    scores. ``failures``: missed or invented classes or objects, summed over the cases; ``faults``: cases that could not
    be evaluated. ``notes`` name what is missing.
    """

    path: Path
    data_set: str
    folds: tuple[str, ...]
    cases: int
    scored_by: str
    score: float | None
    failures: int
    faults: int
    notes: tuple[str, ...]
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "path": str(self.path)}


def report(
    model_folder: str | Path, path: str | Path | None = None, *, progress: Report | None = None
) -> TrainingReport:
    """Write a training as one HTML page that needs no network and no other file.

    It shows the validation scores of all folds by class, the best, median and worst case with truth and prediction,
    missed and invented classes, training curves, the plan with reasons, and the commands that train the model again.
    The page says what is missing (the validation of a fold, images, a log).

    Parameters
    ----------
    model_folder
        The folder of a training, ``TRAINER__PLANS__CONFIGURATION``, finished or not. Images and true label maps are
        read from ``nnUNet_raw`` and ``nnUNet_preprocessed``.
    path
        The page to write; by default ``report.html`` in the folder. An older report is replaced, any other file is not.
    progress
        Called with a `maskmed_nnu.Progress`, in this thread.

    Raises
    ------
    InputError
        If there is no training, or ``path`` cannot be written.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> mm.report("nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres").path  # doctest: +SKIP
    PosixPath('nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres/report.html')
    """
    from maskmed_nnu.api.report_content import page_of
    from maskmed_nnu.nnunet.evaluation.training_record import read_record
    from maskmed_nnu.visualization.report_page import render

    folder = Path(model_folder).expanduser()
    if folder.is_file():
        raise InputError(f"{folder} is a file; name the folder of a training, with its logs and validations.")
    record = read_record(folder)
    target = checked_page(folder / NAME if path is None else Path(path).expanduser())
    scores = record.score(find_partners(record.folder, record.classes), progress=progress)
    page = page_of(record, scores, progress=progress)
    text = render(page)
    write_atomically(target, lambda partial: partial.write_bytes(text.encode(errors="replace")))  # names of files
    return TrainingReport(
        path=target,
        data_set=record.names.dataset,
        folds=tuple(record.folds),
        cases=len(record.validations.cases),
        scored_by=scores.ranked_by,
        score=None if math.isnan(scores.mean) else scores.mean,
        failures=scores.number_of_failures,
        faults=len(scores.faults) + len(record.validations.missing),
        notes=tuple(page.notes),
        bytes=target.stat().st_size,
    )


def checked_page(path: Path) -> Path:
    """Refuse a page that would replace another file, before the report is made.

    Raises:
        InputError
    """
    from maskmed_nnu.visualization.report_page import GENERATOR

    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path} is not a name for a report; name a file that ends in .html.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} for the report; make it, or name another one.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file that ends in .html.")
    if path.is_file() and GENERATOR.encode() not in path.read_bytes()[:HEAD]:
        raise InputError(f"{path} exists and is not a report of maskmed_nnu; name another file.")
    refuse_image_folder(path.parent)
    return path
