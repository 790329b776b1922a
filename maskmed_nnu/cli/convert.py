"""``maskmed convert``: make an nnU-Net raw data set from annotated images, or reorient volumes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Option

from maskmed_nnu.cli.console import print_json, progress
from maskmed_nnu.cli.options import Axes, Json, checked

DESCRIPTION = """\
Make an nnU-Net raw data set from images with annotated objects or classes, or bring volumes into one orientation.

A data set needs --id, --name and one of these sources:
  --coco JSON --images DIR   COCO json: polygons or RLE, overlaps, crowd
  --images DIR --masks DIR   a label map for each image (StarDist)
  --images DIR               label maps in the same folder, X_masks.tif (Cellpose)
  --dsb DIR                  a folder for each image, a mask per object
  --ctc DIR                  Cell Tracking Challenge: 01/t000.tif, 01_GT/SEG/man_seg000.tif
Images may be volumes: TIFF stacks, NIfTI, NRRD, MetaImage. With --semantic, the masks of the second and third form hold
classes instead of objects. With --components they hold classes too, and each connected component becomes an object, for
example a lesion:
  --images DatasetX/imagesTr --masks DatasetX/labelsTr --components --min-volume 10

To copy a folder of NIfTI, NRRD and MetaImage volumes (a raw data set with its labels, or images to predict) so that all
have one orientation, without resampling:
  --reorient RAS --images DIR --output NEW_DIR"""
EXAMPLE = "maskmed convert --images images --masks labels --id 10 --name Cells"


def _orientation(text: str) -> str:
    from maskmed_nnu.api.conversion import orientation

    return orientation(text)


def run(
    coco: Annotated[Path | None, Option("--coco", metavar="JSON", help="COCO json of instances")] = None,
    images: Annotated[Path | None, Option("--images", metavar="DIR", help="folder of images")] = None,
    masks: Annotated[
        Path | None, Option("--masks", metavar="DIR", help="folder of label maps (default: the folder of the images)")
    ] = None,
    dsb: Annotated[
        Path | None, Option("--dsb", metavar="DIR", help="folder of folders with images/ and masks/")
    ] = None,
    ctc: Annotated[
        Path | None,
        Option("--ctc", metavar="DIR", help="folder with 01, 01_GT and so on of the Cell Tracking Challenge"),
    ] = None,
    semantic: Annotated[bool, Option("--semantic", help="values of the masks are classes, not objects")] = False,
    components: Annotated[
        bool, Option("--components", help="values of the masks are classes, their connected components the objects")
    ] = False,
    connectivity: Annotated[
        int | None,
        Option(
            "--connectivity",
            metavar="N",
            help="--components: 1, 2 or 3 for neighbours at a face (6 of them), edge (18) or corner (26); in 2D 1 or 2 "
            "(4 or 8) (default: the widest)",
        ),
    ] = None,
    min_volume: Annotated[
        float | None,
        Option(
            "--min-volume",
            metavar="MM3",
            help="--components: smallest volume in mm³, in 2D area in mm², that is kept; a voxel or pixel counts as 1 "
            "if a file has no spacing",
        ),
    ] = None,
    axes: Axes = None,
    spacing: Annotated[
        list[float] | None,
        Option(
            "--spacing",
            metavar="UM",
            help="spacing of TIFF stacks in micrometres between slices, rows and columns, as in --spacing 2 0.4 0.4 "
            "(default: from ImageJ or OME metadata, else 1 1 1)",
        ),
    ] = None,
    id: Annotated[int | None, Option("--id", metavar="N", help="number of the data set, 1 to 999")] = None,
    name: Annotated[
        str | None, Option("--name", metavar="NAME", help="name of the data set, as in Dataset010_NAME")
    ] = None,
    classes: Annotated[
        list[str] | None,
        Option(
            "--classes",
            metavar="CLASS",
            help="COCO, and --components of a raw data set: the classes to take (default: all); --semantic, "
            "--components: a name for each value; else the objects' name (default: object)",
        ),
    ] = None,
    split_pieces: Annotated[
        bool, Option("--split-pieces", help="give each piece of a disconnected object its own id")
    ] = False,
    test: Annotated[int, Option("--test", metavar="N", help="keep the last N cases by name as test cases")] = 0,
    reorient: Annotated[
        str | None,
        Option(
            "--reorient",
            metavar="CODE",
            callback=checked(_orientation),
            help="direction in which x, y and z of all volumes increase: R or L, A or P, S or I, in any order, as "
            "nibabel's RAS",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option("--output", metavar="DIR", help="folder for the data set (default: $nnUNet_raw); --reorient: the copy"),
    ] = None,
    json: Json = False,
) -> None:
    """Convert; print what was read, what was rejected, and the next commands."""
    # here, so that `maskmed convert --help` does not wait for the readers
    from maskmed_nnu.api.conversion import convert

    with progress() as report:
        done = convert(
            images,
            masks,
            coco=coco,
            dsb=dsb,
            ctc=ctc,
            semantic=semantic,
            components=components,
            connectivity=connectivity,
            min_volume=min_volume,
            axes=axes,
            spacing=spacing,
            id=id,
            name=name,
            classes=classes,
            split_pieces=split_pieces,
            test=test,
            reorient=reorient,
            output=output,
            progress=report,
        )
    if json:
        print_json(asdict(done))
        return
    print(done.folder)
    print("\n".join(f"  {line}" for line in done.notes))
    if reorient is not None:
        return
    print("\n" * bool(done.warnings) + "\n".join(f"WARNING: {warning}" for warning in done.warnings))
    print("\nNext:")
    print("\n".join(f"  {line}" for line in done.next_commands))
    print(f"or plan and train in one command:\n  maskmed train {id}")
