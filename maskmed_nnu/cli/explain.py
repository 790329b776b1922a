"""``maskmed explain``: show what queries and attention of a network do in one patch of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from maskmed_nnu.cli.console import print_json, print_table, progress, warn
from maskmed_nnu.cli.options import Axes, Checkpoint, Device, Fold, Json
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input

DESCRIPTION = """\
Show how a network reaches its prediction, in one patch of an image.

MaskMed: the mask and classes of each query, which query predicts which class, how similar the queries are, and where
the FSAD-Transformer samples. IAUNet: the heatmap, its peaks, votes and the masks of the queries. MaskAttnUNet: the
attention maps. docs/reference/figures.md says how to read each figure.

In the output folder:
  NAME.png     figures
NAME.csv     the numbers in the figures
arrays.npz   masks, embeddings and other arrays"""
EXAMPLE = "maskmed explain nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres case_0000.nii.gz -o explained"
ROWS = 40


def run(
    model: Annotated[
        str,
        Argument(metavar="MODEL", help="folder of a training, model package (.zip), or nuclei, which comes with us"),
    ],
    image: Annotated[
        list[Path], Argument(metavar="IMAGE…", help="the image; of several channels in files of their own, all of them")
    ],
    output: Annotated[Path, Option("-o", "--output", metavar="DIR", help="folder for figures and tables")],
    at: Annotated[
        list[int] | None,
        Option(
            "--at",
            metavar="VOXEL",
            help="where to look, from 0 on, as in --at Z Y X (default: where most of the classes are found)",
        ),
    ] = None,
    axes: Axes = None,
    checkpoint: Checkpoint = "checkpoint_final.pth",
    fold: Fold = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Draw every figure and print the first table."""
    from maskmed_nnu.api.model import load

    refuse_image_folder(output)
    refuse_output_over_input([output], [*image, *{file.parent for file in image}])
    opened = load(model, folds=fold, checkpoint=checkpoint, device=device)
    with progress() as report:
        shown = opened.explain(_files(image, opened.channels), at=at, axes=axes, progress=report)
        written = shown.save(output, progress=report)
    table = shown.to_table()
    first, last = shown.box.reshape(2, -1).tolist()
    if json:
        print_json(
            {
                "network": shown.network,
                "fold": opened.folds[0],
                "first_voxel": first,
                "behind_last_voxel": last,
                "notes": shown.notes,
                "tables": {name: each.to_dict("records") for name, each in shown.tables.items()},
                "files": written,
            }
        )
        return
    for note in shown.notes:
        warn(note)
    rows = [[_text(value) for value in row] for row in table.head(ROWS).itertuples(index=False)]
    print_table([str(name).replace("_", " ") for name in table.columns], rows)
    if len(table) > ROWS:
        print(f"… and {len(table) - ROWS} more rows in the table")
    where = f"voxels {tuple(first)} to {tuple(end - 1 for end in last)}"
    print(f"{shown.network}, fold {opened.folds[0]}, {where}: {', '.join(path.name for path in written)} in {output}")


def _files(image: list[Path], channels: list[str]) -> list[Path]:
    """A lone file of a model with several channels is one of ``X_0000``, ``X_0001`` …, or holds them all."""
    if len(image) > 1 or len(channels) == 1 or not image[0].is_file():
        return image
    from maskmed_nnu.nnunet.inference.input_cases import find_cases

    for case in find_cases(image[0].parent, channels=len(channels)):
        if image[0] in case.files:
            return case.files
    return image


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
