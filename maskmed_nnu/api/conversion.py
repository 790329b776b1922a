"""``mm.convert``: images with annotated objects or classes become an nnU-Net raw data set, or volumes are turned."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import convert as convert_source
from maskmed_nnu.instances.conversion.reorient import reorient as reorient_folder
from maskmed_nnu.instances.conversion.sources import (
    CocoSource,
    LabelMapSource,
    MaskPerObjectSource,
    SemanticSource,
    Source,
)
from maskmed_nnu.instances.formats import AXES
from maskmed_nnu.output_paths import refuse_data_set_folder, refuse_output_over_input
from maskmed_nnu.progress import Report

PLANS_AND_TRAINER = {True: ("MaskMed", "nnUNetTrainerMaskMed"), False: ("IAUNet", "nnUNetTrainerIAUNet")}
SOURCES = (
    {"coco", "images"},
    {"images", "masks"},
    {"images"},
    {"dsb"},
    {"images", "masks", "semantic"},
    {"images", "semantic"},
)
"""What may be given together."""


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` has written.

    Attributes
    ----------
    folder : Path
        The data set, or the copy of the folder.
    cases, test_cases : list of str
        Names of the cases to train on and of those that were held back.
    notes : list of str
        Lines on what was read, changed and refused.
    warnings : list of str
        Sentences on what may not be as it was meant.
    next_commands : list of str
        What to type to plan, train and predict.
    """

    folder: Path
    cases: list[str]
    test_cases: list[str]
    notes: list[str]
    warnings: list[str]
    next_commands: list[str]


def convert(
    images: str | Path | None = None,
    masks: str | Path | None = None,
    *,
    coco: str | Path | None = None,
    dsb: str | Path | None = None,
    semantic: bool = False,
    axes: str | None = None,
    id: int | None = None,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    split_pieces: bool = False,
    test: int = 0,
    reorient: str | None = None,
    output: str | Path | None = None,
    progress: Report | None = None,
) -> Conversion:
    """Make an nnU-Net raw data set, or turn the volumes of a folder.

    Parameters
    ----------
    images, masks
        Folder of images, and of a label map for each, of the same name; without `masks` the label maps lie beside the
        images, as ``X_masks.tif``.
    coco
        COCO json of the objects in `images`, in the place of masks.
    dsb
        Folder with a folder for each image, with ``images`` and ``masks``, a mask for each object.
    semantic
        Whether the values of `masks` are classes, not objects.
    axes
        Axes of TIFFs and volumes, such as ``"ZCYX"``; by default as the files tell.
    id, name
        Number, 1 to 999, and name of the data set, which becomes ``DatasetXXX_NAME``.
    classes
        COCO: the categories to take (default: all); `semantic`: a name for each value; else the name of the objects.
    split_pieces
        Whether each piece of an object in several pieces gets an id of its own.
    test
        How many cases, the last ones by name, are held back as unseen ones.
    reorient
        Copies all of `images` to `output` instead, with all volumes turned to this orientation, such as ``"RAS"``.
    output
        Folder in which the data set is made, by default nnU-Net's ``nnUNet_raw``.
    progress
        Is called with a `Progress`.

    Returns
    -------
    Conversion
        Where the data set lies, its cases, and what was noticed.

    Raises
    ------
    InputError
        Where files or arguments are faulty; nothing is left behind.

    Examples
    --------
    >>> import maskmed_nnu as mm, numpy as np, tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> for part, value in (("images", 90), ("masks", 1)):
    ...     (folder / part).mkdir()
    ...     picture = np.zeros((32, 32), np.uint8)
    ...     picture[8:20, 8:20] = value
    ...     Image.fromarray(picture).save(folder / part / "a.png")
    >>> done = mm.convert(folder / "images", folder / "masks", id=10, name="Cells", output=folder / "raw")
    >>> done.folder.name, done.cases
    ('Dataset010_Cells', ['a'])
    """
    if reorient is not None:
        others = {"masks": masks, "coco": coco, "dsb": dsb, "semantic": semantic, "axes": axes, "id": id, "name": name}
        others |= {"classes": bool(classes), "split_pieces": split_pieces, "test": test}
        return _reorient(
            images, output, orientation(reorient), [name for name, value in others.items() if value], progress
        )
    _check_name(id, name)
    if axes is not None:
        axes = named_axes(axes)
    classes = [classes] if isinstance(classes, str) else list(classes or ())
    source = _source(images, masks, coco, dsb, semantic, axes, classes)
    raw = _raw_folder(output, [folder for folder in (images, masks, dsb) if folder is not None])
    folder = raw / f"Dataset{id:03d}_{name}"
    names = (classes or None) if semantic else None
    done = convert_source(source, folder, test=test, split=split_pieces, class_names=names, progress=progress)
    split = len(done.cases) - test
    commands = _next_commands(folder, semantic=semantic, has_tests=test > 0)
    return Conversion(folder, done.cases[:split], done.cases[split:], done.lines, done.warnings, commands)


def orientation(text: str) -> str:
    """The code in capitals.

    Raises:
        InputError: where it is none.
    """
    code = text.upper()
    if len(code) != 3 or any(len(set(code) & set(ends)) != 1 for ends in ("LR", "PA", "IS")):
        raise InputError(
            f"{text!r} is no orientation; give a letter each of R or L, A or P, S or I, such as RAS or LPS."
        )
    return code


def named_axes(text: str) -> str:
    """The letters in capitals.

    Raises:
        InputError: where they do not name the axes of an image.
    """
    axes = text.upper()
    if len(set(axes)) < len(axes) or not set("YX") <= set(axes) <= set(AXES):
        raise InputError(
            f"{text!r} does not name the axes of an image; give Y and X, and C for channels and Z for slices where it "
            "has them, in the order of the file: YX, CYX, ZYX or ZCYX, for example."
        )
    return axes


def _reorient(
    images: str | Path | None, output: str | Path | None, code: str, others: list[str], progress: Report | None
) -> Conversion:
    if others:
        raise InputError(f"{', '.join(others)} cannot go with reorient, which copies a whole folder; leave it out.")
    if images is None or output is None:
        raise InputError("reorient copies a folder; name it as images, and the copy as output.")
    lines = reorient_folder(Path(images), Path(output), code, progress=progress)
    return Conversion(Path(output), [], [], lines, [], [])


def _check_name(number: int | None, name: str | None) -> None:
    if number is None or name is None:
        raise InputError("id and name say what the data set is to be called; give both, such as 10 and Cells.")
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 999:
        raise InputError(f"id {number} is no number of an nnU-Net data set; take one from 1 to 999.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InputError(f"name {name!r} is no name for a folder; use letters, digits, _ and -.")


def _source(
    images: str | Path | None,
    masks: str | Path | None,
    coco: str | Path | None,
    dsb: str | Path | None,
    semantic: bool,
    axes: str | None,
    classes: list[str],
) -> Source:
    files = {
        name: Path(path) for name, path in (("coco", coco), ("images", images), ("masks", masks), ("dsb", dsb)) if path
    }
    given = [*files, *(["semantic"] if semantic else [])]
    if set(given) not in SOURCES:
        raise InputError(
            f"{' and '.join(given) or 'nothing'} does not say what to convert; give coco and images, or images and "
            "masks (and semantic where masks hold classes), or images alone with masks beside them, or dsb."
        )
    if coco:
        return CocoSource(files["coco"], files["images"], classes or None, order=axes)
    if semantic:
        return SemanticSource(files["images"], files.get("masks"), order=axes)
    names = classes or ["object"]
    if len(names) > 1:
        raise InputError(
            f"classes names {len(names)} classes, but masks of objects hold one; give one name (several classes come "
            "from COCO json)."
        )
    if dsb:
        return MaskPerObjectSource(files["dsb"], names[0], order=axes)
    return LabelMapSource(files["images"], files.get("masks"), names[0], order=axes)


def _raw_folder(output: str | Path | None, inputs: list[str | Path]) -> Path:
    if output is None and not os.environ.get("nnUNet_raw"):
        raise InputError("Neither output nor nnUNet_raw says where the data set should go; name a folder as output.")
    raw = Path(output or os.environ["nnUNet_raw"])
    refuse_output_over_input([raw], inputs, advice="name another folder as output")
    refuse_data_set_folder(raw)
    raw.mkdir(parents=True, exist_ok=True)
    if not os.access(raw, os.W_OK | os.X_OK):
        raise InputError(f"There is no permission to write into {raw}; change it, or name another folder as output.")
    return raw


def _next_commands(folder: Path, *, semantic: bool, has_tests: bool) -> list[str]:
    plans, trainer = PLANS_AND_TRAINER[semantic]
    number = int(folder.name[7:10])
    images = shlex.quote(str(folder / "imagesTs")) if has_tests else "FOLDER_OF_NEW_IMAGES"
    lines = [
        f"nnUNetv2_plan_and_preprocess -d {number} -pl {plans}Planner -c 2d --verify_dataset_integrity",
        f"nnUNetv2_train {number} 2d 0 -p {plans}Plans -tr {trainer}",
        f"nnUNetv2_predict -i {images} -o PREDICTIONS -d {number} -c 2d -f 0 -p {plans}Plans -tr {trainer}",
    ]
    raw = os.environ.get("nnUNet_raw")
    if not raw or Path(raw).resolve() != folder.parent.resolve():
        lines.insert(0, f"export nnUNet_raw={shlex.quote(str(folder.parent.resolve()))}")
    return lines
