"""``maskmed workflow``: write a study of many trainings for Snakemake, on this machine or a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from maskmed_nnu.cli.console import console, print_json, warn
from maskmed_nnu.cli.options import Device, Json

DESCRIPTION = """\
Write a new study: networks, configurations and folds to train, the choice of the best, and images for it to predict.

Snakemake runs it, on this machine or on Slurm, Kubernetes or a cloud: the command is printed. Each job is a command of
nnU-Net or maskmed. Finished jobs are skipped and interrupted jobs resume when the same command runs again.
config.yaml in the folder explains each entry; maskmed status shows the progress of the study.
Install Snakemake with: pip install 'maskmed-nnu[cluster]'"""
EXAMPLE = """\
maskmed workflow hippocampus --dataset 4
maskmed workflow hippocampus --dataset 4 --network maskmed --network nnunet --images scans --parts 100"""


def run(
    folder: Annotated[Path, Argument(metavar="NEW_FOLDER", help="folder of the study; it is created")],
    dataset: Annotated[
        str, Option("-d", "--dataset", metavar="DATASET", help="number or name of the data set in $nnUNet_raw")
    ],
    network: Annotated[
        list[str] | None,
        Option("--network", metavar="NAME", help="networks (default: the one suggested for the data set)"),
    ] = None,
    configuration: Annotated[
        list[str] | None,
        Option("-c", "--configuration", metavar="NAME", help="2d, 3d_fullres … (default: by the images)"),
    ] = None,
    folds: Annotated[list[int] | None, Option("-f", "--folds", metavar="FOLD", help="folds (default: all)")] = None,
    epochs: Annotated[int | None, Option("--epochs", min=1, metavar="N", help="number of epochs")] = None,
    images: Annotated[
        Path | None, Option("-i", "--images", metavar="DIR", help="images for the best model to predict")
    ] = None,
    truth: Annotated[Path | None, Option("--truth", metavar="DIR", help="their true label maps")] = None,
    parts: Annotated[int, Option("--parts", min=1, metavar="N", help="jobs that share the prediction")] = 1,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write the study, and print how to run it."""
    from maskmed_nnu.workflow.new_study import EXTRA, write_study

    new = write_study(
        folder,
        dataset,
        networks=network or (),
        configurations=configuration or (),
        folds=folds or (),
        epochs=epochs,
        images=images,
        truth=truth,
        parts=parts,
        device=device,
    )
    if json:
        print_json(new.to_dict())
        return
    for note in new.notes:
        warn(f"Note: {note}")
    out, config = console(), new.study.config
    names = ", ".join(model.name for model in new.study.models)
    out.print(f"{new.study.folder}: {config.dataset}, folds {', '.join(map(str, config.folds))} of {names}")
    if not network:
        out.print(f"The network: {new.reason}.")
    out.print(f"\nRun it (install Snakemake with pip install '{EXTRA}'):\n  {new.command('local')}", soft_wrap=True)
    out.print(
        "or on a Slurm cluster, once profiles/slurm/config.yaml names its partition:\n  " + new.command("slurm"),
        soft_wrap=True,
    )
    out.print(f"\nSee its progress: maskmed status {new.study.folder}", soft_wrap=True)
