"""Merges several detections of one object: duplicates of one network, and views of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections, concatenate, make_detections
from maskmed_nnu.instances.stitching.cropped_masks import CroppedMasks, overlapping_box_pairs, without_empty
from maskmed_nnu.instances.stitching.groups import DetectionGroups

MATCH_IOU = 0.5
"""IoU from which two masks are taken for one object, as in panoptic quality: no object has two such partners among
objects that do not overlap."""


def mask_nms(detections: Detections, iou: float = MATCH_IOU) -> Detections:
    """Mask NMS per class: without the objects whose mask has at least this IoU with a kept one of a higher score.

    Equal scores: the first wins. The kept objects stay in order; one without a pixel is left out.
    """
    detections = without_empty(detections)
    cropped_masks = CroppedMasks(detections)
    pairs = overlapping_box_pairs(cropped_masks.boxes)
    pairs = pairs[detections.classes[pairs[:, 0]] == detections.classes[pairs[:, 1]]]
    pairs, _ = cropped_masks.pairs_above(iou, pairs)
    return detections.select(keep_best(detections.scores, pairs))


def keep_best(scores: NDArray[np.float32], pairs: Integers) -> Mask:
    """bool ``[N]``: true where no kept object of a higher score (the first among equals) is a partner in ``pairs``."""
    rivals: dict[int, list[int]] = {}
    for i, j in pairs.tolist():
        rivals.setdefault(i, []).append(j)
        rivals.setdefault(j, []).append(i)
    keep = np.ones(len(scores), bool)
    decided = np.ones(len(scores), bool)
    decided[list(rivals)] = False
    for i in np.argsort(-scores, kind="stable").tolist():
        if keep[i] and not decided[i]:
            keep[[j for j in rivals[i] if not decided[j]]] = False
        decided[i] = True
    return keep


def merge_views(views: Sequence[Detections]) -> Detections:
    """The merged detections of ``V`` views of an image, such as mirrorings and folds, mapped back to it.

    Detections of different views are one object if their masks' IoU is at least 0.5; each view has one at most in a
    group, the best pairs join first, those of one class before others. A group's mask is the mean of its soft masks,
    its class the one with the largest sum of scores, its score that sum divided by ``V``: a view without the object
    counts as a score of 0. Stuff is left to the caller, who has its probabilities.
    """
    views = [without_empty(view) for view in views]
    all_views = concatenate(views)
    groups = DetectionGroups(np.repeat(np.arange(len(views)), [len(view) for view in views]).tolist())
    cropped_masks = CroppedMasks(all_views)
    pairs = overlapping_box_pairs(cropped_masks.boxes)
    view = np.repeat(np.arange(len(views)), [len(part) for part in views])
    pairs, iou = cropped_masks.pairs_above(MATCH_IOU, pairs[view[pairs[:, 0]] != view[pairs[:, 1]]])
    other_class = all_views.classes[pairs[:, 0]] != all_views.classes[pairs[:, 1]]
    for i, j in pairs[np.lexsort((-iou, other_class))].tolist():
        if not groups.have_common_source(i, j):
            groups.join(i, j)
    merged = [_mean(all_views, members, len(views)) for members in groups.members()]
    if not merged:
        return Detections.empty(all_views.shape)
    boxes, masks, scores, classes = zip(*merged, strict=True)
    return make_detections(all_views.shape, boxes, list(masks), scores, classes)


def vote(votes: Sequence[tuple[int, float]]) -> tuple[int, float]:
    """The class with the largest sum of votes (the smallest number among equals), and the sum."""
    totals: dict[int, float] = {}
    for number, weight in votes:
        totals[number] = totals.get(number, 0.0) + weight
    return min(totals.items(), key=lambda item: (-item[1], item[0]))


def _mean(
    detections: Detections, members: list[int], views: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8], float, int]:
    """Box, mask, score and class of a group."""
    number, score = vote([(int(detections.classes[i]), float(detections.scores[i])) for i in members])
    if len(members) == 1:
        return detections.boxes[members[0]], detections.masks[members[0]], score / views, number
    boxes = detections.boxes[members]
    dim = detections.dim
    box = np.concatenate([boxes[:, :dim].min(0), boxes[:, dim:].max(0)])
    total = np.zeros(box[dim:] - box[:dim], np.int32)
    for i, part in zip(members, boxes, strict=True):
        total[box_slices(part, box)] += detections.masks[i]
    mask = ((2 * total + len(members)) // (2 * len(members))).astype(np.uint8)
    if mask.max() < MASK_THRESHOLD:  # a chain of views may agree pair by pair and nowhere in common
        best = max(members, key=lambda i: float(detections.scores[i]))
        box, mask = detections.boxes[best], detections.masks[best]
    return box, mask, score / views, number
