"""Options that several commands share: the trained model, and the device."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import AXES
from maskmed_nnu.nnunet.inference.model_source import ModelSource, open_model
from maskmed_nnu.nnunet.inference.trained_model import results_folder


def add_model_arguments(parser: argparse.ArgumentParser, *, trainer: str, plans: str) -> argparse._ArgumentGroup:
    """Declare the options that name a model, with the defaults ``trainer`` and ``plans``; returns their group."""
    model = parser.add_argument_group("the trained model: its folder, or data set and names as for nnU-Net's commands")
    model.add_argument("-m", "--model", type=Path, metavar="DIR", help="folder that holds fold_0 and so on")
    model.add_argument("-d", "--dataset", metavar="ID", help="data set in $nnUNet_results")
    model.add_argument("-tr", default=trainer, metavar="TRAINER", help="(%(default)s)")
    model.add_argument("-p", default=plans, metavar="PLANS", help="(%(default)s)")
    model.add_argument("-c", default="2d", metavar="CONFIGURATION", help="(%(default)s)")
    model.add_argument("--checkpoint", default="checkpoint_final.pth", metavar="FILE", help="(%(default)s)")
    return model


def add_axes_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--axes``, for TIFFs."""
    parser.add_argument(
        "--axes",
        type=_axes,
        metavar="ZCYX",
        help="axes of TIFFs and volumes: Z slices, C channels, Y rows, X columns (default: as the files tell)",
    )


def _axes(text: str) -> str:
    axes = text.upper()
    if len(set(axes)) < len(axes) or not set("YX") <= set(axes) <= set(AXES):
        raise argparse.ArgumentTypeError(
            f"{text!r} does not name the axes of an image; give Y and X, and C for channels and Z for slices where it "
            "has them, in the order of the file: YX, CYX, ZYX or ZCYX, for example"
        )
    return axes


def model_source(options: argparse.Namespace) -> ModelSource:
    """The model that the options of `add_model_arguments` name.

    Raises:
        InputError: where they name none, or one that is not trained.
    """
    if (options.model is None) == (options.dataset is None):
        raise InputError("Give the trained model either as -m FOLDER or as -d DATASET (with -tr, -p and -c).")
    folder = options.model
    if folder is None:
        if not os.environ.get("nnUNet_results"):
            raise InputError(
                "-d needs the environment variable nnUNet_results; set it, or give the model as -m FOLDER."
            )
        folder = results_folder(options.dataset, trainer=options.tr, plans=options.p, configuration=options.c)
    return open_model(folder, checkpoint=options.checkpoint)
