"""A trained model as one file to hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json


def export(
    model_folder: str | Path,
    path: str | Path,
    *,
    folds: Sequence[str | int] | str | int | None = None,
    precision: Literal["float16", "float32"] = "float16",
    card: str = "",
    figures: str | Path | Mapping[str, Any] | None = None,
    example: str | Path | None = None,
    checkpoint: str = "checkpoint_final.pth",
) -> Path:
    """Write a trained model as a package: one ``.zip`` file that `load` and ``maskmed predict --model`` take.

    It holds weights as safetensors, plans, ``dataset.json``, checksums and a model card, and no pickles: whoever loads
    it need not trust it. It is complete under its name or not there at all.

    Parameters
    ----------
    model_folder
        The folder of a training, ``TRAINER__PLANS__CONFIGURATION``. Its checkpoints are unpickled, as nnU-Net does:
        export only models that you trust.
    path
        The file to write. An older package of that name is replaced, any other file is not.
    folds
        Those that go into the package; by default all numbered ones that are trained, or else ``all``.
    precision
        Of the weights. ``"float16"`` halves the file, and predictions change by less than folds differ; those of a
        ``"float32"`` package are the folder's bit for bit.
    card
        Markdown for the model card: where the data come from, their licence, what the model is meant for and where it
        fails. Left out, the card says that nobody has said.
    figures
        What `evaluate` found on images that the model was not trained on: the JSON file that ``maskmed evaluate``
        wrote, or its content.
    example
        A picture to try the model with; it is copied into the package.
    checkpoint
        The file of the weights in each fold.

    Returns
    -------
    Path
        That of the package.

    Raises
    ------
    InputError
        Where there is no trained model, ``path`` is no place for a package, or the weights do not fit ``precision``.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> mm.export("nnUNetTrainerIAUNet__IAUNetPlans__2d", "cells.zip", folds="all")  # doctest: +SKIP
    PosixPath('cells.zip')
    """
    from maskmed_nnu.nnunet.model_sharing.model_package import write_package

    if isinstance(figures, (str, Path)):
        content = read_json(figures, expected="what maskmed evaluate wrote")
        if not isinstance(content, dict):
            raise InputError(f"{figures} is no JSON object; name the file that maskmed evaluate wrote.")
        figures = content
    return write_package(
        model_folder,
        path,
        folds=folds,
        precision=precision,
        card=card,
        figures=figures,
        example=None if example is None else Path(example),
        checkpoint=checkpoint,
    )


def example(name: str = "nuclei") -> Path:
    """The picture that comes with one of our models, to try it with.

    Raises
    ------
    InputError
        For a name that none of our models has.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> mm.load("nuclei").predict(mm.example("nuclei")).plot()  # doctest: +SKIP
    """
    from maskmed_nnu.nnunet.inference.model_package import example_picture

    return example_picture(name)
