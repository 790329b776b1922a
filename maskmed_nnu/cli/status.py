"""``maskmed status``: the progress of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from maskmed_nnu.cli.console import console, print_json, print_table
from maskmed_nnu.cli.options import Json

DESCRIPTION = """\
Show the progress of a study of maskmed workflow: epoch, last score, time left, attempts and node of each training; the
other steps; and failed jobs with the last lines of their logs.

It reads the logs of all jobs and works without the scheduler. A training counts as silent if its log has not grown for
three epochs and for 15 minutes. watch -n 60 maskmed status STUDY updates the table every minute."""
EXAMPLE = """\
maskmed status hippocampus
maskmed status hippocampus --html status.html"""


def run(
    study: Annotated[Path, Argument(metavar="STUDY", help="folder of the study")],
    html: Annotated[Path | None, Option("--html", metavar="FILE", help="also write it as a page")] = None,
    json: Json = False,
) -> None:
    """Print the tables."""
    from maskmed_nnu.workflow.status import HEADER, STEP_HEADER, read_status
    from maskmed_nnu.workflow.study import read_study

    status = read_status(read_study(study))
    if html is not None:
        from maskmed_nnu.workflow.status_page import write_status_page

        write_status_page(status, html)
    if json:
        print_json(status.to_dict())
        return
    out = console()
    out.print(status.summary() + "\n", soft_wrap=True)
    print_table(HEADER, [one.cells() for one in status.trainings], names=4)
    print_table(STEP_HEADER, [one.cells() for one in status.steps])
    for job, words in status.failures:
        out.print(f"\nfailed: {job}\n{words}", soft_wrap=True)
    if status.best:
        out.print(f"\nbest: {' with '.join(status.best)}", soft_wrap=True)
    if status.finished:
        out.print(f"report: {Path(status.study) / 'report.html'}", soft_wrap=True)
