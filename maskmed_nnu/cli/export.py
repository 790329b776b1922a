"""``maskmed export``: write a trained model as one file to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from maskmed_nnu.cli.console import print_json
from maskmed_nnu.cli.options import Checkpoint, Folds, Json
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.inference.model_source import open_model

DESCRIPTION = """\
Write a trained model of any of our networks as a package, one .zip file that `maskmed predict --model FILE`,
`maskmed import FILE` and maskmed_nnu.load take.

It holds weights (safetensors), plans, dataset.json, checksums and a model card. Nothing in it is executed when it is
loaded, so its recipient need not trust it. --onnx writes the network for programs without PyTorch instead, and
--bioimageio a package for the BioImage Model Zoo: docs/how-to/export.md."""
EXAMPLE = """\
maskmed export nnUNetTrainerIAUNet__IAUNetPlans__2d cells.zip --figures scores.json --card about.md
maskmed export nnUNetTrainerIAUNet__IAUNetPlans__2d --onnx cells.onnx
maskmed export nuclei --bioimageio zoo.zip --author "A. Name" --licence CC-BY-4.0 --example cells.png"""


def run(
    model: Annotated[
        str,
        Argument(
            metavar="MODEL",
            help="folder of a training, which holds fold_0 and so on; for other formats than ours also a package",
        ),
    ],
    file: Annotated[Path, Argument(metavar="FILE", help="the file to write: .zip, of --onnx .onnx")],
    onnx: Annotated[bool, Option("--onnx", help="write the network of one patch as an ONNX file")] = False,
    bioimageio: Annotated[
        bool, Option("--bioimageio", help="write a package of the BioImage Model Zoo, of models of images")
    ] = False,
    folds: Folds = None,
    precision: Annotated[
        Literal["float16", "float32"] | None,
        Option(
            "--precision",
            help="of a package's weights (default: float16, which halves the file); float32 predicts as the folder bit "
            "for bit",
        ),
    ] = None,
    card: Annotated[
        Path | None,
        Option("--card", metavar="FILE", help="Markdown for the model card: origin of the data, intended use, limits"),
    ] = None,
    figures: Annotated[
        Path | None,
        Option("--figures", metavar="JSON", help="what maskmed evaluate --json-file wrote of unseen images"),
    ] = None,
    example: Annotated[
        Path | None, Option("--example", metavar="FILE", help="an example image, included in the package")
    ] = None,
    author: Annotated[
        list[str] | None, Option("--author", metavar="NAME", help="who made the model, one or more")
    ] = None,
    licence: Annotated[
        str | None, Option("--licence", metavar="SPDX", help="licence of the model, as CC-BY-4.0")
    ] = None,
    checkpoint: Checkpoint = "checkpoint_final.pth",
    json: Json = False,
) -> None:
    """Write the file and print its content."""
    from maskmed_nnu.api.export import export

    if onnx and bioimageio:
        raise InputError("Give either --onnx or --bioimageio, as one file has one format.")
    format: Literal["package", "onnx", "bioimageio"] = "onnx" if onnx else "bioimageio" if bioimageio else "package"
    path = export(
        model,
        file,
        format=format,
        folds=folds,
        precision=precision,
        card="" if card is None else _text(card),
        figures=figures,
        example=example,
        authors=author or (),
        licence=licence,
        checkpoint=checkpoint,
    )
    packed, size = open_model(model, checkpoint=checkpoint).choose_folds(folds), path.stat().st_size
    rounded = precision or "float16" if format == "package" else "float32"
    if json:
        print_json({format: str(path), "folds": packed, "precision": rounded, "bytes": size})
        return
    print(f"{path}: {count(len(packed), 'fold')} ({', '.join(packed)}) in {rounded}, {size / 1e6:.1f} MB")
    if onnx:
        print("Its metadata say how to predict with it; docs/reference/onnx.md explains them.")
    elif bioimageio:
        print(f"Test it with: bioimageio test {path}")
    else:
        print(f"Predict with: maskmed predict --model {path} -i IMAGES -o FOUND")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InputError(f"{file} cannot be read ({reason}); --card names a Markdown file.") from None
