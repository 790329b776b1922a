"""``maskmed plan``: show what each network would be trained on, in one table."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from maskmed_nnu.cli.console import console, print_json, print_table, warn
from maskmed_nnu.cli.options import Device, Json

DESCRIPTION = """\
Show what each network's planner, and nnU-Net's own, would choose for a raw data set; nothing is written.

The data set is a number or a name in $nnUNet_raw. Memory is the planners' estimate for the training."""
EXAMPLE = """\
maskmed plan 4
maskmed plan 4 --network maskmed nnunet --measure"""
HEADER = ("network", "configuration", "patch", "batch", "stages", "queries", "memory")
WIDE = 120
"""Smallest width of a terminal at which all columns are shown."""


def run(
    dataset: Annotated[str, Argument(metavar="DATASET", help="number or name of the data set")],
    network: Annotated[
        list[str] | None, Option("--network", metavar="NAME", help="networks (default: all that suit the data set)")
    ] = None,
    measure: Annotated[
        bool, Option("--measure", help="measure steps per hour on this machine, by a few training steps on noise")
    ] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Print the table, the reasons below it, and the suggestion."""
    from maskmed_nnu.api.planning import plan

    show = console(stderr=True)
    report = plan(
        dataset, networks=network, measure=measure, device=device, progress=lambda name: show.print(f"… {name}")
    )
    for note in report.notes:
        warn(f"Note: {note}")
    if json:
        print_json(report.to_dict())
        return
    wide = console().width >= WIDE
    header = [*HEADER, *(("spacing", "parameters") if wide else ()), *(("steps per hour",) if measure else ())]
    rows = []
    for one in report.configurations:
        row = [one.title, one.configuration, "×".join(map(str, one.patch)), str(one.batch), str(one.stages)]
        row += [str(one.queries or "–"), f"{one.memory_gb:.2g} GB"]
        if wide:
            row += ["×".join(f"{edge:.3g}" for edge in one.spacing), f"{one.parameters:,}"]
        if measure:
            row.append(f"{one.steps_per_hour:,.0f}" if one.steps_per_hour else str(one.failure))
        rows.append(row)
    print_table(header, rows, names=2)
    out = console()
    for one in report.configurations:
        out.print(f"{one.title} {one.configuration}: {one.why}\n")
    for name, sentence in report.refusals.items():
        out.print(f"{name}: {sentence}\n")
    out.print(f"{report.data_set}: {report.cases} training cases of {report.kind}; fingerprint {report.fingerprint}.")
    out.print(f"Suggested: {report.suggestion}, for {report.reason}.")
    out.print(f"Next: maskmed train {dataset} --network {report.suggestion}")
