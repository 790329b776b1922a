"""A folder of predicted id maps against a folder of true ones, in the encoding that their dataset.json declares."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.detections import flatten, from_instance_map
from maskmed_nnu.instances.files import read_ids_and_geometry
from maskmed_nnu.instances.formats import Geometry
from maskmed_nnu.instances.formats.geometry import difference, elsewhere_sentence
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, decode
from maskmed_nnu.instances.metrics.coco_results import CocoResults
from maskmed_nnu.instances.metrics.comparison import compare
from maskmed_nnu.instances.metrics.instance_metrics import InstanceMetrics
from maskmed_nnu.instances.text import format_list, format_shape
from maskmed_nnu.progress import Progress, Report

SINGLE_SLICES = (
    "each predicted object is in a single slice, but true objects extend over several: a 2d model predicts slice by "
    "slice and does not link the ids, so objects in 3D score low; per_slice=True (--slices) matches slice by slice"
)


def check_folders(truth: Path, prediction: Path) -> None:
    """
    Raises:
        InputError: where one of them is none.
    """
    for folder in (truth, prediction):
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise InputError(f"{folder} {what}; name a folder that holds id maps.")


def find_cases(
    truth: Path, prediction: Path, ending: str, *, only_predicted: bool = False, any_ending: bool = False
) -> tuple[list[str], list[str]]:
    """The names of the cases in the folder `truth`, sorted; each has a file with the same name in `prediction`, with
    `any_ending` a `predicted_file`.

    With `only_predicted` those that have none are left out; their names come second.

    Raises:
        InputError: where there is no case, or no prediction of one.
    """
    check_folders(truth, prediction)
    names = sorted(p.name.removesuffix(ending) for p in truth.glob(f"[!.]*{ending}"))
    if not names:
        raise InputError(f"{truth} holds no file that ends in {ending}, the file_ending in dataset.json.")
    predicted = predicted_file if any_ending else _file
    missing = [name for name in names if not predicted(prediction, name, ending).is_file()]
    if missing and (len(missing) == len(names) or not only_predicted):
        found = sorted(p.name for p in prediction.iterdir() if formats.ending(p) and not p.name.startswith("."))
        if len(missing) == len(names) and found:
            raise InputError(
                f"{prediction} holds no prediction of a case of {truth}: it holds {format_list(found)}, but a "
                f"prediction has the name of its truth, such as {names[0]}{ending}; rename or convert the predictions."
            )
        others = f" (and those of {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise InputError(
            f"The prediction of {missing[0]}{others} is missing: {prediction / (missing[0] + ending)} does not exist; "
            f"predict every case of {truth}, or evaluate only the predicted cases (only_predicted), for example those "
            "of the validation of a fold."
        )
    return [name for name in names if name not in missing], missing


def predicted_file(folder: Path, name: str, ending: str) -> Path:
    """``NAME.ending``, or where that is missing the only file of this name with another ending.

    A model predicts with the ending of the data that it was trained on.

    Raises:
        InputError: where there are several with other endings.
    """
    path = _file(folder, name, ending)
    if path.is_file():
        return path
    beside = sorted(folder.glob(f"{glob.escape(name)}.*"))
    others = [one for one in beside if one.name[len(name) :].lower() == formats.ending(one) and one.is_file()]
    if len(others) > 1:
        which = format_list([one.name for one in others])
        raise InputError(f"{folder} holds {which} as predictions of the case {name}; keep one of them.")
    return others[0] if others else path


def _file(folder: Path, name: str, ending: str) -> Path:
    return folder / (name + ending)


def evaluate(
    truth: Path,
    prediction: Path,
    *,
    dataset_json: dict[str, Any],
    cases: Sequence[str] | None = None,
    results: CocoResults | None = None,
    max_detections: int = 1000,
    flat: bool = False,
    per_slice: bool = False,
    progress: Report | None = None,
) -> tuple[dict[str, Any], int, list[str]]:
    """Scores as `InstanceMetrics.compute` gives them, the number of images, and notes on how volumes were counted.

    A volume is one image, the objects of its truth are objects in space. With `per_slice` its slices are images, as
    they are with results that do not say which of them are one object in several slices.

    `cases`: names, by default those of `find_cases`; `progress` is called after each.
    `results`: COCO results of the same images (of a volume CASE_z). Where they are given, their masks and scores make
    the average precision, and the id maps everything else; without them every object has the score 1.
    `flat`: overlaps are removed from truth and prediction first, as a map with one id per pixel would.

    Raises:
        InputError: for what `find_cases` refuses, files that are no id maps, and sizes that differ.
    """
    label_format, ending = LabelFormat.from_dataset_json(dataset_json), dataset_json.get("file_ending", ".png")
    if results is not None:
        results.check_classes(label_format.classes)
    names = find_cases(truth, prediction, ending)[0] if cases is None else list(cases)
    stuff_classes = _stuff_classes(truth, names, ending, label_format)
    scored = results is not None
    metrics = InstanceMetrics(max_detections=max_detections, stuff_classes=stuff_classes, scored=scored)
    in_slices = per_slice or (results is not None and not results.linked)
    images = 0
    notes: list[str] = []
    going_on = np.zeros((2, 3), bool)
    for done, name in enumerate(names, 1):
        files = [predicted_file(prediction, name, ending), _file(truth, name, ending)]
        (prediction_map, predicted_place), (truth_map, true_place) = (_read(path, label_format) for path in files)
        if prediction_map.stuff.shape != truth_map.stuff.shape:
            sizes = [format_shape(objects.stuff.shape) for objects in (prediction_map, truth_map)]
            raise InputError(
                f"{files[0]} has {sizes[0]} pixels, but its truth {files[1]} has {sizes[1]}; both must be on the "
                "same grid."
            )
        if predicted_place and true_place:
            axes = truth_map.stuff.ndim
            found = difference(predicted_place.to(axes), true_place.to(axes), truth_map.stuff.shape[::-1])
            if found:
                raise InputError(elsewhere_sentence(files[0], f"its truth {files[1]}", found))
        volume = truth_map.stuff.ndim == 3
        if volume and not in_slices:
            going_on |= [_axes_gone_along(one) for one in (prediction_map, truth_map)]
        elif volume and results is not None and not per_slice and not notes:
            notes.append(
                f"volumes are evaluated slice by slice, because {results.path.name} has objects of single slices"
            )
        pairs = zip(_images(name, truth_map, in_slices), _images(name, prediction_map, in_slices), strict=True)
        for (image, true_part), (_, predicted_part) in pairs:
            predicted, true = (
                flatten(from_instance_map(one.ids, one.classes, one.stuff)) if flat else one
                for one in (predicted_part, true_part)
            )
            comparison = compare(predicted, true)
            for metric in metrics.counted:
                metric.add(comparison)
            if results is not None:
                detections = results.detections(image, true_part.stuff.shape)
                comparison = compare(flatten(detections) if flat else detections, true)
            for ranked in metrics.ranked:
                ranked.add(comparison)
            images += 1
        if progress is not None:
            progress(Progress("evaluating", done, len(names)))
    if results is not None:
        results.tell_unused()
    if (going_on[1] & ~going_on[0]).any() and going_on[0].any():
        notes.append(SINGLE_SLICES)
    return metrics.compute(), images, notes


def _read(path: Path, label_format: LabelFormat) -> tuple[InstanceMap, Geometry | None]:
    raw, geometry = read_ids_and_geometry(path, overlap_layers=label_format.overlap_layers)
    try:
        return decode(raw, label_format), geometry
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _stuff_classes(truth: Path, names: list[str], ending: str, label_format: LabelFormat) -> set[int]:
    """Classes with regions of stuff but no object in any case; elsewhere such a region is a crowd."""
    if label_format.label_divisor is None:
        return set()
    regions, things = set(), set()
    for name in names:
        objects, _ = _read(truth / (name + ending), label_format)
        regions |= set(np.unique(objects.stuff).tolist()) - {0}
        things |= set(objects.classes.tolist())
    return regions - things


def _images(case: str, objects: InstanceMap, per_slice: bool) -> Iterator[tuple[str, InstanceMap]]:
    """What counts as an image, by the name that ``maskmed predict`` gives it in its COCO results."""
    if objects.stuff.ndim == 2 or not per_slice:
        yield case, objects
        return
    for z, stuff in enumerate(objects.stuff):
        yield f"{case}_{z}", InstanceMap(objects.ids[:, z], objects.classes, stuff)


def _axes_gone_along(objects: InstanceMap) -> list[bool]:
    """For each axis of a volume, whether some object has two voxels in a row along it."""
    found = []
    for axis in range(1, 4):
        ids = np.moveaxis(objects.ids, axis, 0)
        found.append(bool(((ids[1:] == ids[:-1]) & (ids[1:] > 0)).any()))
    return found
