"""``maskmed_nnu.evaluate`` and ``maskmed_nnu.compare``: predictions against the truth, of classes or of objects."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from maskmed_nnu.api.object_evaluation import ObjectEvaluation, evaluate_objects
from maskmed_nnu.dataset_json import dataset_json_faults, read_dataset_json
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.text import format_shape
from maskmed_nnu.json_file import read_json
from maskmed_nnu.semantic import surfaces
from maskmed_nnu.semantic.case_scores import case_scores
from maskmed_nnu.semantic.classes import Classes, check_partners
from maskmed_nnu.semantic.comparison import SemanticComparison, compare_evaluations
from maskmed_nnu.semantic.evaluation import SemanticEvaluation, build
from maskmed_nnu.semantic.folders import Progress, evaluate_pairs
from maskmed_nnu.semantic.label_files import check_spacing, find_pairs, read_label_map, whole_labels

PathLike: TypeAlias = str | os.PathLike[str]
READER = "InstanceIO"


def evaluate(
    truth: PathLike | Any,
    prediction: PathLike | Any,
    *,
    dataset: PathLike | Mapping[str, Any] | None = None,
    spacing: Sequence[float] | None = None,
    tolerance: float = 1.0,
    partners: Iterable[Collection[int | str]] | None = None,
    scores: PathLike | None = None,
    max_detections: int = 1000,
    flat: bool = False,
    workers: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SemanticEvaluation | ObjectEvaluation:
    """Score predicted label maps against the true ones.

    Parameters
    ----------
    truth, prediction : path or array
        Two folders of label maps, in which a prediction has the name of its truth; or one image, as two files, arrays
        ``[y, x]`` or ``[z, y, x]``, or images of nibabel or SimpleITK.
    dataset : path or dict, optional
        The ``dataset.json``, its content, or the folder that holds it. By default it is looked for beside and above
        ``truth``, and beside ``prediction``; without one, each label but 0 is a class called by its number. It says
        which labels are classes, regions or to be ignored, and whether the label maps hold objects instead.
    spacing : sequence of float, optional
        Millimetres between the voxels along each axis of arrays, in their order, and of files that tell none; else 1.
    tolerance : float
        Millimetres that two surfaces may lie apart for NSD.
    partners : pairs of labels or names, optional
        Classes that take each other's places in a mirror, as left and right kidney: voxels that were given the
        partner's label are counted. By default those that the ``plans.json`` beside the prediction exchanges.
    scores, max_detections, flat
        Of objects only: the COCO results whose scores make the AP, the objects of an image that count for it, and
        whether overlaps are removed first.
    workers : int, optional
        Cases at a time, each in a thread; by default one for each core, 8 at most.
    seed : int
        Where the generator of the confidence intervals starts.
    progress : callable, optional
        Called with the cases that are done and all of them, in this thread.

    Returns
    -------
    SemanticEvaluation or ObjectEvaluation
        The figures, with ``to_table()``, ``to_json()`` and ``save(path)``.

    Raises
    ------
    InputError
        One for all faults: missing or extra cases, other grids, files that cannot be read or hold no labels.

    Examples
    --------
    >>> import numpy as np, maskmed_nnu as mm
    >>> truth, prediction = np.zeros((2, 8, 8), int)
    >>> truth[2:6, 2:6] = prediction[2:6, 3:7] = 1
    >>> dataset = {"labels": {"background": 0, "liver": 1}}
    >>> table = mm.evaluate(truth, prediction, spacing=(2, 2), dataset=dataset).to_table()
    >>> table[["class", "state", "dice", "hd95", "nsd"]]
       class  state  dice  hd95  nsd
    0  liver  found  0.75   2.0  0.5
    """
    description, name = _dataset(dataset, truth, prediction)
    if description is not None and description.get("overwrite_image_reader_writer") == READER:
        if not (_is_path(truth) and _is_path(prediction)):
            raise InputError(f"{name} declares objects, which are evaluated in folders; give the paths of two folders.")
        return evaluate_objects(
            Path(truth), Path(prediction), description, scores=scores, max_detections=max_detections, flat=flat
        )
    if scores is not None or flat:
        found = f"{name} declares classes" if description is not None else "No dataset.json says that these are objects"
        raise InputError(f"{found}, but only objects have scores and overlaps; leave scores and flat out.")
    classes = None if description is None else Classes.from_dataset_json(description, name)
    return _evaluate_classes(
        truth,
        prediction,
        classes=classes,
        ending=None if description is None else description.get("file_ending"),
        spacing=spacing,
        tolerance=tolerance,
        partners=partners,
        workers=workers,
        seed=seed,
        progress=progress,
    )


def compare(
    truth: PathLike | Any,
    a: PathLike | Any,
    b: PathLike | Any,
    *,
    dataset: PathLike | Mapping[str, Any] | None = None,
    tolerance: float = 1.0,
    spacing: Sequence[float] | None = None,
    workers: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SemanticComparison:
    """Compare two predictions, folders ``a`` and ``b`` of class maps, case by case against one truth.

    Classes that were missed or invented count as the worst case. ``to_table()`` holds Wilcoxon's signed-rank test of
    each class and metric, and ``differences(metric)`` the cases, those that differ most first. The parameters are those
    of `evaluate`.

    Raises
    ------
    InputError
        For what `evaluate` refuses, and for label maps of objects.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> comparison = mm.compare("labelsTs", "predicted_by_unet", "predicted_by_maskmed")  # doctest: +SKIP
    >>> comparison.differences("hd95").head()  # doctest: +SKIP
    """
    description, name = _dataset(dataset, truth, a, b)
    if description is not None and description.get("overwrite_image_reader_writer") == READER:
        raise InputError(
            f"{name} declares objects; only predictions of classes are compared, so evaluate each by itself."
        )
    sides = []
    for index, prediction in enumerate((a, b)):

        def both(done: int, cases: int, before: int = index) -> None:
            if progress is not None:
                progress(before * cases + done, 2 * cases)

        sides.append(
            _evaluate_classes(
                truth,
                prediction,
                classes=None if description is None else Classes.from_dataset_json(description, name),
                ending=None if description is None else description.get("file_ending"),
                spacing=spacing,
                tolerance=tolerance,
                partners=(),
                workers=workers,
                seed=seed,
                progress=both,
            )
        )
    return compare_evaluations(sides[0], sides[1], seed=seed)


def _evaluate_classes(
    truth: PathLike | Any,
    prediction: PathLike | Any,
    *,
    classes: Classes | None,
    ending: str | None,
    spacing: Sequence[float] | None,
    tolerance: float,
    partners: Iterable[Collection[int | str]] | None,
    workers: int | None,
    seed: int,
    progress: Progress | None,
) -> SemanticEvaluation:
    if not (isinstance(tolerance, int | float | np.number) and 0 <= tolerance < math.inf):
        raise InputError(f"The tolerance is {tolerance}; it must be a number of millimetres of 0 or more.")
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise InputError(f"The number of workers is {workers}; it must be a whole number of 1 or more.")
    spacing = None if spacing is None else tuple(spacing)
    folders = _is_path(truth) and _is_path(prediction)
    if partners is None:
        pairs = _partners_of_plans(Path(prediction), classes) if folders else []
    else:
        pairs = check_partners(partners, classes)
    spaceless: list[str] = []
    if folders:
        cases, spaceless = evaluate_pairs(
            find_pairs(Path(truth), Path(prediction), ending=ending),
            classes=classes,
            tolerance=float(tolerance),
            spacing=spacing,
            partners=pairs,
            workers=workers,
            progress=progress,
        )
    else:
        (true, own), (predicted, other) = (_label_array(one) for one in ((truth, "truth"), (prediction, "prediction")))
        if true.shape != predicted.shape or true.ndim not in (2, 3):
            shapes = " and ".join(format_shape(one.shape) for one in (true, predicted))
            raise InputError(f"truth and prediction have the shapes {shapes}; they must be one, [y, x] or [z, y, x].")
        surfaces.load()
        case = case_scores(
            true,
            predicted,
            spacing=check_spacing(spacing or own or other or (1.0,) * true.ndim, true, "truth"),
            classes=classes,
            tolerance=float(tolerance),
            partners=pairs,
            name="image",
        )
        cases = [case]
    return build(cases, classes, tolerance=float(tolerance), spaceless=spaceless, partners=pairs, seed=seed)


def _is_path(one: object) -> bool:
    return isinstance(one, str | os.PathLike)


def _dataset(
    dataset: PathLike | Mapping[str, Any] | None, truth: Any, *predictions: Any
) -> tuple[dict[str, Any] | None, str]:
    """The ``dataset.json`` and what to call it; None where there is none."""
    if isinstance(dataset, Mapping):
        faults = dataset_json_faults(dict(dataset), "dataset", needs=("labels",))
        if faults:
            raise InputError(faults[0])
        return dict(dataset), "dataset"
    if dataset is not None:
        path = Path(dataset)
        file = path / "dataset.json" if path.is_dir() else path
        return read_dataset_json(file, needs=("labels",)), str(file)
    places = []
    if _is_path(truth):
        folder = Path(truth) if Path(truth).is_dir() else Path(truth).parent
        places += [folder, folder.resolve().parent]
    for one in predictions:
        if _is_path(one):
            places.append(Path(one) if Path(one).is_dir() else Path(one).parent)
    found = next((place / "dataset.json" for place in places if (place / "dataset.json").is_file()), None)
    return (None, "") if found is None else (read_dataset_json(found, needs=("labels",)), str(found))


def _partners_of_plans(prediction: Path, classes: Classes | None) -> list[tuple[int, int]]:
    """Pairs that ``plans.json`` beside the prediction exchanges when it mirrors; none where it does not say."""
    path = (prediction if prediction.is_dir() else prediction.parent) / "plans.json"
    if classes is None or not path.is_file():
        return []
    plans = read_json(path, expected="nnU-Net's plans")
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    pairs: dict[frozenset[int], tuple[int, int]] = {}
    for configuration in configurations.values() if isinstance(configurations, dict) else ():
        mirroring = configuration.get("mirroring") if isinstance(configuration, dict) else None
        swap = mirroring.get("swap") if isinstance(mirroring, dict) else None
        for of_axis in swap.values() if isinstance(swap, dict) else ():
            pairs |= {frozenset(pair): (pair[0], pair[1]) for pair in of_axis}
    return check_partners(pairs.values(), classes)


def _label_array(one: tuple[Any, str]) -> tuple[Integers, tuple[float, ...] | None]:
    """Labels ``[*spatial]`` of an array, an image or a file, which is called by a name, and their spacing."""
    value, name = one
    if _is_path(value):
        read = read_label_map(Path(value))
        return read.labels, read.spacing
    if hasattr(value, "dataobj"):  # nibabel's; in the order of files
        labels = whole_labels(np.asanyarray(value.dataobj).T, name)
        return labels, tuple(float(length) for length in value.header.get_zooms()[: labels.ndim][::-1])
    if hasattr(value, "GetSpacing"):
        import SimpleITK

        image: Any = SimpleITK
        return whole_labels(image.GetArrayFromImage(value), name), tuple(value.GetSpacing()[::-1])
    return whole_labels(np.asarray(value), name), None
