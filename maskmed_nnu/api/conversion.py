"""``mm.convert``: make an nnU-Net raw data set from annotated images, or reorient volumes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskmed_nnu.api.conversion_source import check_components, checked_spacing, choose_source
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import convert as convert_source
from maskmed_nnu.instances.conversion.reorient import reorient as reorient_folder
from maskmed_nnu.instances.formats import AXES
from maskmed_nnu.output_paths import refuse_data_set_folder, refuse_output_over_input
from maskmed_nnu.progress import Report

PLANS_AND_TRAINER = {True: ("MaskMed", "nnUNetTrainerMaskMed"), False: ("IAUNet", "nnUNetTrainerIAUNet")}


@dataclass(frozen=True)
class Conversion:
    """The result of :func:`convert`.

    Attributes
    ----------
    folder : Path
        The data set, or the copy of the folder.
    cases, test_cases : list of str
        Names of the training cases and of the test cases.
    notes : list of str
        What was read, changed and dropped.
    warnings : list of str
        Probable annotation errors.
    next_commands : list of str
        Commands that plan, train and predict.
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
    ctc: str | Path | None = None,
    semantic: bool = False,
    components: bool = False,
    connectivity: int | None = None,
    min_volume: float | None = None,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    id: int | None = None,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    split_pieces: bool = False,
    test: int = 0,
    reorient: str | None = None,
    output: str | Path | None = None,
    progress: Report | None = None,
) -> Conversion:
    """Make an nnU-Net raw data set, or reorient the volumes of a folder.

    Parameters
    ----------
    images, masks
        Folder of images, and of a label map for each, of the same name; without `masks` the label maps are beside the
        images, as ``X_masks.tif``. A mask X also belongs to the channels ``X_0000``, ``X_0001`` … of nnU-Net's folders.
    coco
        COCO json of the objects in `images`, instead of masks.
    dsb
        Folder with a folder for each image, with ``images`` and ``masks``, a mask for each object.
    ctc
        Data set of the Cell Tracking Challenge, with ``01/t000.tif`` and ``01_GT/SEG/man_seg000.tif``.
    semantic
        Whether the values of `masks` are classes, not objects.
    components
        Whether they are classes whose connected components are the objects.
    connectivity, min_volume
        For components: 1, 2 or 3 for neighbours at a face, an edge or a corner (default: the widest), as in
        scikit-image; and the smallest volume in mm³, in 2D area in mm², that is kept; if a file has no spacing, a
        voxel counts as 1.
    axes
        Axes of TIFFs and volumes, such as ``"ZCYX"``; by default from the files.
    spacing
        Spacing of all TIFF stacks, (z, y, x) in micrometres; by default from ImageJ or OME metadata.
    id, name
        Number, 1 to 999, and name of the data set, which becomes ``DatasetXXX_NAME``.
    classes
        COCO, and `components` of a raw data set: the classes to take (default: all); `semantic` and `components`: a
        name for each value; else the name of the objects.
    split_pieces
        Whether each piece of a disconnected object gets its own id.
    test
        Number of test cases, the last ones by name.
    reorient
        Copies all of `images` to `output` instead, with all volumes in this orientation, such as ``"RAS"``.
    output
        Folder in which the data set is made, by default nnU-Net's ``nnUNet_raw``.
    progress
        Is called with a `Progress`.

    Returns
    -------
    Conversion
        The folder of the data set, its cases, notes and warnings.

    Raises
    ------
    InputError
        If files or arguments are invalid; no files are left behind.

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
        others: dict[str, object] = {"masks": masks, "coco": coco, "dsb": dsb, "ctc": ctc, "semantic": semantic}
        others |= {"components": components, "connectivity": connectivity, "min_volume": min_volume}
        others |= {"axes": axes, "spacing": spacing}
        others |= {"id": id, "name": name, "classes": bool(classes), "split_pieces": split_pieces, "test": test}
        return _reorient(
            images, output, orientation(reorient), [name for name, value in others.items() if value], progress
        )
    _check_name(id, name)
    if axes is not None:
        axes = named_axes(axes)
    classes = [classes] if isinstance(classes, str) else list(classes or ())
    check_components(components, connectivity, min_volume, split_pieces)
    files = {"coco": coco, "images": images, "masks": masks, "dsb": dsb, "ctc": ctc}
    source = choose_source(
        {name: Path(path) for name, path in files.items() if path},
        [kind for kind, given in (("semantic", semantic), ("components", components)) if given],
        classes,
        components={"connectivity": connectivity, "min_volume": min_volume or 0, "progress": progress},
        axes=axes,
        spacing=checked_spacing(spacing),
    )
    raw = _raw_folder(output, [folder for folder in (images, masks, dsb, ctc) if folder is not None])
    folder = raw / f"Dataset{id:03d}_{name}"
    names = (classes or None) if semantic else None
    done = convert_source(source, folder, test=test, split=split_pieces, class_names=names, progress=progress)
    split = len(done.cases) - test
    configuration = "3d_fullres" if done.volumes else "2d"
    commands = _next_commands(folder, configuration, semantic=semantic, has_tests=test > 0)
    return Conversion(folder, done.cases[:split], done.cases[split:], done.lines, done.warnings, commands)


def orientation(text: str) -> str:
    """The code in capitals.

    Raises:
        InputError: where it is none.
    """
    code = text.upper()
    if len(code) != 3 or any(len(set(code) & set(ends)) != 1 for ends in ("LR", "PA", "IS")):
        raise InputError(
            f"{text!r} is not an orientation; give a letter each of R or L, A or P, S or I, such as RAS or LPS."
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
            f"{text!r} does not name the axes of an image; give Y and X, and if it has them C for channels and Z "
            "for slices, in the order of the file: YX, CYX, ZYX or ZCYX, for example."
        )
    return axes


def _reorient(
    images: str | Path | None, output: str | Path | None, code: str, others: list[str], progress: Report | None
) -> Conversion:
    if others:
        raise InputError(
            f"{', '.join(others)} cannot be combined with reorient, which copies a whole folder; leave it out."
        )
    if images is None or output is None:
        raise InputError("reorient copies a folder; name it as images, and the copy as output.")
    lines = reorient_folder(Path(images), Path(output), code, progress=progress)
    return Conversion(Path(output), [], [], lines, [], [])


def _check_name(number: int | None, name: str | None) -> None:
    if number is None or name is None:
        raise InputError("The data set needs both id and name; give both, such as 10 and Cells.")
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 999:
        raise InputError(f"id {number} is not a number of an nnU-Net data set; take one from 1 to 999.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InputError(f"name {name!r} is not a name for a folder; use letters, digits, _ and -.")


def _raw_folder(output: str | Path | None, inputs: list[str | Path]) -> Path:
    if output is None and not os.environ.get("nnUNet_raw"):
        raise InputError(
            "There is no folder for the data set, because nnUNet_raw is not set; set it (export nnUNet_raw=FOLDER, any "
            "folder), or name a folder as output."
        )
    raw = Path(output or os.environ["nnUNet_raw"])
    refuse_output_over_input([raw], inputs, advice="name another folder as output")
    refuse_data_set_folder(raw)
    raw.mkdir(parents=True, exist_ok=True)
    if not os.access(raw, os.W_OK | os.X_OK):
        raise InputError(f"There is no permission to write into {raw}; change it, or name another folder as output.")
    return raw


def _next_commands(folder: Path, configuration: str, *, semantic: bool, has_tests: bool) -> list[str]:
    plans, trainer = PLANS_AND_TRAINER[semantic]
    number = int(folder.name[7:10])
    images = shlex.quote(str(folder / "imagesTs")) if has_tests else "FOLDER_OF_NEW_IMAGES"
    model = f"-d {number} -c {configuration} -f 0 -p {plans}Plans -tr {trainer}"
    lines = [
        f"nnUNetv2_plan_and_preprocess -d {number} -pl {plans}Planner -c {configuration} --verify_dataset_integrity",
        f"nnUNetv2_train {number} {configuration} 0 -p {plans}Plans -tr {trainer}",
        f"nnUNetv2_predict -i {images} -o PREDICTIONS {model}",
    ]
    raw = os.environ.get("nnUNet_raw")
    if not raw or Path(raw).resolve() != folder.parent.resolve():
        lines.insert(0, f"export nnUNet_raw={shlex.quote(str(folder.parent.resolve()))}")
    return lines
