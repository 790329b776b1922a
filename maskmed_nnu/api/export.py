"""Export a trained model as one file to share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import read_json

FORMATS = ("package", "onnx", "bioimageio")


def export(
    model_folder: str | Path,
    path: str | Path,
    *,
    format: Literal["package", "onnx", "bioimageio"] = "package",
    folds: Sequence[str | int] | str | int | None = None,
    precision: Literal["float16", "float32"] | None = None,
    card: str = "",
    figures: str | Path | Mapping[str, Any] | None = None,
    example: str | Path | None = None,
    authors: Sequence[str] = (),
    licence: str | None = None,
    checkpoint: str = "checkpoint_final.pth",
) -> Path:
    """Write a trained model as one file to share. The file is complete or absent.

    A **package** is a ``.zip`` file that `load`, `import_model` and ``maskmed predict --model`` take. It holds weights
    as safetensors, plans, ``dataset.json``, checksums and a model card. It holds no pickles, so loading it cannot run
    code.

    **onnx** is an ``.onnx`` file of the network for programs without PyTorch. Its input is one preprocessed patch
    ``[B, C, *patch]`` in float32, in batches of any size. Its metadata describe how nnU-Net predicts whole images.

    **bioimageio** is a ``.zip`` file in the format of the BioImage Model Zoo, for models of images.

    Parameters
    ----------
    model_folder
        The folder of a training, ``TRAINER__PLANS__CONFIGURATION``. Its checkpoints are unpickled, as nnU-Net does:
        export only models that you trust. For onnx and bioimageio also a package, or the name of one of our models.
    path
        The file to write. An older file of the same format is replaced, any other file is not.
    format
        ``"package"``, ``"onnx"`` or ``"bioimageio"``.
    folds
        Folds to export; by default all trained numbered folds, or ``all`` if there are none. In onnx and bioimageio the
        graph averages the folds of a model of classes; a model of objects must have one.
    precision
        Type of a package's weights. ``"float16"``, the default, halves the file; predictions change less than between
        folds. A ``"float32"`` package predicts the same as the folder, bit for bit.
    card
        Markdown for the model card: where the data come from, what the model is meant for and where it fails. Left
        out, the card says that they are unknown.
    figures
        What `evaluate` found on images that the model was not trained on: the JSON file that ``maskmed evaluate``
        wrote, or its content; for the model card.
    example
        Path of an image to try the model with; a package holds a copy. bioimageio needs one and cuts its test input
        from the middle.
    authors
        Names of the authors of the model, for the model card; bioimageio needs one or more.
    licence
        Licence of the model, for the model card. bioimageio needs an SPDX identifier such as ``"CC-BY-4.0"``; the
        default is the licence in ``dataset.json``.
    checkpoint
        Name of the file of weights in each fold.

    Returns
    -------
    Path
        Path of the file that was written.

    Raises
    ------
    InputError
        If there is no trained model, ``path`` cannot be written or is another kind of file, the weights do not fit
        ``precision``, or the format cannot hold the model or one of the arguments.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> mm.export("nnUNetTrainerIAUNet__IAUNetPlans__2d", "cells.zip", folds="all")  # doctest: +SKIP
    PosixPath('cells.zip')
    >>> mm.export("nuclei", "nuclei.onnx", format="onnx")  # doctest: +SKIP
    PosixPath('nuclei.onnx')
    """
    if format not in FORMATS:
        raise InputError(f"There is no format {format!r} for models; legal are {format_list(FORMATS)}.")
    if format != "package" and precision is not None:
        raise InputError(f"precision applies to packages, and {format} is always float32; leave it out.")
    picture = None if example is None else Path(example)
    described: dict[str, Any] = {
        "card": card,
        "figures": figures,
        "example": picture,
        "authors": authors,
        "licence": licence,
    }
    if format == "onnx":
        from maskmed_nnu.nnunet.model_sharing.onnx_export import export_onnx

        given = [name for name, value in described.items() if value]
        if given:
            raise InputError(f"An ONNX file cannot contain {format_list(given)}; leave that out, or write a package.")
        return export_onnx(model_folder, path, folds=folds, checkpoint=checkpoint)
    if isinstance(figures, (str, Path)):
        content = read_json(figures, expected="what maskmed evaluate wrote")
        if not isinstance(content, dict):
            raise InputError(f"{figures} is not a JSON object; name the file that maskmed evaluate wrote.")
        described["figures"] = content
    if format == "bioimageio":
        from maskmed_nnu.nnunet.model_sharing.bioimageio_export import export_bioimageio

        return export_bioimageio(model_folder, path, folds=folds, checkpoint=checkpoint, **described)
    from maskmed_nnu.nnunet.model_sharing.model_package import write_package

    return write_package(
        model_folder, path, folds=folds, precision=precision or "float16", checkpoint=checkpoint, **described
    )


def example(name: str = "nuclei") -> Path:
    """Path of the example image of one of our models.

    Raises
    ------
    InputError
        If no model of ours has this name; the message lists the names.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> mm.load("nuclei").predict(mm.example("nuclei")).plot()  # doctest: +SKIP
    """
    from maskmed_nnu.nnunet.inference.model_package import example_picture

    return example_picture(name)
