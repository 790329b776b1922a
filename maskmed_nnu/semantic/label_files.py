"""Pairs of label files, of the truth and of its prediction: found, compared and read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.formats import Geometry
from maskmed_nnu.instances.formats.geometry import difference, elsewhere_sentence
from maskmed_nnu.instances.label_values import MAX_ID
from maskmed_nnu.instances.text import count, format_faults, format_list, format_shape
from maskmed_nnu.json_file import read_json

CURE = "save it as whole numbers from 0 on, as after nearest-neighbour resampling"


class Pair(NamedTuple):
    """The two files of a case."""

    name: str
    truth: Path
    prediction: Path


class LabelMap(NamedTuple):
    """``labels [*spatial]``, the voxels' ``spacing`` along these axes, None where nothing tells it."""

    labels: Integers
    spacing: tuple[float, ...] | None
    geometry: Geometry | None


def find_pairs(
    truth: Path, prediction: Path, *, ending: str | None = None, only_predicted: bool = False
) -> tuple[list[Pair], list[str]]:
    """The cases of two folders, sorted, or the one of two files; a prediction has the name of its truth.

    In a folder with files of that ``ending`` only these count, but for predictions that would be missing then. With
    ``only_predicted`` cases without a prediction are left out; their names come second.

    Raises:
        InputError: one for all: what does not exist, holds no label map, lacks cases or has others.
    """
    if truth.is_file() and prediction.is_file():
        return [Pair(formats.stem(truth), truth, prediction)], []
    for path in (truth, prediction):
        if not path.is_dir():
            what = "is a file, but the other one is a folder" if path.is_file() else "does not exist"
            raise InputError(f"{path} {what}; name two folders of label maps, or two files.")
    faults: list[str] = []
    true, _ = _files(truth, ending, faults)
    predicted, others = _files(prediction, ending, faults)
    predicted |= {name: others[name] for name in true.keys() & others.keys() - predicted.keys()}
    missing, extra = sorted(true.keys() - predicted.keys()), sorted(predicted.keys() - true.keys())
    if true and predicted and len(missing) == len(true):
        faults.append(
            f"{prediction} has no prediction of a case in {truth}: it holds "
            f"{format_list(sorted(p.name for p in predicted.values()), 3)}, but a prediction has the name of its "
            f"truth, as {true[missing[0]].name}; rename the predictions, or name their folder"
        )
    elif true and predicted:
        if missing and not only_predicted:
            faults.append(
                f"{prediction} lacks the predictions of {count(len(missing), 'case')} of {truth}: "
                f"{format_list(missing)}; predict them, or evaluate the predicted cases only (only_predicted), as "
                "those of a fold's validation"
            )
        if extra:
            faults.append(
                f"{truth} lacks the true label maps of {count(len(extra), 'case')} of {prediction}: "
                f"{format_list(extra)}; add them, or move these predictions away"
            )
    pairs = [Pair(name, true[name], predicted[name]) for name in sorted(true.keys() & predicted.keys())]
    faults += [fault for pair in pairs if (fault := _grid_fault(pair)) is not None]
    refuse(faults)
    return pairs, missing


def left_out_note(names: Sequence[str], evaluated: int, truth: object) -> str:
    """What a reader must know of cases without a prediction that were left out."""
    return (
        f"{count(len(names), 'case')} of {truth} without a prediction left out ({format_list(names, 3)}): the figures "
        f"are of the other {evaluated} only"
    )


def refuse(faults: Sequence[str]) -> None:
    """
    Raises:
        InputError: one for all ``faults``, clauses without a full stop.
    """
    if len(faults) == 1:
        raise InputError(f"{faults[0].removesuffix('.')}.")
    if faults:
        raise InputError(f"The label maps have {format_faults(faults)}")


def _files(folder: Path, ending: str | None, faults: list[str]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Label maps by their cases: those of the ``ending``, and others; where none has it, all are the first."""
    found = [  # with links that lead nowhere, which are told when they are read
        path
        for path in sorted(folder.iterdir())
        if formats.ending(path) and not path.is_dir() and not path.name.startswith(".")
    ]
    of_ending = [path for path in found if ending and path.name.endswith(ending)]
    files: dict[str, Path] = {}
    for path in of_ending or found:
        name = path.name.removesuffix(ending) if of_ending and ending else formats.stem(path)
        if name in files:
            faults.append(f"{folder} holds {files[name].name} and {path.name} of one case; keep one of them")
        files[name] = path
    if not files:
        below = sorted(
            path.name for path in folder.iterdir() if path.is_dir() and any(map(formats.ending, path.iterdir()))
        )
        cure = f"name one of its folders {format_list(below)}" if below else f"they end in {', '.join(formats.ENDINGS)}"
        faults.append(f"{folder} holds no label map; {cure}")
    return files, {formats.stem(path): path for path in found if of_ending and path not in of_ending}


def _grid_fault(pair: Pair) -> str | None:
    """What the headers of volumes say, before minutes go by with reading."""
    from maskmed_nnu.instances.formats.volumes import read_header

    headers = []
    for path in (pair.prediction, pair.truth):
        if formats.ending(path) not in formats.VOLUMES:
            return None
        try:
            headers.append(read_header(path))
        except InputError as error:
            return str(error).removesuffix(".")
        except Exception:  # whoever reads the file will say what is wrong
            return None
    names = (pair.prediction, f"its truth {pair.truth}")
    sizes = [_without_last_ones(header.size) for header in headers]
    if sizes[0] != sizes[1]:
        return _size_fault(*names, *(size[::-1] for size in sizes))
    if not all(header.geometry.known for header in headers):
        return None
    return _place_fault(*names, headers[0].geometry, headers[1].geometry, headers[1].size)


def read_pair(pair: Pair) -> tuple[LabelMap, LabelMap]:
    """Truth and prediction, on one grid.

    Raises:
        InputError: for what `read_label_map` refuses, and grids that differ.
    """
    truth, prediction = read_label_map(pair.truth), read_label_map(pair.prediction)
    check_grids(truth, prediction, f"its truth {pair.truth}", pair.prediction)
    return truth, prediction


def check_grids(truth: LabelMap, prediction: LabelMap, true_name: object, predicted_name: object) -> None:
    """
    Raises:
        InputError: where the two are not on one grid, as far as they tell where they lie.
    """
    fault = None
    if truth.labels.shape != prediction.labels.shape:
        fault = _size_fault(predicted_name, true_name, prediction.labels.shape, truth.labels.shape)
    elif truth.geometry and prediction.geometry:
        axes = truth.labels.ndim
        grids = prediction.geometry.to(axes), truth.geometry.to(axes)
        fault = _place_fault(predicted_name, true_name, *grids, truth.labels.shape[::-1])
    if fault:
        raise InputError(f"{fault}.")


def read_label_map(path: Path) -> LabelMap:
    """A label map of one value at each voxel; floats that are whole numbers are taken as such.

    Raises:
        InputError: where the file cannot be read, or holds colours, channels, fractions or negative numbers.
    """
    raster = formats.read(path, indexed=True)
    if raster.colour:
        raise InputError(f"{path} is a picture in colour; a label map has one number at each pixel, so convert it.")
    values = raster.values.reshape([n for n in raster.values.shape[:-2] if n > 1] + list(raster.values.shape[-2:]))
    others = {axis for axis, n in zip(raster.axes, raster.values.shape, strict=True) if n > 1} - set("QZYX")
    if values.ndim > 3 or others:
        raise InputError(
            f"{path} has the axes {raster.described()}; a label map has rows, columns and perhaps slices, and one "
            "number at each voxel."
        )
    spacing: tuple[float, ...] | None = None
    if raster.geometry is not None:
        spacing = tuple(abs(length) for length in raster.geometry.to(values.ndim).spacing[::-1])
    elif formats.ending(path) in formats.TIFF:
        spacing = _spacing_beside(path, values.ndim)
    return LabelMap(whole_labels(values, path), spacing, raster.geometry)


def whole_labels(values: NDArray[Any], name: object) -> Integers:
    """``values`` of any type as integers; the sentence begins with ``name``.

    Raises:
        InputError: fractions, NaN, and values below 0 or beyond 32 bits.
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind not in "iuf":
        raise InputError(f"{name} holds values of type {values.dtype}; {CURE}.")
    if not values.size:
        raise InputError(f"{name} is empty; a label map has at least one voxel.")
    lowest, highest = values.min(), values.max()
    if not 0 <= lowest <= highest <= MAX_ID:  # False for NaN
        wrong = highest if highest > MAX_ID else lowest
        raise InputError(f"{name} holds the value {wrong:g}; labels are whole numbers from 0 to {MAX_ID}, so {CURE}.")
    if values.dtype.kind in "iu":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    integers: Integers = values.astype(np.uint8 if highest <= 255 else np.uint32)
    if not np.array_equal(integers, values):
        wrong = values[integers != values].flat[0]
        raise InputError(f"{name} holds the value {wrong:g}; labels are whole numbers, so {CURE}.")
    return integers


def check_spacing(spacing: Sequence[float], labels: Integers, name: object) -> tuple[float, ...]:
    """
    Raises:
        InputError: where ``spacing`` is not a positive number for each axis of ``labels``.
    """
    lengths = tuple(spacing) if isinstance(spacing, Iterable) else ()
    if len(lengths) != labels.ndim or not all(_positive(length) for length in lengths):
        raise InputError(
            f"The spacing of {name} is {spacing!r}; it must be {labels.ndim} positive numbers, for the axes "
            f"of its {format_shape(labels.shape)} voxels in their order."
        )
    return tuple(float(length) for length in lengths)


def _spacing_beside(path: Path, axes: int) -> tuple[float, ...] | None:
    """That of nnU-Net's NAME.json beside NAME.tif."""
    file = path.with_name(f"{formats.stem(path)}.json")
    if not file.is_file():
        return None
    content = read_json(file, expected="the spacing of a volume")
    spacing = content.get("spacing") if isinstance(content, dict) else None
    if not isinstance(spacing, list) or len(spacing) < axes or not all(_positive(length) for length in spacing):
        raise InputError(f'{file} has no spacing; it must hold {{"spacing": [z, y, x]}} of positive numbers.')
    return tuple(float(length) for length in spacing[-axes:])


def _positive(length: Any) -> bool:
    return isinstance(length, int | float | np.number) and bool(0 < length < float("inf"))


def _without_last_ones(size: Sequence[int]) -> tuple[int, ...]:
    size = tuple(size)
    while len(size) > 2 and size[-1] == 1:
        size = size[:-1]
    return size


def _size_fault(name: object, other: object, predicted: Sequence[int], true: Sequence[int]) -> str:
    return (
        f"{name} has {format_shape(predicted)} voxels, but {other} has {format_shape(true)}; both must be one grid, "
        "so predict the same image, or resample one of them"
    )


def _place_fault(name: object, other: object, predicted: Geometry, true: Geometry, size: Sequence[int]) -> str | None:
    found = difference(predicted, true, size)
    return None if found is None else elsewhere_sentence(name, str(other), found).removesuffix(".")
