"""``maskmed convert``: images with annotated objects become an nnU-Net raw data set."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from maskmed_nnu.cli.options import add_axes_argument
from maskmed_nnu.errors import InputError

if TYPE_CHECKING:
    from maskmed_nnu.instances.conversion.sources import Source

DESCRIPTION = """\
Make an nnU-Net raw data set from images with annotated objects:

  --coco cells.json --images DIR   COCO json: polygons or RLE, overlapping objects, crowd
  --images DIR --masks DIR         a label map for each image, of the same name (StarDist)
  --images DIR                     label maps beside the images, as X_masks.tif (Cellpose)
  --dsb DIR                        a folder for each image with images/ and masks/, a mask per object (DSB2018)

With --semantic the masks of the second and third form hold classes instead of objects."""
PLANS_AND_TRAINER = {True: ("MaskMed", "nnUNetTrainerMaskMed"), False: ("IAUNet", "nnUNetTrainerIAUNet")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``maskmed convert``."""
    parser.add_argument("--coco", type=Path, metavar="JSON", help="COCO json of instances")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="folder of label maps (default: beside the images)")
    parser.add_argument("--dsb", type=Path, metavar="DIR", help="folder of folders with images/ and masks/")
    parser.add_argument("--semantic", action="store_true", help="values of the masks are classes, not objects")
    add_axes_argument(parser)
    parser.add_argument("--id", type=int, required=True, metavar="N", help="number of the data set, 1 to 999")
    parser.add_argument("--name", required=True, help="name of the data set, as in Dataset010_NAME")
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help="COCO: the categories to take (default: all); --semantic: a name for each value; else the objects' name "
        "(default: object)",
    )
    parser.add_argument(
        "--split-pieces", action="store_true", help="give each piece of an object in several pieces an id of its own"
    )
    parser.add_argument(
        "--test", type=int, default=0, metavar="N", help="keep the last N cases by name as unseen ones (default: none)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the data set (default: $nnUNet_raw)")


def run(options: argparse.Namespace) -> None:
    """Convert, print what was read and what was refused, and the commands that come next."""
    # here, so that `maskmed --help` does not wait for the readers
    from maskmed_nnu.instances.conversion.convert import convert

    if not 1 <= options.id <= 999:
        raise InputError(f"--id {options.id} is no number of an nnU-Net data set; take one from 1 to 999.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", options.name):
        raise InputError(f"--name {options.name!r} is no name for a folder; use letters, digits, _ and -.")
    source = _source(options)
    raw = _output(options.output)
    folder = raw / f"Dataset{options.id:03d}_{options.name}"
    class_names = options.classes if options.semantic else None
    done = convert(source, folder, test=options.test, split=options.split_pieces, class_names=class_names)
    print(folder)
    print("\n".join(f"  {line}" for line in done.lines))
    if done.disconnected:
        print(
            f"\nThe integrity check would refuse the {done.disconnected:,} objects in several pieces. Where an id was "
            "given twice by mistake,\nconvert again with --split-pieces; where they belong together, leave the check "
            "out."
        )
    print("\nNext:")
    print("\n".join(f"  {line}" for line in _next_commands(options, folder, check=not done.disconnected)))


def _source(options: argparse.Namespace) -> Source:
    from maskmed_nnu.instances.conversion.sources import CocoSource, LabelMapSource, MaskPerObjectSource, SemanticSource

    given = [name for name in ("coco", "images", "masks", "dsb", "semantic") if getattr(options, name)]
    legal = (
        ["coco", "images"],
        ["images", "masks"],
        ["images"],
        ["dsb"],
        ["images", "masks", "semantic"],
        ["images", "semantic"],
    )
    if given not in legal:
        named = " ".join(f"--{name}" for name in given) or "nothing"
        raise InputError(
            f"{named} does not say what to convert; give --coco JSON --images DIR, or --images DIR with --masks DIR "
            f"(and --semantic where masks hold classes), or --dsb DIR."
        )
    if options.coco:
        return CocoSource(options.coco, options.images, options.classes, order=options.axes)
    if options.semantic:
        return SemanticSource(options.images, options.masks, order=options.axes)
    names = options.classes or ["object"]
    if len(names) > 1:
        raise InputError(
            f"--classes names {len(names)} classes, but masks of objects hold one; give one name (several classes come "
            f"from COCO json)."
        )
    if options.dsb:
        return MaskPerObjectSource(options.dsb, names[0], order=options.axes)
    return LabelMapSource(options.images, options.masks, names[0], order=options.axes)


def _output(folder: Path | None) -> Path:
    if folder is None and not os.environ.get("nnUNet_raw"):
        raise InputError("Neither --output nor nnUNet_raw says where the data set should go; give --output DIR.")
    raw = Path(folder or os.environ["nnUNet_raw"])
    raw.mkdir(parents=True, exist_ok=True)
    return raw


def _next_commands(options: argparse.Namespace, folder: Path, *, check: bool) -> list[str]:
    plans, trainer = PLANS_AND_TRAINER[options.semantic]
    images = folder / "imagesTs" if options.test else "FOLDER_OF_NEW_IMAGES"
    lines = [
        f"nnUNetv2_plan_and_preprocess -d {options.id} -pl {plans}Planner -c 2d"
        + " --verify_dataset_integrity" * check,
        f"nnUNetv2_train {options.id} 2d 0 -p {plans}Plans -tr {trainer}",
        f"nnUNetv2_predict -i {images} -o PREDICTIONS -d {options.id} -c 2d -f 0 -p {plans}Plans -tr {trainer}",
    ]
    raw = os.environ.get("nnUNet_raw")
    if not raw or Path(raw).resolve() != folder.parent.resolve():
        lines.insert(0, f"export nnUNet_raw={folder.parent.resolve()}")
    return lines
