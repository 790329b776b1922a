"""Scores of one case: overlap, surface distances and volume of each class, from one pass over both maps.

A class that one map lacks is told from one that was found badly: MONAI's NaN for it drops out of means, which then
improve with every organ that was missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.text import count
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.semantic.surfaces import surface_scores

FOUND, MISSED, INVENTED, ABSENT = "found", "missed", "invented", "not applicable"
METRICS = ("dice", "iou", "hd95", "nsd")
MOST_CLASSES = 1000
DENSE = 2**16
"""Labels below it are looked up in a table."""


@dataclass(frozen=True)
class ClassScores:
    """One class of one case.

    ``state``: *found* (in both maps), *missed* (in the truth only), *invented* (in the prediction only) or *not
    applicable* (in neither), where every score is NaN. Of a class that was missed or invented Dice, IoU and NSD are 0,
    ``hd95`` is NaN, as there is no distance, and ``hd95_worst`` is the image's diagonal. Distances are in mm, volumes
    in mm³ (mm² of a 2D image); in pixels if the file has no spacing. ``relative_volume_difference`` is that of the
    prediction to the truth, as a share of the truth; NaN where the truth is empty.
    """

    state: str
    dice: float = math.nan
    iou: float = math.nan
    hd95: float = math.nan
    nsd: float = math.nan
    hd95_worst: float = math.nan
    volume_truth: float = 0.0
    volume_prediction: float = 0.0
    volume_difference: float = math.nan
    relative_volume_difference: float = math.nan

    def value(self, metric: str, *, worst: bool) -> float:
        """With ``worst``, a class that was missed or invented counts as the worst; else it is NaN."""
        if worst:
            return float(getattr(self, "hd95_worst" if metric == "hd95" else metric))
        return float(getattr(self, metric)) if self.state == FOUND else math.nan


NOT_APPLICABLE = ClassScores(ABSENT)
COLUMNS = tuple(field.name for field in fields(ClassScores))


@dataclass(frozen=True)
class CaseScores:
    """Scores of the classes of one case.

    ``unknown``: labels of the truth, and of the prediction, that stand for no class. ``wrong_side``: for each pair of
    partners, voxels of one that were given the label of the other, and true voxels of both.
    """

    name: str
    scores: Mapping[str, ClassScores]
    unknown: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
    wrong_side: Mapping[tuple[int, int], tuple[int, int]] | None = None


def case_scores(
    truth: Integers,
    prediction: Integers,
    *,
    spacing: Sequence[float],
    classes: Classes | None = None,
    tolerance: float = 1.0,
    partners: Sequence[tuple[int, int]] = (),
    name: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> CaseScores:
    """Scores of two class maps ``[*spatial]`` of whole numbers on one grid, ``spacing`` in the order of the axes.

    Without ``classes`` every label but 0 is a class. A first axis of one voxel is not an axis: an image is 2D. Where
    ``stopped`` turns true on the way, what was measured until then is returned.

    >>> truth, prediction = np.array([[1, 1, 0, 2]]), np.array([[1, 0, 0, 0]])
    >>> scores = case_scores(truth, prediction, spacing=(1, 1)).scores
    >>> scores["1"].dice == 2 / 3, scores["2"].state, scores["2"].dice
    (True, 'missed', 0.0)
    """
    while truth.ndim > 2 and truth.shape[0] == 1:
        truth, prediction, spacing = truth[0], prediction[0], spacing[1:]
    present = [labels_in(labels) for labels in (truth, prediction)]
    if classes is None:
        classes = Classes.from_labels(present[0] | present[1])
        if len(classes.labels) > MOST_CLASSES:
            raise InputError(
                f"There are {count(len(classes.labels), 'label')} in {name or 'the label maps'}; class maps have up to "
                f"{MOST_CLASSES}, so name a dataset.json that says which are classes, or label maps instead of images."
            )
    known = sorted(classes.known)
    ignored = None if classes.ignore is None else truth == classes.ignore
    true, predicted = (_indices(labels, known, ignored) for labels in (truth, prediction))
    pairs = _count_pairs(true, predicted, len(known) + 1)
    boxes = [ndimage.find_objects(indices, max_label=len(known)) for indices in (true, predicted)]
    diagonal = math.hypot(*np.multiply(truth.shape, spacing))
    scores: dict[str, ClassScores] = {}
    for one, labels in classes.labels.items():
        if stopped():
            break
        chosen = [known.index(label) + 1 for label in labels if label in known and label > 0]
        volumes = (int(pairs[chosen].sum()), int(pairs[:, chosen].sum()))
        overlap = int(pairs[np.ix_(chosen, chosen)].sum())
        distances = None
        if all(volumes):
            box = _union([side[index - 1] for side in boxes for index in chosen if side[index - 1]])
            inside = np.zeros(len(known) + 1, bool)
            inside[chosen] = True
            masks: list[Mask] = [inside[side[box]] for side in (true, predicted)]
            distances = surface_scores(masks[0], masks[1], spacing=spacing, tolerance=tolerance)
        scores[one] = _class_scores(volumes, overlap, distances, voxel=math.prod(spacing), diagonal=diagonal)
    return CaseScores(
        name,
        scores,
        (
            frozenset(present[0] - classes.known - {0, classes.ignore}),
            frozenset(present[1] - classes.known - {0}),
        ),
        {pair: _wrong_side(pairs, pair, known) for pair in partners},
    )


def count_wrong_side(
    truth: Integers, prediction: Integers, partners: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, int]]:
    """For each pair of labels: voxels of one that were given the other, and true voxels of both.

    >>> count_wrong_side(np.array([[1, 1, 2, 3]]), np.array([[2, 3, 2, 1]]), [(1, 2)])
    {(1, 2): (1, 3)}
    """
    known = sorted({label for pair in partners for label in pair})
    pairs = _count_pairs(_indices(truth, known, None), _indices(prediction, known, None), len(known) + 1)
    return {pair: _wrong_side(pairs, pair, known) for pair in partners}


def labels_in(labels: Integers) -> frozenset[int]:
    """The values of a label map."""
    if not labels.size or labels.min() < 0 or labels.max() >= DENSE:
        return frozenset(np.unique(labels).tolist())
    counts = np.zeros(int(labels.max()) + 1, np.int64)
    for part in labels:  # in parts, as numpy makes 8 bytes of each value
        counts += np.bincount(part.ravel(), minlength=len(counts))
    return frozenset(np.flatnonzero(counts).tolist())


def _indices(labels: Integers, known: Sequence[int], ignored: Mask | None) -> Integers:
    """1, 2, … for the labels that are ``known``, 0 elsewhere, in the smallest type."""
    kind = np.uint8 if len(known) < 2**8 else np.uint16
    table = np.zeros(max([*known, 0]) + 2, kind)  # the last one: beyond
    table[known] = np.arange(1, len(known) + 1)
    table[0] = 0
    beyond = len(table) - 1
    too_high = labels.size > 0 and labels.max() > beyond
    indices: Any = table[np.minimum(labels, beyond) if too_high else labels]
    if ignored is not None:
        indices[ignored] = 0
    result: Integers = indices
    return result


def _count_pairs(true: Integers, predicted: Integers, number: int) -> NDArray[np.int64]:
    """Voxels ``[true label, predicted label]``."""
    counts = np.zeros(number**2, np.int64)
    for one, other in zip(true, predicted, strict=True):
        counts += np.bincount((one.astype(np.intp) * number + other).ravel(), minlength=number**2)
    return counts.reshape(number, number)


def _union(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    return tuple(
        slice(min(one.start for one in axis), max(one.stop for one in axis)) for axis in zip(*boxes, strict=True)
    )


def _class_scores(
    volumes: tuple[int, int],
    overlap: int,
    distances: tuple[float, float] | None,
    *,
    voxel: float,
    diagonal: float,
) -> ClassScores:
    true, predicted = volumes
    if not true and not predicted:
        return NOT_APPLICABLE
    hd95, nsd = distances or (math.nan, 0.0)
    return ClassScores(
        state=FOUND if distances else MISSED if true else INVENTED,
        dice=2 * overlap / (true + predicted),
        iou=overlap / (true + predicted - overlap),
        hd95=hd95,
        nsd=nsd,
        hd95_worst=hd95 if distances else diagonal,
        volume_truth=true * voxel,
        volume_prediction=predicted * voxel,
        volume_difference=(predicted - true) * voxel,
        relative_volume_difference=(predicted - true) / true if true else math.nan,
    )


def _wrong_side(pairs: NDArray[np.int64], partners: tuple[int, int], known: Sequence[int]) -> tuple[int, int]:
    first, second = (known.index(label) + 1 if label in known else None for label in partners)
    wrong = 0 if first is None or second is None else int(pairs[first, second] + pairs[second, first])
    return wrong, sum(int(pairs[one].sum()) for one in (first, second) if one is not None)
