"""``maskmed_nnu.evaluate`` and ``maskmed_nnu.compare``: compare predictions with the truth, for classes or objects."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from maskmed_nnu.api.label_images import is_path, read_both
from maskmed_nnu.api.label_meaning import check_roles, find_dataset_json, find_partners
from maskmed_nnu.api.object_evaluation import ObjectEvaluation, evaluate_objects
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_shape
from maskmed_nnu.progress import Progress, Report
from maskmed_nnu.semantic import surfaces
from maskmed_nnu.semantic.case_scores import CaseScores, case_scores
from maskmed_nnu.semantic.classes import Classes, check_partners
from maskmed_nnu.semantic.comparison import SemanticComparison, compare_evaluations
from maskmed_nnu.semantic.evaluation import SemanticEvaluation, build
from maskmed_nnu.semantic.folders import evaluate_pairs
from maskmed_nnu.semantic.label_files import check_spacing, find_pairs, left_out_note

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
    only_predicted: bool = False,
    per_slice: bool = False,
    workers: int | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> SemanticEvaluation | ObjectEvaluation:
    """Compare predicted label maps with the true ones.

    Parameters
    ----------
    truth, prediction : path, array, image or Prediction
        Two folders of label maps, in which a prediction has the name of its truth; or one image, as two files, arrays
        ``[y, x]`` or ``[z, y, x]``, images of nibabel or SimpleITK, or predictions of `Model.predict`. Together with a
        prediction, an array has the axes of its ``labels``.
    dataset : path or dict, optional
        The ``dataset.json``, its content, or the folder that holds it. By default it is searched in and above the
        folder of ``truth``, and in that of ``prediction`` or its model; without one, each label except 0 is a class
        named by its number. It declares which labels are classes, regions or ignored, and whether the label maps hold
        objects.
    spacing : sequence of float, optional
        Spacing in mm along the axes (z,) y, x of arrays and of files without spacing; by default 1.
    tolerance : float
        Largest distance of two surfaces in NSD, in mm.
    partners : pairs of labels or names, optional
        Classes that mirroring swaps, such as left and right kidney: voxels with the label of the partner are counted.
        By default the pairs in the ``plans.json`` in the folder of the prediction.
    scores, max_detections, flat
        Objects only: the COCO results with the scores for AP, the largest number of objects per image for AP, and
        whether overlaps are removed first.
    only_predicted : bool
        Whether cases of ``truth`` without a prediction are skipped, for example for the validation of a fold,
        ``MODEL/fold_0/validation``; a note gives their number. Otherwise they are an error.
    per_slice : bool
        Objects in volumes only: whether each slice is a separate image, for predictions of a 2d model, whose ids are
        not linked across slices. Otherwise objects are matched in 3D, and a volume is one image.
    workers : int, optional
        Number of threads; by default one for each core, at most 8.
    seed : int
        Seed of the confidence intervals.
    progress : callable, optional
        Called with a `Progress`, in this thread.

    Returns
    -------
    SemanticEvaluation or ObjectEvaluation
        The scores, with ``to_table()``, ``to_json()`` and ``save(path)``.

    Raises
    ------
    InputError
        One error for all faults: missing or extra cases, different grids, files that cannot be read or hold no labels.

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
    description, name = find_dataset_json(dataset, truth, prediction)
    if description is not None and description.get("overwrite_image_reader_writer") == READER:
        return evaluate_objects(
            truth,
            prediction,
            description,
            scores=scores,
            max_detections=max_detections,
            flat=flat,
            only_predicted=only_predicted,
            per_slice=per_slice,
            progress=progress,
        )
    if scores is not None or flat or per_slice:
        found = f"{name} declares classes" if description is not None else "No dataset.json declares objects"
        raise InputError(f"{found}, but only objects have scores and overlaps; leave scores, flat and per_slice out.")
    return _evaluate_classes(
        truth,
        prediction,
        description,
        name,
        spacing=spacing,
        tolerance=tolerance,
        partners=partners,
        only_predicted=only_predicted,
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
    only_predicted: bool = False,
    workers: int | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> SemanticComparison:
    """Compare two predictions, folders ``a`` and ``b`` of class maps, case by case against one truth.

    Missed or invented classes count as the worst case. ``to_table()`` has Wilcoxon's signed-rank test of
    each class and metric, and ``differences(metric)`` the cases, largest difference first. The parameters are those
    of `evaluate`.

    Raises
    ------
    InputError
        As for `evaluate`, and for label maps of objects.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> comparison = mm.compare("labelsTs", "predicted_by_unet", "predicted_by_maskmed")  # doctest: +SKIP
    >>> comparison.differences("hd95").head()  # doctest: +SKIP
    """
    description, name = find_dataset_json(dataset, truth, a, b)
    if description is not None and description.get("overwrite_image_reader_writer") == READER:
        raise InputError(
            f"{name} declares objects; only predictions of classes are compared, so evaluate each by itself."
        )
    sides = []
    for index, prediction in enumerate((a, b)):

        def both(now: Progress, before: int = index) -> None:
            if progress is not None:
                progress(now._replace(done=before * now.total + now.done, total=2 * now.total))

        sides.append(
            _evaluate_classes(
                truth,
                prediction,
                description,
                name,
                spacing=spacing,
                tolerance=tolerance,
                partners=(),
                only_predicted=only_predicted,
                workers=workers,
                seed=seed,
                progress=both,
            )
        )
    names = [str(side) if is_path(side) else None for side in (a, b)]
    return compare_evaluations(sides[0], sides[1], names=(names[0] or "a", names[1] or "b"), seed=seed)


def _evaluate_classes(
    truth: PathLike | Any,
    prediction: PathLike | Any,
    description: Mapping[str, Any] | None,
    name: str,
    *,
    spacing: Sequence[float] | None,
    tolerance: float,
    partners: Iterable[Collection[int | str]] | None,
    only_predicted: bool,
    workers: int | None,
    seed: int,
    progress: Report | None,
) -> SemanticEvaluation:
    if not (isinstance(tolerance, int | float | np.number) and 0 <= tolerance < math.inf):
        raise InputError(f"The tolerance is {tolerance!r}; it must be a number of millimetres of 0 or more.")
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise InputError(f"The number of workers is {workers!r}; it must be a whole number of 1 or more.")
    classes = None if description is None else Classes.from_dataset_json(description, name)
    pairs = find_partners(prediction, classes) if partners is None else check_partners(partners, classes)
    notes = list(check_roles(truth, prediction, description, name))
    if is_path(truth) and is_path(prediction):
        ending = None if description is None else description.get("file_ending")
        files, left_out = find_pairs(Path(truth), Path(prediction), ending=ending, only_predicted=only_predicted)
        if left_out:
            notes.append(left_out_note(left_out, len(files), truth))
        cases, spaceless = evaluate_pairs(
            files,
            classes=classes,
            tolerance=float(tolerance),
            spacing=spacing,
            partners=pairs,
            workers=workers,
            progress=progress,
        )
    else:
        case, spaced = _evaluate_image(truth, prediction, classes, spacing, float(tolerance), pairs)
        cases, spaceless = [case], [] if spaced else [case.name]
    return build(
        cases, classes, tolerance=float(tolerance), spaceless=spaceless, partners=pairs, seed=seed, notes=notes
    )


def _evaluate_image(
    truth: PathLike | Any,
    prediction: PathLike | Any,
    classes: Classes | None,
    spacing: Sequence[float] | None,
    tolerance: float,
    partners: Sequence[tuple[int, int]],
) -> tuple[CaseScores, bool]:
    """The scores of one image in memory, and whether anything tells its spacing."""
    true, predicted = read_both(truth, prediction)
    if true.labels.ndim not in (2, 3):
        raise InputError(
            f"truth and prediction have the shape {format_shape(true.labels.shape)}; label maps have the axes [y, x] "
            "or [z, y, x]."
        )
    own = true.spacing or predicted.spacing or spacing
    surfaces.load()
    case = case_scores(
        true.labels,
        predicted.labels,
        spacing=check_spacing((1.0,) * true.labels.ndim if own is None else own, true.labels, "truth"),
        classes=classes,
        tolerance=tolerance,
        partners=partners,
        name="image",
    )
    return case, own is not None
