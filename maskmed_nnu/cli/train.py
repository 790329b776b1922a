"""``maskmed train``: run nnU-Net's commands, from a raw data set to a validated network."""

from __future__ import annotations

import math
import sys
from typing import Annotated

from typer import Argument, Option

from maskmed_nnu.cli.console import console, print_json, print_table, warn
from maskmed_nnu.cli.options import Device, Json

DESCRIPTION = """\
Plan, preprocess, train and evaluate a data set with nnU-Net's own commands, which are shown.

Finished steps are skipped and an interrupted step resumes when the same command runs again. Without --folds, only fold
0 is trained, and evaluated on the fifth of the cases that it has not seen; -f 0 1 2 3 4 trains all five."""
EXAMPLE = """\
maskmed train 4
maskmed train 4 --network simpleunet --epochs 50 -f 0 1 2 3 4
maskmed train 4 --dry-run"""


def run(
    dataset: Annotated[str, Argument(metavar="DATASET", help="number or name of the data set in $nnUNet_raw")],
    network: Annotated[
        str | None, Option("--network", metavar="NAME", help="network (default: the one suggested for the data set)")
    ] = None,
    folds: Annotated[
        list[str] | None, Option("-f", "--folds", metavar="FOLD", help="folds, or all (default: 0)")
    ] = None,
    configuration: Annotated[
        str | None, Option("-c", "--configuration", metavar="NAME", help="2d, 3d_fullres … (default: by the images)")
    ] = None,
    epochs: Annotated[int | None, Option("--epochs", min=1, metavar="N", help="number of epochs")] = None,
    minutes: Annotated[int | None, Option("--minutes", min=1, metavar="N", help="minutes of training")] = None,
    device: Device = "auto",
    dry_run: Annotated[bool, Option("--dry-run", help="show the commands, and run nothing")] = False,
    json: Json = False,
) -> None:
    """Print each command, its output, and the scores."""
    from maskmed_nnu.api.training import Step, train

    show = console(stderr=json)
    stream = sys.stderr if json else sys.stdout

    def progress(step: Step) -> None:
        show.print(f"\n{step.title}" + (f"\n$ {step.line}" if step.command else ""), soft_wrap=True)

    def output(chunk: bytes) -> None:
        stream.buffer.write(chunk)  # a character may be cut in two
        stream.flush()

    result = train(
        dataset,
        network,
        folds=folds,
        configuration=configuration,
        epochs=epochs,
        minutes=minutes,
        device=device,
        dry_run=dry_run,
        progress=progress,
        output=output,
    )
    if json:
        print_json(result.to_dict())
        return
    show.print(f"\n{result.network} for {result.data_set}: {result.reason}\nmodel  {result.model}", soft_wrap=True)
    for note in result.notes:
        warn(f"Note: {note}")
    seen = [fold for fold in result.folds if fold != "all"]
    if result.evaluation is not None:
        what = f"cases that fold {', '.join(seen)} did not train on" if seen else "the training cases themselves"
        show.print(f"\nPredictions of {what}: {result.evaluation.title()}", soft_wrap=True)
        shown = result.evaluation.shown_rows()
        print_table(list(shown[0]), [list(row.values()) for row in shown])
    names = [name for name in ("Dice", "AP50", "PQ", "F1@0.5") if any(name in one for one in result.scores.values())]
    if len(result.scores) > 1:
        rows = [[fold, *(f"{one.get(name, math.nan):.3f}" for name in names)] for fold, one in result.scores.items()]
        show.print("nnU-Net's mean of each fold's validation:")
        print_table(("fold", *names), rows)
    show.print(f"Next: {result.next_command}", soft_wrap=True)
