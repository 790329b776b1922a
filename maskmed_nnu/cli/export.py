"""``maskmed export``: a trained model as one file to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from maskmed_nnu.cli.console import print_json
from maskmed_nnu.cli.options import Checkpoint, Folds, Json
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count

DESCRIPTION = """\
Write a trained model of any of our networks as a package, one .zip file that `maskmed predict --model FILE` and
maskmed_nnu.load take.

It holds weights (safetensors), plans, dataset.json, checksums and a model card. Nothing in it is executed when it is
loaded, so whoever gets it need not trust it. A SimpleUNet can also become an ONNX file for programs without PyTorch:
docs/simple_unet.md."""
EXAMPLE = """\
maskmed export nnUNetTrainerIAUNet__IAUNetPlans__2d cells.zip --figures scores.json --card about.md"""


def run(
    model: Annotated[Path, Argument(metavar="MODEL", help="folder of a training, which holds fold_0 and so on")],
    file: Annotated[Path, Argument(metavar="FILE", help="the package to write, a .zip file")],
    folds: Folds = None,
    precision: Annotated[
        Literal["float16", "float32"],
        Option(
            "--precision", help="of the weights; float16 halves the file, float32 predicts as the folder bit for bit"
        ),
    ] = "float16",
    card: Annotated[
        Path | None,
        Option(
            "--card",
            metavar="FILE",
            help="Markdown for the model card: origin and licence of the data, intended use, limits",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        Option("--figures", metavar="JSON", help="what maskmed evaluate --json-file wrote of unseen images"),
    ] = None,
    example: Annotated[
        Path | None, Option("--example", metavar="FILE", help="a picture to try the model with, to be packed too")
    ] = None,
    checkpoint: Checkpoint = "checkpoint_final.pth",
    json: Json = False,
) -> None:
    """Write the package and say what is in it."""
    from maskmed_nnu.api.export import export
    from maskmed_nnu.nnunet.inference.model_source import open_model

    path = export(
        model,
        file,
        folds=folds,
        precision=precision,
        card="" if card is None else _text(card),
        figures=figures,
        example=example,
        checkpoint=checkpoint,
    )
    packed, size = open_model(path).folds, path.stat().st_size
    if json:
        print_json({"package": str(path), "folds": list(packed), "precision": precision, "bytes": size})
        return
    print(f"{path}: {count(len(packed), 'fold')} ({', '.join(packed)}) in {precision}, {size / 1e6:.1f} MB")
    print(f"Predict with: maskmed predict --model {path} -i IMAGES -o FOUND")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InputError(f"{file} cannot be read ({reason}); --card names a Markdown file.") from None
