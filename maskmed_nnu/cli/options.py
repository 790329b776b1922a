"""Options that several commands share, as types of the parameters of their functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.devices import DEVICES
from maskmed_nnu.nnunet.inference.model_source import ModelSource, open_model

MODEL = "The trained model: -m, or -d with the names that nnU-Net's commands take"


def checked(check: Callable[[str], str]) -> Callable[[str | None], str | None]:
    """A callback for an option that may be left out: `check` returns the value to take, or raises ``ValueError``."""

    def callback(value: str | None) -> str | None:
        try:
            return None if value is None else check(value)
        except ValueError as error:  # an InputError, too
            raise BadParameter(str(error).rstrip(".")) from None

    return callback


def _axes(text: str) -> str:
    from maskmed_nnu.api.conversion import named_axes

    return named_axes(text)


def _device(text: str) -> str:
    if text not in DEVICES:
        raise ValueError(f"{text!r} is not a device; legal are {', '.join(DEVICES)}")
    return text


Axes = Annotated[
    str | None,
    Option(
        "--axes",
        metavar="ZCYX",
        callback=checked(_axes),
        help="axes of TIFFs and volumes: Z slices, C channels, Y rows, X columns (default: from the files)",
    ),
]
Device = Annotated[str, Option("--device", metavar="DEVICE", callback=checked(_device), help=" | ".join(DEVICES))]
Json = Annotated[bool, Option("--json", help="print one JSON object, for scripts, and nothing else")]
Images = Annotated[Path, Option("-i", "--input", metavar="PATH", help="folder of images, or an image")]

ModelPath = Annotated[
    str | None,
    Option(
        "-m",
        "--model",
        metavar="MODEL",
        rich_help_panel=MODEL,
        help="folder of a training (with fold_0 and so on), model package (.zip), or nuclei, which comes with maskmed",
    ),
]
Dataset = Annotated[
    str | None, Option("-d", "--dataset", metavar="ID", rich_help_panel=MODEL, help="data set in $nnUNet_results")
]
Trainer = Annotated[str, Option("-tr", metavar="TRAINER", rich_help_panel=MODEL, help="trainer")]
Plans = Annotated[str, Option("-p", metavar="PLANS", rich_help_panel=MODEL, help="plans")]
Configuration = Annotated[str, Option("-c", metavar="CONFIGURATION", rich_help_panel=MODEL, help="configuration")]
Checkpoint = Annotated[str, Option("--checkpoint", metavar="FILE", rich_help_panel=MODEL, help="weights of a fold")]
Fold = Annotated[
    str | None,
    Option("-f", "--fold", metavar="FOLD", rich_help_panel=MODEL, help="fold (default: the first that is trained)"),
]
Folds = Annotated[
    list[str] | None,
    Option(
        "-f",
        "--folds",
        metavar="FOLD",
        rich_help_panel=MODEL,
        help="folds to combine, as in -f 0 1 2 (default: all that are trained)",
    ),
]


def model_source(
    model: str | None, dataset: str | None, checkpoint: str, *, trainer: str, plans: str, configuration: str
) -> ModelSource:
    """The model that the options name.

    Raises:
        InputError: If they name no model, or one that is not trained.
    """
    from maskmed_nnu.nnunet.inference.trained_model import results_folder

    if (model is None) == (dataset is None):
        raise InputError("Give the trained model either as -m MODEL or as -d DATASET (with -tr, -p and -c).")
    folder: str | Path | None = model
    if folder is None:
        assert dataset is not None
        if not os.environ.get("nnUNet_results"):
            raise InputError(
                "-d needs the environment variable nnUNet_results; set it, or give the model as -m FOLDER."
            )
        folder = results_folder(dataset, trainer=trainer, plans=plans, configuration=configuration)
    return open_model(folder, checkpoint=checkpoint)
