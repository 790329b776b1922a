"""A prediction and its truth, reduced to what all instance metrics use: areas, classes, scores and overlaps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections, from_instance_map
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, decode
from maskmed_nnu.instances.metrics.overlaps import Overlaps, label_overlaps, mask_overlaps
from maskmed_nnu.instances.text import format_shape

Objects: TypeAlias = Detections | InstanceMap | Integers
"""The objects of an image: detections, an object map, or plain ids ([*spatial] in 2D, else [layers, *spatial])."""
ONE_CLASS = LabelFormat({"object": 1})


class ClassComparison(NamedTuple):
    """The objects of one class: ``N`` predicted, ``M`` true (crowd regions among them), ``P`` pairs that meet."""

    prediction: Integers
    """int64 [P], index of the predicted object."""
    truth: Integers
    """int64 [P], index of the true object."""
    intersection: Integers
    """int64 [P], pixels in both."""
    iou: NDArray[np.float64]
    """float64 [P]; with a crowd region, as in COCO, the share of the prediction's area that lies in it."""
    prediction_area: Integers
    truth_area: Integers
    scores: NDArray[np.float64]
    """float64 [N]."""
    crowd: Mask
    """bool [M], regions of objects that are not annotated one by one; they count neither as found nor as missed."""
    shape: tuple[int, ...]
    """Of the image."""

    @property
    def num_objects(self) -> int:
        """True objects, without crowd regions."""
        return int(np.count_nonzero(~self.crowd))

    @property
    def ignored_predictions(self) -> Mask:
        """bool [N], unmatched predictions that are no false positives: more than half lies in a crowd.

        The rule of the panoptic evaluation (Kirillov et al., arXiv 1801.00868).
        """
        in_crowd = self.crowd[self.truth]
        share = np.bincount(self.prediction[in_crowd], self.iou[in_crowd], minlength=len(self.scores))
        ignored_predictions: Mask = share > 0.5
        return ignored_predictions

    def pairs_above(self, threshold: float, *, strict: bool = False) -> Mask:
        """bool [P], pairs of objects proper (no crowd) whose IoU reaches the threshold, or exceeds it if `strict`."""
        return ~self.crowd[self.truth] & (self.iou > threshold if strict else self.iou >= threshold)


@dataclass(frozen=True)
class Comparison:
    """All objects of one image's prediction [N] and truth [M], stuff and crowd regions among them."""

    overlaps: Overlaps
    scores: NDArray[np.float64]
    prediction_classes: Integers
    truth_classes: Integers
    prediction_regions: Mask
    """bool [N], True for a region of stuff."""
    truth_regions: Mask
    """bool [M], True for a region of stuff or, in a class of objects, of crowd."""
    crowd: Mask
    """bool [M], objects that the caller declared crowd."""
    shape: tuple[int, ...]
    """Of the image."""

    @property
    def classes(self) -> list[int]:
        """The class numbers that occur, sorted."""
        classes: list[int] = np.union1d(self.prediction_classes, self.truth_classes).tolist()
        return classes

    def class_agnostic(self) -> Comparison:
        """The same with all objects in class 1, and regions, which have no meaning without their class, in class 0."""
        numbers = [(~regions).astype(np.int64) for regions in (self.prediction_regions, self.truth_regions)]
        return replace(self, prediction_classes=numbers[0], truth_classes=numbers[1])

    def of_class(self, number: int, *, stuff: bool = False) -> ClassComparison:
        """The objects of class `number`; with `stuff` its regions instead, at most one on either side.

        In a class of objects the truth's region is a crowd, and a predicted region is ignored, as is an object
        without a pixel.
        """
        predicted = (self.prediction_classes == number) & (self.prediction_regions == stuff)
        predicted &= self.overlaps.prediction_area > 0
        true = (self.truth_classes == number) & (self.truth_regions | (not stuff)) & (self.overlaps.truth_area > 0)
        crowd = (self.truth_regions | self.crowd)[true] & (not stuff)
        pairs = predicted[self.overlaps.prediction] & true[self.overlaps.truth]
        prediction = (np.cumsum(predicted) - 1)[self.overlaps.prediction[pairs]]
        truth = (np.cumsum(true) - 1)[self.overlaps.truth[pairs]]
        area, shared = self.overlaps.prediction_area[predicted], self.overlaps.intersection[pairs]
        iou = np.where(crowd[truth], shared / area[prediction], self.overlaps.iou[pairs])
        truth_area = self.overlaps.truth_area[true]
        scores = self.scores[predicted]
        return ClassComparison(prediction, truth, shared, iou, area, truth_area, scores, crowd, self.shape)


def compare(prediction: Objects, truth: Objects, *, crowd: Mask | None = None) -> Comparison:
    """Compare the objects of an image with the truth; plain ids are objects of class 1 with score 1.

    `crowd`: bool [M], which of the truth's objects are crowd regions, in addition to what its ``stuff`` says.

    >>> comparison = compare(np.array([[1, 1, 0]]), np.array([[7, 7, 7]]))
    >>> comparison.classes, comparison.of_class(1).iou.round(3).tolist()
    ([1], [0.667])

    Raises:
        InputError: where prediction and truth are of different sizes.
    """
    as_masks = isinstance(prediction, Detections) or isinstance(truth, Detections)
    predicted, true = (
        _as_masks(objects) if as_masks or isinstance(objects, Detections) else _as_layers(objects)
        for objects in (prediction, truth)
    )
    if predicted.shape != true.shape:
        sizes = [format_shape(side.shape) for side in (predicted, true)]
        raise InputError(
            f"The prediction has {sizes[0]} pixels and the truth {sizes[1]}; both must be on the same grid."
        )
    if as_masks:
        overlaps = mask_overlaps(*predicted.pixels, *true.pixels)
    else:
        counts = (len(predicted.classes), len(true.classes))
        overlaps = label_overlaps(*predicted.pixels, *true.pixels, counts=counts)
    declared = np.zeros(len(true.classes), dtype=bool)
    if crowd is not None:
        declared[: len(crowd)] = crowd
    return Comparison(
        overlaps=overlaps,
        scores=predicted.scores,
        prediction_classes=predicted.classes,
        truth_classes=true.classes,
        prediction_regions=predicted.regions,
        truth_regions=true.regions,
        crowd=declared,
        shape=true.shape,
    )


def _instance_map(objects: InstanceMap | Integers) -> InstanceMap:
    """Plain ids as objects of one class."""
    if isinstance(objects, InstanceMap):
        return objects
    return decode(objects if objects.ndim > 2 else objects[None], ONE_CLASS)


class _ImageObjects(NamedTuple):
    shape: tuple[int, ...]
    pixels: tuple[Any, ...]
    """Arguments for the function that counts overlaps: (layers,) or (boxes, masks)."""
    classes: Integers
    scores: NDArray[np.float64]
    regions: Mask


def _as_layers(objects: InstanceMap | Integers) -> _ImageObjects:
    """Ids 1..N in layers; regions of stuff, where no object covers them, in one layer more."""
    objects = _instance_map(objects)
    stuff = np.where((objects.ids > 0).any(axis=0), 0, objects.stuff)
    count, numbers = len(objects.classes), np.unique(stuff[stuff > 0])
    layers = objects.ids
    if len(numbers):
        lookup = np.zeros(numbers[-1] + 1, dtype=layers.dtype)
        lookup[numbers] = count + 1 + np.arange(len(numbers))
        layers = np.concatenate([layers, lookup[stuff][None]])
    classes = np.concatenate([objects.classes, numbers]).astype(np.int64)
    return _ImageObjects(stuff.shape, (layers,), classes, np.ones(len(classes)), np.arange(len(classes)) >= count)


def _as_masks(objects: Objects) -> _ImageObjects:
    """Boxes and boolean masks cropped to them; regions of stuff, where no object covers them, behind the objects."""
    if isinstance(objects, Detections):
        detections, stuff = objects, objects.stuff
    else:
        objects = _instance_map(objects)
        detections, stuff = from_instance_map(objects.ids, objects.classes), objects.stuff
    dim = len(detections.shape)
    boxes: Integers = detections.boxes.reshape(-1, 2 * dim)
    masks = [mask >= MASK_THRESHOLD for mask in detections.masks]
    numbers: Integers = np.zeros(0, dtype=np.int64)
    if stuff is not None and stuff.any():
        stuff = stuff.copy()
        for box, mask in zip(boxes.tolist(), masks, strict=True):
            stuff[box_slices(box)][mask] = 0
        numbers, regions = np.unique(stuff[stuff > 0]), ndimage.find_objects(stuff)
        stuff_boxes = [regions[number - 1] for number in numbers]
        masks += [stuff[box] == number for box, number in zip(stuff_boxes, numbers, strict=True)]
        corners = [[axis.start for axis in box] + [axis.stop for axis in box] for box in stuff_boxes]
        boxes = np.concatenate([boxes, np.array(corners, dtype=boxes.dtype).reshape(-1, 2 * dim)])
    classes = np.concatenate([detections.classes, numbers]).astype(np.int64)
    scores = np.concatenate([detections.scores, np.ones(len(numbers))]).astype(np.float64)
    is_region = np.arange(len(classes)) >= len(detections.classes)
    return _ImageObjects(tuple(detections.shape), (boxes, masks), classes, scores, is_region)
