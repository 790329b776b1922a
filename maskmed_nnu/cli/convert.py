"""``maskmed convert``: images with annotated objects become an nnU-Net raw data set, or volumes are turned."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

from typer import Option

from maskmed_nnu.cli.options import Axes, checked
from maskmed_nnu.errors import InputError
from maskmed_nnu.output_paths import refuse_data_set_folder, refuse_output_over_input

if TYPE_CHECKING:
    from maskmed_nnu.instances.conversion.sources import Source

DESCRIPTION = """\
Make an nnU-Net raw data set from images with annotated objects or classes, or turn volumes to one orientation.

A data set needs --id and --name, and what it is made from:
  --coco JSON --images DIR   COCO json: polygons or RLE, overlaps, crowd
  --images DIR --masks DIR   a label map for each image (StarDist)
  --images DIR               label maps beside them, X_masks.tif (Cellpose)
  --dsb DIR                  a folder for each image, a mask per object
With --semantic the masks of the second and third form hold classes instead of objects.

To turn all NIfTI, NRRD and MetaImage volumes of a folder, such as a raw data set with its labels or images to be
predicted, into a copy in which they have one orientation (nothing is resampled):
  --reorient RAS --images DIR --output NEW_DIR"""
EXAMPLE = "maskmed convert --images pictures --masks labels --id 10 --name Cells"
PLANS_AND_TRAINER = {True: ("MaskMed", "nnUNetTrainerMaskMed"), False: ("IAUNet", "nnUNetTrainerIAUNet")}


def _orientation(text: str) -> str:
    code = text.upper()
    if len(code) != 3 or any(len(set(code) & set(ends)) != 1 for ends in ("LR", "PA", "IS")):
        raise ValueError(
            f"{text!r} is no orientation; give a letter each of R or L, A or P, S or I, such as RAS or LPS"
        )
    return code


def run(
    coco: Annotated[Path | None, Option("--coco", metavar="JSON", help="COCO json of instances")] = None,
    images: Annotated[Path | None, Option("--images", metavar="DIR", help="folder of images")] = None,
    masks: Annotated[
        Path | None, Option("--masks", metavar="DIR", help="folder of label maps (default: beside the images)")
    ] = None,
    dsb: Annotated[
        Path | None, Option("--dsb", metavar="DIR", help="folder of folders with images/ and masks/")
    ] = None,
    semantic: Annotated[bool, Option("--semantic", help="values of the masks are classes, not objects")] = False,
    axes: Axes = None,
    id: Annotated[int | None, Option("--id", metavar="N", help="number of the data set, 1 to 999")] = None,
    name: Annotated[
        str | None, Option("--name", metavar="NAME", help="name of the data set, as in Dataset010_NAME")
    ] = None,
    classes: Annotated[
        list[str] | None,
        Option(
            "--classes",
            metavar="CLASS",
            help="COCO: the categories to take (default: all); --semantic: a name for each value; else the objects' "
            "name (default: object)",
        ),
    ] = None,
    split_pieces: Annotated[
        bool, Option("--split-pieces", help="give each piece of an object in several pieces an id of its own")
    ] = False,
    test: Annotated[int, Option("--test", metavar="N", help="keep the last N cases by name as unseen ones")] = 0,
    reorient: Annotated[
        str | None,
        Option(
            "--reorient",
            metavar="CODE",
            callback=checked(_orientation),
            help="where x, y and z of all volumes shall run to: R or L, A or P, S or I, in any order, as in nibabel's "
            "RAS",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option("--output", metavar="DIR", help="folder for the data set (default: $nnUNet_raw); --reorient: the copy"),
    ] = None,
) -> None:
    """Convert, print what was read and what was refused, and the commands that come next."""
    options = SimpleNamespace(**locals())
    # here, so that `maskmed --help` does not wait for the readers
    from maskmed_nnu.instances.conversion.convert import convert

    if options.reorient:
        _reorient(options)
        return
    if options.id is None or options.name is None:
        raise InputError(
            "--id and --name say what the data set is to be called; give both, as in --id 10 --name Cells."
        )
    if not 1 <= options.id <= 999:
        raise InputError(f"--id {options.id} is no number of an nnU-Net data set; take one from 1 to 999.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", options.name):
        raise InputError(f"--name {options.name!r} is no name for a folder; use letters, digits, _ and -.")
    source = _source(options)
    raw = _output(options)
    folder = raw / f"Dataset{options.id:03d}_{options.name}"
    class_names = options.classes if options.semantic else None
    done = convert(source, folder, test=options.test, split=options.split_pieces, class_names=class_names)
    print(folder)
    print("\n".join(f"  {line}" for line in done.lines))
    print("\n" * bool(done.warnings) + "\n".join(f"WARNING: {warning}" for warning in done.warnings))
    print("\nNext:")
    print("\n".join(f"  {line}" for line in _next_commands(options, folder)))


def _reorient(options: SimpleNamespace) -> None:
    from maskmed_nnu.instances.conversion.reorient import reorient

    others = ("coco", "masks", "dsb", "semantic", "axes", "id", "name", "classes", "split_pieces", "test")
    given = [f"--{name.replace('_', '-')}" for name in others if getattr(options, name)]
    if given:
        raise InputError(f"{', '.join(given)} cannot go with --reorient, which copies a whole folder; leave it out.")
    if options.images is None or options.output is None:
        raise InputError("--reorient copies a folder; name it as --images DIR, and the copy as --output NEW_DIR.")
    lines = reorient(options.images, options.output, options.reorient)
    print(options.output)
    print("\n".join(f"  {line}" for line in lines))


def _source(options: SimpleNamespace) -> Source:
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


def _output(options: SimpleNamespace) -> Path:
    if options.output is None and not os.environ.get("nnUNet_raw"):
        raise InputError("Neither --output nor nnUNet_raw says where the data set should go; give --output DIR.")
    raw = Path(options.output or os.environ["nnUNet_raw"])
    inputs = [folder for folder in (options.images, options.masks, options.dsb) if folder]
    refuse_output_over_input([raw], inputs, advice="name another folder as --output")
    refuse_data_set_folder(raw)
    raw.mkdir(parents=True, exist_ok=True)
    if not os.access(raw, os.W_OK | os.X_OK):
        raise InputError(f"There is no permission to write into {raw}; change it, or give another folder as --output.")
    return raw


def _next_commands(options: SimpleNamespace, folder: Path) -> list[str]:
    plans, trainer = PLANS_AND_TRAINER[options.semantic]
    images = shlex.quote(str(folder / "imagesTs")) if options.test else "FOLDER_OF_NEW_IMAGES"
    lines = [
        f"nnUNetv2_plan_and_preprocess -d {options.id} -pl {plans}Planner -c 2d --verify_dataset_integrity",
        f"nnUNetv2_train {options.id} 2d 0 -p {plans}Plans -tr {trainer}",
        f"nnUNetv2_predict -i {images} -o PREDICTIONS -d {options.id} -c 2d -f 0 -p {plans}Plans -tr {trainer}",
    ]
    raw = os.environ.get("nnUNet_raw")
    if not raw or Path(raw).resolve() != folder.parent.resolve():
        lines.insert(0, f"export nnUNet_raw={shlex.quote(str(folder.parent.resolve()))}")
    return lines
