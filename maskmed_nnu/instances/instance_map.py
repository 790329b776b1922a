"""Objects of one image as label maps, and the numbers that stand for them in a data set's label files.

Panoptic ids (``class * label_divisor + index``) follow COCO panoptic's and Cityscapes' practice; here index 0 is stuff,
or, in a class that also has objects, a crowd region, which the loss and the metrics ignore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.dataset_json import dataset_json_faults, label_number
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.array_types import CroppedMask, Integers
from maskmed_nnu.instances.label_values import MAX_ID, and_more, cast, check_values


@dataclass(frozen=True)
class LabelFormat:
    """How objects are written in the label files of a data set.

    ``classes`` maps the foreground names to 1..K. Without ``label_divisor`` every positive value is an object of the
    only class. With ``overlap_layers`` the files' extra axis holds layers of ids; an object lives in exactly one.
    """

    classes: dict[str, int]
    label_divisor: int | None = None
    overlap_layers: bool = False

    @classmethod
    def from_dataset_json(cls, dataset_json: dict[str, Any], name: str = "dataset.json") -> LabelFormat:
        """The format that a data set's ``dataset.json``, called `name` in sentences, declares.

        Raises:
            InputError: where its labels, ``label_divisor`` or ``overlap_layers`` are not those of an object data set.
        """
        labels = dataset_json.get("labels")
        if isinstance(labels, dict) and labels.get("ignore") is not None:
            raise InputError(
                f"{name} declares an ignore label, which object maps cannot have; mark such regions as a crowd "
                "(class * label_divisor) and remove the label."
            )
        if isinstance(labels, dict) and any(isinstance(value, list) for value in labels.values()):
            raise InputError(
                f"The labels in {name} are {labels}; an object data set numbers its classes 1, 2, 3 and so on, one "
                "number each (no regions)."
            )
        faults = dataset_json_faults(dataset_json, name, needs=("labels",))
        if faults:
            raise InputError(faults[0])
        numbers = {one: label_number(value) or 0 for one, value in dataset_json["labels"].items() if value is not None}
        classes = {one: number for one, number in numbers.items() if one != "background"}
        if sorted(classes.values()) != list(range(1, len(classes) + 1)):
            raise InputError(
                f"The labels in {name} are {labels}; an object data set numbers its classes 1, 2, 3 and so on, one "
                "number each (no regions)."
            )
        divisor = dataset_json.get("label_divisor")
        if divisor is None and len(classes) > 1:
            raise InputError(
                f"{name} declares {len(classes)} classes ({', '.join(classes)}) but no label_divisor, so ids "
                'do not determine classes; write ids as class * 1000 + index, and add "label_divisor": 1000.'
            )
        largest = MAX_ID // (len(classes) + 1)
        if divisor is not None and (type(divisor) is not int or not 2 <= divisor <= largest):
            raise InputError(
                f"label_divisor in {name} is {divisor!r}; it must be an integer from 2 to {largest}, so that the "
                f"ids of {len(classes)} classes fit in 32 bits."
            )
        layers = dataset_json.get("overlap_layers", False)
        if type(layers) is not bool:
            raise InputError(f"overlap_layers in {name} is {layers!r}; it must be true or false.")
        return cls(classes, divisor, layers)


@dataclass(frozen=True)
class InstanceMap:
    """The objects of one image.

    ``ids``: int32 ``[L, *spatial]``, 0 = none, objects 1..N, each in one layer. ``classes``: int64 ``[N]``, the class
    number of object i + 1. ``stuff``: int32 ``[*spatial]``, the class number of stuff or of a crowd region, 0
    elsewhere; it may go on beneath objects, which win where a pixel can have one value only. Of a semantic mask that is
    converted ``stuff`` holds the values as they are, whatever their type.
    """

    ids: NDArray[np.int32]
    classes: NDArray[np.int64]
    stuff: Integers

    def semantic(self) -> NDArray[np.int16]:
        """The class of every pixel, int16 ``[*spatial]``: stuff lowest, then objects, the higher class number on top.

        >>> ids = np.array([[[1, 1, 0, 0]], [[0, 2, 2, 0]]], np.int32)
        >>> InstanceMap(ids, np.array([2, 1]), np.array([[3, 3, 3, 3]], np.int32)).semantic()
        array([[2, 2, 1, 3]], dtype=int16)
        """
        class_of = cast(np.concatenate([[0], self.classes]), np.int16)
        semantic: NDArray[np.int16] = class_of[self.ids[0]]
        for layer in self.ids[1:]:
            np.maximum(semantic, class_of[layer], out=semantic)
        if self.stuff.any():
            np.copyto(semantic, cast(self.stuff, np.int16), where=semantic == 0)
        return semantic


def decode(raw: NDArray[Any], label_format: LabelFormat) -> InstanceMap:
    """The objects in the values of a label file, ``raw [L, *spatial]``, numbered 1..N in the order of the values.

    >>> objects = decode(np.array([[[7, 7, 0, 90]]]), LabelFormat({"nucleus": 1}))
    >>> objects.ids, objects.classes
    (array([[[1, 1, 0, 2]]], dtype=int32), array([1, 1]))

    Raises:
        InputError: values that are negative or no integers, an undeclared class, an id in two layers, two kinds of
            stuff at one pixel. The sentence does not name the file, which the caller knows.
    """
    values, run_of, lengths, layer_of = _runs(raw)
    check_values(values)
    values = cast(values, np.int64)
    divisor = label_format.label_divisor
    classes, index = (np.ones_like(values), values) if divisor is None else np.divmod(values, divisor)
    _check_classes(values, classes, label_format)

    is_object = (values > 0) & (index > 0)
    present = np.stack([np.bincount(run_of[layer_of == n], minlength=len(values)) > 0 for n in range(len(raw))])
    twice = np.flatnonzero((present.sum(axis=0) > 1) & is_object)
    if len(twice):
        raise InputError(
            f"Id {values[twice[0]]}{and_more(twice)} is in the layers "
            f"{_format_numbers(np.flatnonzero(present[:, twice[0]]) + 1)}; an object belongs to one layer, so "
            "give the parts in different layers different ids or draw them in one layer."
        )
    number = cast(np.where(is_object, np.cumsum(is_object), 0), np.int32)
    ids = np.repeat(number[run_of], lengths).reshape(raw.shape)
    kind = cast(np.where(is_object | (values == 0), 0, classes), np.int32)
    if not kind.any():
        return InstanceMap(ids, classes[is_object], np.zeros(raw.shape[1:], np.int32))
    stuff = np.repeat(kind[run_of], lengths).reshape(raw.shape)
    highest = stuff.max(axis=0)
    if ((stuff > 0) & (stuff != highest)).any():
        raise InputError(
            "Two layers hold different stuff or crowd classes at the same pixel; a pixel has one stuff class, so "
            "clear it in one of the layers."
        )
    return InstanceMap(ids, classes[is_object], highest)


def encode(objects: InstanceMap, label_format: LabelFormat) -> NDArray[np.unsignedinteger[Any]]:
    """``objects`` as values of a label file: ``[L, *spatial]`` in uint16, or uint32 where needed.

    Objects of a class are numbered from 1 in their order. Stuff takes the first layer that is free at a pixel; where
    none is, the objects win. ``decode`` gives the same objects back, ordered by class.

    Raises:
        InputError: for what the format cannot hold.
    """
    divisor, layers = label_format.label_divisor, len(objects.ids)
    if layers > 1 and not label_format.overlap_layers:
        raise InputError(
            f'The objects need {layers} layers, but the data set\'s label files have none; add "overlap_layers": true '
            "to its dataset.json, or flatten the objects."
        )
    undeclared = np.setdiff1d(objects.classes, list(label_format.classes.values()))
    if len(undeclared):
        raise InputError(
            f"The objects have the classes {_format_numbers(undeclared)}, which dataset.json does not declare; its "
            f"classes are {_format_classes(label_format)}."
        )
    if divisor is None and objects.stuff.any():
        raise InputError(
            "There are stuff or crowd regions besides the objects, but dataset.json declares no label_divisor, "
            'without which every value is an object; add "label_divisor": 1000, for example, and use panoptic ids.'
        )
    values = object_values(objects.classes, divisor)
    highest = max(values.max(initial=0), 0 if divisor is None else int(objects.stuff.max(initial=0)) * divisor)
    kind: type[np.unsignedinteger[Any]] = np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32
    raw = cast(np.concatenate([[0], values]), kind)[objects.ids]
    if divisor is not None and objects.stuff.any():
        left = cast(cast(objects.stuff, np.int64) * divisor, kind)
        for layer in raw:
            here = (left > 0) & (layer == 0)
            layer[here] = left[here]
            left[here] = 0
    return raw


def object_values(classes: NDArray[np.int64], divisor: int | None) -> NDArray[np.int64]:
    """The values of objects 1..N of these ``classes`` in a label file.

    >>> object_values(np.array([1, 2, 1]), 1000)
    array([1001, 2001, 1002])

    Raises:
        InputError: where a class has more objects than ``divisor`` leaves room for.
    """
    if divisor is None:
        return np.arange(1, len(classes) + 1, dtype=np.int64)
    index = _rank_in_class(classes)
    if len(index) and index.max() >= divisor:
        raise InputError(
            f"An image holds {index.max()} objects of one class, but label_divisor {divisor} leaves room for "
            f"{divisor - 1}; raise label_divisor in dataset.json and write the label files again."
        )
    return classes * divisor + index


def stack_layers(objects: Sequence[CroppedMask], shape: Sequence[int]) -> NDArray[np.int32]:
    """Overlapping objects as layers of ids, int32 ``[L, *shape]`` with L ≥ 1; object i gets the id i + 1.

    Each object, a box of slices and the mask in it, goes to the first layer where it overlaps none (greedy colouring:
    few layers, not always the fewest).
    """
    layers = [np.zeros(shape, np.int32)]
    for number, (box, mask) in enumerate(objects, 1):
        mask = np.asarray(mask, dtype=bool)
        layer = next((layer for layer in layers if not layer[box][mask].any()), None)
        if layer is None:
            layer = np.zeros(shape, np.int32)
            layers.append(layer)
        layer[box][mask] = number
    return np.stack(layers)


def _runs(raw: NDArray[Any]) -> tuple[NDArray[Any], Integers, Integers, Integers]:
    """Runs of equal values within a layer: the distinct values, and per run its value's index, length and layer.

    Label maps are long runs, so that sorting runs instead of pixels finds 40,000 objects in no more time than a few.
    """
    flat = np.ascontiguousarray(raw).reshape(len(raw), -1)
    starts = np.ones(flat.shape, dtype=bool)
    np.not_equal(flat[:, 1:], flat[:, :-1], out=starts[:, 1:])
    first = np.flatnonzero(starts)
    values, run_of = np.unique(flat.reshape(-1)[first], return_inverse=True)
    return values, run_of.reshape(-1), np.diff(first, append=flat.size), first // max(flat.shape[1], 1)


def _check_classes(values: Integers, classes: Integers, label_format: LabelFormat) -> None:
    wrong = np.flatnonzero((values > 0) & ((classes < 1) | (classes > len(label_format.classes))))
    if len(wrong):
        raise InputError(
            f"Id {values[wrong[0]]}{and_more(wrong)} is of class {classes[wrong[0]]} (label_divisor "
            f"{label_format.label_divisor}), which dataset.json does not declare; its classes are "
            f"{_format_classes(label_format)}, so declare the class or correct the id (class * label_divisor + index)."
        )


def _rank_in_class(classes: Integers) -> NDArray[np.int64]:
    """The index of each object within its class, from 1 on."""
    order = np.argsort(classes, kind="stable")
    sorted_classes = classes[order]
    rank = np.empty(len(classes), dtype=np.int64)
    rank[order] = np.arange(len(classes)) - np.searchsorted(sorted_classes, sorted_classes) + 1
    return rank


def _format_classes(label_format: LabelFormat) -> str:
    return ", ".join(f"{number} {name}" for name, number in label_format.classes.items())


def _format_numbers(numbers: Integers) -> str:
    return ", ".join(str(n) for n in numbers[:10]) + (" …" if len(numbers) > 10 else "")
