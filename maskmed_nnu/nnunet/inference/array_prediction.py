"""From a preprocessed image to label maps and objects on the grid of its reader, without files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections, unpack
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, encode, object_values
from maskmed_nnu.nnunet.inference.case_prediction import instance_network
from maskmed_nnu.nnunet.inference.export_prediction import planned_layers, revert_preprocessing, to_instances
from maskmed_nnu.nnunet.inference.pass_progress import passes_reported
from maskmed_nnu.nnunet.inference.plane_prediction import labels_wanted, predicts_by_plane
from maskmed_nnu.nnunet.inference.prediction_loop import network_output
from maskmed_nnu.nnunet.inference.predictor import low_scores_kept
from maskmed_nnu.nnunet.inference.thread_count import thread_count_kept
from maskmed_nnu.progress import Progress, Report


class FoundObjects(NamedTuple):
    """The objects of an image, on the grid that its reader gave."""

    raw: np.ndarray
    """The values of the label file, ``[L, Z, Y, X]``"""
    instances: InstanceMap
    """The same, decoded"""
    slices: list[Detections]
    """Objects of the volume, or of each slice along the plan's first axis, down to the low score"""
    values: list[np.ndarray]
    """Of each object of `slices` its value in `raw`; 0 for one that is less likely than the plans ask for, or hidden"""
    threshold: float
    """Score from which on objects are in `raw`"""
    transpose_backward: tuple[int, ...]
    """From the plan's axes to Z, Y, X"""


def predict_semantic(
    predictor: Any,
    data: np.ndarray,
    properties: dict[str, Any],
    *,
    keep_logits: bool = False,
    report: Report | None = None,
) -> tuple[np.ndarray, Callable[[], np.ndarray]]:
    """Labels ``[Z, Y, X]`` as nnU-Net exports them, and a function that gives the probabilities ``[K, Z, Y, X]``.

    Of many classes that function predicts again, unless ``keep_logits`` spends the memory for them. ``report`` is told
    how far this is, and ends it by raising.
    """

    def convert(predicted: np.ndarray, probabilities: bool) -> Any:
        with thread_count_kept():
            return convert_predicted_logits_to_segmentation_with_correct_shape(
                predicted,
                predictor.plans_manager,
                predictor.configuration_manager,
                predictor.label_manager,
                properties,
                return_probabilities=probabilities,
            )

    by_plane = predicts_by_plane(predictor) and not keep_logits
    with labels_wanted(predictor, properties) if by_plane else nullcontext():
        predicted = _logits(predictor, data, report)
    if report is not None:
        report(Progress("resampling", 0, 1))
    labels = convert(predicted, False)
    if by_plane:
        return labels, lambda: np.asarray(convert(_logits(predictor, data, None), True)[1])
    return labels, lambda: np.asarray(convert(predicted, True)[1])


def predict_objects(
    predictor: Any,
    data: np.ndarray,
    properties: dict[str, Any],
    *,
    low_score: float,
    tell: Callable[[str], object],
    report: Report | None = None,
) -> FoundObjects:
    """The objects from ``low_score`` on; those that reach the planned threshold are in the label map.

    ``report`` is told how far this is, and ends it by raising.

    Raises:
        InputError: where the data set's encoding cannot hold them.
    """
    planned = predictor.configuration_manager.configuration["instances"]
    with low_scores_kept(predictor, low_score, tell) as threshold:
        packed = _logits(predictor, data, report)
    slices = revert_preprocessing(packed, properties)
    backward = predictor.plans_manager.transpose_backward
    likely = [np.flatnonzero(part.scores >= threshold) for part in slices]
    # each object is its own class on the way, which tells those that found room
    numbers = np.cumsum([0, *(len(chosen) for chosen in likely)])
    numbered = [
        replace(part.select(chosen), classes=np.arange(first, first + len(chosen)))
        for part, chosen, first in zip(slices, likely, numbers, strict=False)
    ]
    objects, loss = to_instances(numbered, backward, planned_layers(planned))
    if loss:
        tell(loss[0].upper() + loss[1:])
    classes = np.concatenate([part.classes[chosen] for part, chosen in zip(slices, likely, strict=True)])
    kept = objects.classes.astype(np.intp)
    objects = replace(objects, classes=classes[kept])
    label_format = LabelFormat.from_dataset_json(predictor.dataset_json)
    raw = encode(objects, label_format)
    of_number = np.zeros(numbers[-1], np.int64)
    of_number[kept] = object_values(objects.classes, label_format.label_divisor)
    values = []
    for part, chosen, first in zip(slices, likely, numbers, strict=False):
        value = np.zeros(len(part), np.int64)
        value[chosen] = of_number[first : first + len(chosen)]
        values.append(value)
    return FoundObjects(raw, objects, slices, values, threshold, tuple(backward))


def network_of_first_fold(predictor: Any) -> Any:
    """The network itself, with the weights of the predictor's first fold, on its device, in evaluation mode."""
    network = getattr(predictor.network, "_orig_mod", predictor.network)
    network.load_state_dict(predictor.list_of_parameters[0])
    return network.to(predictor.device).eval()


def class_map(predictor: Any, data: np.ndarray) -> np.ndarray:
    """Classes ``[Z, Y, X]`` on the grid of ``data [C, Z, Y, X]``, by the network as it is, without mirroring; of
    regions 1 where any is. What a user would be told of the image is not."""
    mirroring = predictor.use_mirroring
    predictor.use_mirroring, predictor.warn = False, lambda _sentence: None
    try:
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data))
    finally:
        predictor.use_mirroring = mirroring
        del predictor.warn
    if instance_network(predictor.network) is not None:
        labels = np.zeros(data.shape[1:], np.int64)
        parts = unpack(logits.numpy())
        for part, objects in zip(labels.reshape(len(parts), *parts[0].shape), parts, strict=True):
            for box, mask, number in zip(objects.boxes, objects.masks, objects.classes, strict=True):
                part[box_slices(box)][mask >= MASK_THRESHOLD] = number
        return labels
    if predictor.label_manager.has_regions:
        return (logits > 0).any(0).cpu().numpy().astype(np.int64)
    return logits.argmax(0).cpu().numpy().astype(np.int64)


def _logits(predictor: Any, data: np.ndarray, report: Report | None) -> np.ndarray:
    """See `network_output`; within `labels_wanted` it gives labels."""
    with passes_reported(predictor, report):
        return network_output(predictor, torch.from_numpy(data))
