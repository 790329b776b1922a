"""Objects of one image as cropped soft masks: predicted in tiles, merged by stitching, read by writers."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.boxes import box_slices

MASK_THRESHOLD = 128
"""A pixel belongs to the object from this value of its soft mask on."""


@dataclass(frozen=True, eq=False)
class Detections:
    """``N`` objects of one image, volume or tile of ``dim`` axes; no array of ``[N, *spatial]`` ever exists.

    A soft mask is zero outside its box; the box may be larger than the object. Where objects cover stuff, they win.
    """

    shape: tuple[int, ...]
    """Of the image, ``dim`` numbers."""
    boxes: NDArray[np.int32]
    """int32 ``[N, 2 * dim]``, all starts, then all stops (``y0, x0, y1, x1``), half open, within the image"""
    masks: list[NDArray[np.uint8]]
    """``N`` times uint8 of the box's shape: probability * 255; a pixel belongs to the object from 128 on"""
    scores: NDArray[np.float32]
    """float32 ``[N]``"""
    classes: NDArray[np.int64]
    """int64 ``[N]``, class numbers 1..K as in dataset.json"""
    stuff: Integers | None = None
    """int16 ``[*spatial]``, class number of stuff, 0 = none"""

    def __post_init__(self) -> None:
        assert len(self.boxes) == len(self.masks) == len(self.scores) == len(self.classes)

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def dim(self) -> int:
        """How many axes the image has."""
        return len(self.shape)

    @classmethod
    def empty(cls, shape: Sequence[int]) -> Detections:
        """An image without objects."""
        return make_detections(shape, [], [], [], [])

    def select(self, index: Integers | Mask | Sequence[int]) -> Detections:
        """The objects at integer positions ``index``, or where a boolean ``index [N]`` is true."""
        chosen = np.asarray(index)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.intp)
        masks = [self.masks[i] for i in chosen]
        return replace(
            self, boxes=self.boxes[chosen], masks=masks, scores=self.scores[chosen], classes=self.classes[chosen]
        )

    def shift(self, offset: Sequence[int], shape: Sequence[int]) -> Detections:
        """The same objects in an image of ``shape`` where the first pixel of this one lies at ``offset``.

        What falls outside is cut off, and an object of which no pixel remains is left out. New area has no stuff.
        """
        shape = tuple(int(n) for n in shape)
        moved = self.boxes + np.tile(np.asarray(offset, np.int32), 2)
        boxes = np.clip(moved, 0, np.array([*shape, *shape], np.int32))
        masks = list(self.masks)
        keep: Mask = np.all(boxes[:, : self.dim] < boxes[:, self.dim :], axis=1)
        for i in np.flatnonzero((boxes != moved).any(1) & keep):
            masks[i] = masks[i][box_slices(boxes[i], moved[i])]
            keep[i] = masks[i].size and masks[i].max() >= MASK_THRESHOLD
        stuff = None
        if self.stuff is not None:
            stuff = np.zeros(shape, self.stuff.dtype)
            pairs = list(zip(offset, shape, strict=True))
            part = self.stuff[tuple(slice(max(-by, 0), max(n - by, 0)) for by, n in pairs)]
            stuff[tuple(slice(max(by, 0), max(by, 0) + n) for (by, _), n in zip(pairs, part.shape, strict=True))] = part
        return Detections(shape, boxes, masks, self.scores, self.classes, stuff).select(keep)

    def flip(self, axes: Sequence[int]) -> Detections:
        """Mirrored along ``axes`` (0 = the first one of `shape`); its own inverse."""
        axes = tuple(axes)
        boxes = self.boxes.copy()
        for axis in axes:
            boxes[:, [axis, axis + self.dim]] = self.shape[axis] - boxes[:, [axis + self.dim, axis]]
        stuff = None if self.stuff is None else np.flip(self.stuff, axes)
        return replace(self, boxes=boxes, masks=[np.flip(mask, axes) for mask in self.masks], stuff=stuff)

    def resize(self, shape: Sequence[int]) -> Detections:
        """On a grid of ``shape`` over the same field of view: soft masks linearly, stuff by the nearest pixel.

        Pixel centres as in torch's ``align_corners=False``. An object of which no pixel remains is left out.
        """
        shape = tuple(int(n) for n in shape)
        if shape == self.shape:
            return self
        boxes, masks = np.zeros_like(self.boxes), []
        for i, (box, mask) in enumerate(zip(self.boxes.tolist(), self.masks, strict=True)):
            soft, corner = mask.astype(np.float32), []
            for axis, (old, new) in enumerate(zip(self.shape, shape, strict=True)):
                first, weights = _interpolation(box[axis], box[axis + self.dim], old, new)
                soft = np.moveaxis(_blend(np.moveaxis(soft, axis, 0), weights), 0, axis)
                corner.append(first)
            masks.append(np.rint(soft).astype(np.uint8))
            boxes[i] = *corner, *(first + n for first, n in zip(corner, soft.shape, strict=True))
        stuff = self.stuff
        if stuff is not None:
            nearest = (((2 * np.arange(n) + 1) * old // (2 * n)) for old, n in zip(self.shape, shape, strict=True))
            stuff = stuff[np.ix_(*nearest)]
        keep = np.array([mask.max(initial=0) >= MASK_THRESHOLD for mask in masks], bool)
        return Detections(shape, boxes, masks, self.scores, self.classes, stuff).select(keep)


def make_detections(
    shape: Sequence[int],
    boxes: ArrayLike,
    masks: list[NDArray[np.uint8]],
    scores: ArrayLike,
    classes: ArrayLike,
    stuff: Integers | None = None,
) -> Detections:
    """Detections from plain lists, converted to the types of `Detections`.

    ``boxes [N, 2 * dim]``, first all starts, then all stops; ``masks`` of ``N`` boxes, each of the size of its box;
    ``scores [N]``, ``classes [N]``; ``stuff`` has the image's ``shape``.
    """
    return Detections(
        tuple(int(n) for n in shape),
        np.asarray(boxes, np.int32).reshape(-1, 2 * len(shape)),
        masks,
        np.asarray(scores, np.float32).reshape(-1),
        np.asarray(classes, np.int64).reshape(-1),
        stuff,
    )


def concatenate(parts: Sequence[Detections]) -> Detections:
    """All objects of detections of one image, in order; stuff is the first part's that has any."""
    assert parts and all(part.shape == parts[0].shape for part in parts)
    return Detections(
        parts[0].shape,
        np.concatenate([part.boxes for part in parts]),
        [mask for part in parts for mask in part.masks],
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.classes for part in parts]),
        next((part.stuff for part in parts if part.stuff is not None), None),
    )


def from_instance_map(ids: Integers, classes: Integers | Sequence[int], stuff: Integers | None = None) -> Detections:
    """The objects of a map of ids ``[L, *spatial]`` as certain detections (masks 0 and 255, scores 1), in order of id.

    ``classes [N]`` is the class of object ``i + 1``. Ids without a pixel are left out.
    """
    cropped: dict[int, tuple[tuple[slice, ...], NDArray[np.uint8]]] = {}
    for layer in ids:
        for number, slices in enumerate(ndimage.find_objects(layer, max_label=len(classes)), 1):
            if slices is not None:
                assert number not in cropped, f"object {number} lives in two layers"
                cropped[number] = slices, (layer[slices] == number).astype(np.uint8) * 255
    numbers = sorted(cropped)
    boxes = [[s.start for s in cropped[n][0]] + [s.stop for s in cropped[n][0]] for n in numbers]
    masks = [cropped[n][1] for n in numbers]
    of_object = np.asarray(classes)[np.array(numbers, np.intp) - 1]
    return make_detections(ids.shape[1:], boxes, masks, np.ones(len(numbers)), of_object, stuff)


def to_instance_map(detections: Detections, max_layers: int) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """Write objects into as few layers as they need, at most ``max_layers``, the highest scores first.

    An object goes into the first layer in which it overlaps nothing. Where there is none and no further layer is
    allowed, it goes where it keeps most pixels and leaves the others to the higher scores, so that ``max_layers=1``
    flattens by score. One that keeps no pixel is dropped.

    Returns ``ids`` int32 ``[L, *spatial]`` with at least one layer and ids 1..M in the order of the detections,
    ``classes`` int64 ``[M]``, and how many objects were dropped.
    """
    layers = [np.zeros(detections.shape, np.int32)]
    keep = np.zeros(len(detections), bool)
    for i in np.argsort(-detections.scores, kind="stable"):
        box = box_slices(detections.boxes[i])
        inside = detections.masks[i] >= MASK_THRESHOLD
        area = np.count_nonzero(inside)
        best, most_free = None, 0
        for layer in layers:
            free = np.count_nonzero(inside & (layer[box] == 0))
            if free > most_free:
                best, most_free = layer, free
            if free == area:
                break
        if most_free < area and len(layers) < max_layers:
            best = np.zeros(detections.shape, np.int32)
            layers.append(best)
        if best is not None:
            part = best[box]
            part[inside & (part == 0)] = i + 1
            keep[i] = True
    ids = np.stack(layers) if len(layers) > 1 else layers[0][None]
    if not keep.all():
        new_id = np.zeros(len(detections) + 1, np.int32)
        new_id[1:][keep] = np.arange(1, np.count_nonzero(keep) + 1)
        for plane in ids.reshape(-1, *detections.shape[1:]):  # one at a time: a volume's ids take gigabytes
            plane[...] = new_id[plane]
    return ids, detections.classes[keep], int(np.count_nonzero(~keep))


def flatten(detections: Detections) -> Detections:
    """The same objects without overlaps: each pixel belongs to the highest score, hidden objects are left out."""
    numbered = replace(detections, classes=np.arange(len(detections)))
    ids, index, _ = to_instance_map(numbered, 1)
    flat = from_instance_map(ids, detections.classes[index], detections.stuff)
    return replace(flat, scores=detections.scores[index])


def pack(slices: Sequence[Detections]) -> NDArray[np.uint8]:
    """One uint8 vector that holds the detections of all ``slices``, or of the one volume; see `unpack`."""
    dim = slices[0].dim if slices else 2
    masks = [mask.ravel() for part in slices for mask in part.masks]
    stuff = [part.stuff.ravel() for part in slices if part.stuff is not None]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        shapes=np.array([part.shape for part in slices], np.int64).reshape(len(slices), dim),
        counts=np.array([len(part) for part in slices], np.int64),
        has_stuff=np.array([part.stuff is not None for part in slices], bool),
        boxes=np.concatenate([part.boxes for part in slices]) if slices else np.zeros((0, 2 * dim), np.int32),
        scores=np.concatenate([part.scores for part in slices]) if slices else np.zeros(0, np.float32),
        classes=np.concatenate([part.classes for part in slices]) if slices else np.zeros(0, np.int64),
        masks=np.concatenate(masks) if masks else np.zeros(0, np.uint8),
        stuff=np.concatenate(stuff) if stuff else np.zeros(0, np.int16),
    )
    return np.frombuffer(buffer.getbuffer(), np.uint8)


def unpack(vector: NDArray[np.uint8]) -> list[Detections]:
    """The slices, or the one volume, that `pack` put into the uint8 ``vector [bytes]``."""
    with np.load(io.BytesIO(np.ascontiguousarray(vector).data), allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    dim = data["boxes"].shape[1] // 2
    sizes = (data["boxes"][:, dim:] - data["boxes"][:, :dim]).astype(np.int64)
    ends = np.cumsum(sizes.prod(1)).tolist()
    masks = [
        data["masks"][end - math.prod(size) : end].reshape(size) for end, size in zip(ends, sizes.tolist(), strict=True)
    ]
    slices, first, pixel = [], 0, 0
    for shape, count, has_stuff in zip(
        data["shapes"].tolist(), data["counts"].tolist(), data["has_stuff"], strict=True
    ):
        stuff, part = None, slice(first, first + count)
        if has_stuff:
            stuff = data["stuff"][pixel : pixel + math.prod(shape)].reshape(shape)
            pixel += math.prod(shape)
        boxes, scores, classes = data["boxes"][part], data["scores"][part], data["classes"][part]
        slices.append(Detections(tuple(shape), boxes, masks[part], scores, classes, stuff))
        first += count
    return slices


Weights: TypeAlias = tuple[Integers, Integers, NDArray[np.float32], NDArray[np.float32]]


def _interpolation(start: int, stop: int, old: int, new: int) -> tuple[int, Weights]:
    """First new pixel, and for each new pixel two source pixels within ``start..stop`` with their weights."""
    scale = old / new
    first = max(int(np.floor((start - 0.5) / scale - 0.5)), 0)
    last = min(int(np.ceil((stop + 0.5) / scale - 0.5)) + 1, new)
    position = np.clip((np.arange(first, last) + 0.5) * scale - 0.5, 0, old - 1)  # beyond the image's border: its edge
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, old - 1)
    fraction = (position - low).astype(np.float32)
    # Outside its box the mask is zero.
    low_weight = (1 - fraction) * ((low >= start) & (low < stop))
    high_weight = fraction * ((high >= start) & (high < stop))
    return first, (
        np.clip(low, start, stop - 1) - start,
        np.clip(high, start, stop - 1) - start,
        low_weight,
        high_weight,
    )


def _blend(rows: NDArray[np.float32], weights: Weights) -> NDArray[np.float32]:
    """``rows [n, *others]`` interpolated along their first axis."""
    low, high, low_weight, high_weight = weights
    across = (-1, *(1 for _ in rows.shape[1:]))
    blended: NDArray[np.float32] = rows[low] * low_weight.reshape(across) + rows[high] * high_weight.reshape(across)
    return blended
