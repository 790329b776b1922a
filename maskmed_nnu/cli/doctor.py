"""``maskmed doctor``: check this machine, and name a cure for each problem."""

from __future__ import annotations

from typing import Annotated

from typer import Exit, Option

from maskmed_nnu.cli.console import console, print_json, print_table
from maskmed_nnu.cli.options import Json

DESCRIPTION = """\
Check versions, devices, nnU-Net's folders, discovery, memory and disk, and name a cure for each problem.

With a plan, its needs are compared with this machine. The exit status is 1 if there is a problem."""
EXAMPLE = """\
maskmed doctor
maskmed doctor -d 4 -p MaskMedPlans"""


def run(
    plan: Annotated[
        str | None, Option("-p", "--plan", metavar="PLANS", help="a plans.json; with -d, the name of the plans")
    ] = None,
    dataset: Annotated[
        str | None, Option("-d", "--dataset", metavar="ID", help="data set in $nnUNet_preprocessed")
    ] = None,
    json: Json = False,
) -> None:
    """Print the table, and exit with status 1 if there is a problem."""
    from maskmed_nnu.api.machine import PROBLEM, doctor

    diagnosis = doctor(plan, dataset=dataset)
    if json:
        print_json(diagnosis.to_dict())
    else:
        rows = [(check.name, check.status, check.found) for check in diagnosis.checks]
        print_table(("what", "status", "found"), rows, names=3)
        for check in diagnosis.checks:
            if check.cure:
                console().print(f"{check.status} {check.name}: {check.cure}", soft_wrap=True)  # to be copied
        problems = sum(check.status == PROBLEM for check in diagnosis.checks)
        console().print(f"{problems} problem{'s' * (problems != 1)}" if problems else "No problem.")
    if not diagnosis.healthy:
        raise Exit(1)
