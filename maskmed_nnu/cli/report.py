"""``maskmed report``: a training as one HTML page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from maskmed_nnu.cli.console import print_json, progress
from maskmed_nnu.cli.options import Json
from maskmed_nnu.instances.text import count

DESCRIPTION = """\
Write a training of any of our networks, finished or not, as one HTML page that opens without a network and on a phone;
or a study of maskmed workflow: its networks, whether the best is significantly better, predictions, and job times.

It shows the validation scores of all folds by class, the best, median and worst case with truth and prediction, missed
and invented classes, training curves, the plan with reasons, and the commands that train the model again. Images and
true label maps are read from $nnUNet_raw and $nnUNet_preprocessed; the page says which are missing."""
EXAMPLE = """\
maskmed report $nnUNet_results/Dataset004_Hip/nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres -o hippocampus.html"""


def run(
    model: Annotated[
        Path,
        Argument(metavar="MODEL_FOLDER", help="folder of a training, which holds fold_0 and so on; or of a study"),
    ],
    output: Annotated[
        Path | None,
        Option("-o", "--output", metavar="FILE", help="the page to write (default: report.html in the folder)"),
    ] = None,
    json: Json = False,
) -> None:
    """Write the page and print a summary."""
    import maskmed_nnu as mm
    from maskmed_nnu.workflow.study import CONFIG

    if (model / CONFIG).is_file():
        _report_study(model, output, json)
        return
    with progress() as told:
        written = mm.report(model, output, progress=told)
    if json:
        print_json(written.to_dict())
        return
    score = "" if written.score is None else f", mean {written.scored_by} {written.score:.3f}"
    shown = f"{count(len(written.folds), 'fold')}, {count(written.cases, 'case')}{score}"
    print(f"{written.path}: {shown}, {written.bytes / 1e6:.1f} MB")
    for note in written.notes:
        print(f"Note: {note}")


def _report_study(folder: Path, output: Path | None, json: bool) -> None:
    from maskmed_nnu.workflow.study import read_study
    from maskmed_nnu.workflow.study_report import write_study_report

    written = write_study_report(read_study(folder), output or folder / "report.html")
    if json:
        print_json(asdict(written))
        return
    print(f"{written.path}: best is {written.best}, mean {written.metric} {written.score:.3f}")
    for name, reason in written.broken.items():
        print(f"{name}: {reason}")
