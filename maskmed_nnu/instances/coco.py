"""COCO json of instances ⇄ objects: polygons, compressed and uncompressed RLE, crowd regions; results with scores.

The format is defined by pycocotools (https://cocodataset.org/#format-data), which turns polygons into pixels here too.
LIVECell's variant, where ``annotations`` is an object keyed by id instead of a list, is read as well.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy import ndimage

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import rle
from maskmed_nnu.instances.array_types import CroppedMask, Mask
from maskmed_nnu.instances.coco_document import (
    CocoAnnotation,
    CocoImage,
    References,
    describe_ids,
    natural_order,
    read_document,
    without_repeats,
)
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections
from maskmed_nnu.instances.instance_map import InstanceMap, stack_layers
from maskmed_nnu.instances.rle import SegmentationError
from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.json_file import shown

MAX_COORDINATE = 10  # image sizes; rasterising costs a polygon's length, so one with wild coordinates would never end


@dataclass(frozen=True)
class CocoInstances:
    """What the json says about one image: its objects, with crowd annotations as stuff.

    `refused` holds a clause per object that could not be read, `clipped` counts objects cut off at the image's border.
    """

    objects: InstanceMap
    refused: list[str]
    clipped: int


class _Annotation(NamedTuple):
    """An annotation of an image, as sentences call it, with the id that its category declares."""

    title: str
    category: int | str
    annotation: CocoAnnotation

    def content(self, *, with_id: bool = True) -> tuple[Any, ...] | None:
        """Two that agree in it are listed twice; None where there is no mask, which is refused one by one."""
        mask, name = self.annotation.segmentation, repr(self.annotation.id) if with_id else ""
        return (name, self.category, self.annotation.iscrowd, repr(mask)) if mask else None


class CocoFile:
    """A COCO json: `classes` (name → number from 1), `images`, `notes` on what was left out, objects per image."""

    def __init__(self, path: Path, classes: Sequence[str] | None = None) -> None:
        """Read the json at `path`; `classes` selects categories by name and numbers them in that order.

        Without a selection every category that has an annotation is taken, in the order of the ids.

        Raises:
            InputError: where the file is not COCO json, contradicts itself, holds no masks, or lacks a selected
                category.
        """
        document = read_document(path)
        self.path, self.images, self.notes = path, document.images, document.notes
        names = {category.id: category.name for category in document.categories}
        self._annotations: dict[int | str, list[_Annotation]] = {image.id: [] for image in document.images}
        self._assign(document.annotations, names)
        self.classes, self._number = self._number_classes(names, classes)
        if not document.annotations:
            raise InputError(f"{path} has no annotations (its list is empty or null); name the json that holds them.")
        if not any(annotation.segmentation for annotation in document.annotations):
            boxes = " (bounding boxes only)" if any(annotation.bbox for annotation in document.annotations) else ""
            raise InputError(
                f"No annotation in {path} has a segmentation{boxes}; masks are needed, as polygons or RLE."
            )

    def _assign(self, annotations: Sequence[CocoAnnotation], names: dict[int | str, str]) -> None:
        """Give each annotation to its image, with the id of its category."""
        images, categories = References(self._annotations), References(names)
        strays: list[int | str] = []
        for index, annotation in enumerate(annotations):
            category, image = categories.find(annotation.category_id), images.find(annotation.image_id)
            title = f"annotations[{index}]" if annotation.id is None else f"annotation {annotation.id}"
            if category is None:
                found = f"{title[0].upper()}{title[1:]} in {self.path} has category_id {shown(annotation.category_id)}"
                raise InputError(
                    f"{found}, but its categories have the ids {describe_ids(names)}; declare that category or correct "
                    "the annotation."
                )
            if image is None:
                strays.append(annotation.image_id)
            else:
                self._annotations[image].append(_Annotation(title, category, annotation))
        if strays:
            if len(strays) == len(annotations):
                raise InputError(
                    f"No annotation in {self.path} belongs to an image that it lists: image_id is "
                    f"{describe_ids(dict.fromkeys(strays))}, but the images have the ids "
                    f"{describe_ids(self._annotations)}; make them agree."
                )
            self.notes.append(
                f"{count(len(strays), 'annotation')} of images that {self.path.name} does not list, skipped"
            )
        self._drop_repeats()

    def _drop_repeats(self) -> None:
        """Keep an annotation that is listed twice once, and tell of others that look alike."""
        repeats = twins = 0
        for image, group in self._annotations.items():
            kept, repeated = without_repeats(group, _Annotation.content)
            twins += without_repeats(kept, functools.partial(_Annotation.content, with_id=False))[1]
            self._annotations[image], repeats = kept, repeats + repeated
        if repeats:
            self.notes.append(f"{count(repeats, 'annotation')} listed twice, counted once")
        if twins:
            self.notes.append(
                f"{count(twins, 'annotation')} with the class and mask of another one but a different id, kept "
                "as objects that overlap completely; remove duplicates"
            )
        ids = Counter(one.title for group in self._annotations.values() for one in group)
        shared = sum(times for times in ids.values() if times > 1)
        if shared:
            self.notes.append(f"{shared:,} annotations with different masks share an id, all kept")

    def objects(self, image: CocoImage, shape: tuple[int, int]) -> CocoInstances:
        """The selected objects of `image`, whose file has the size `shape` (y, x), layered where they overlap.

        Where crowd regions of two classes meet, the higher class number wins.
        """
        masks: list[CroppedMask] = []
        numbers, refused, clipped = [], [], 0
        stuff = np.zeros(shape, dtype=np.int32)
        for title, category, annotation in self._annotations[image.id]:
            number = self._number.get(category)
            if number is None:
                continue
            try:
                positions, cut = _rasterise(annotation.segmentation, shape)
            except (ValueError, TypeError, LookupError, OverflowError) as error:
                refused.append(f"{title}: {_error_reason(error)}")
                continue
            clipped += cut
            box, mask = rle.crop(positions, shape[0])
            if annotation.iscrowd:
                np.maximum(stuff[box], mask * np.int32(number), out=stuff[box])
            else:
                masks.append((box, mask))
                numbers.append(number)
        objects = InstanceMap(stack_layers(masks, shape), np.array(numbers, dtype=np.int64), stuff)
        return CocoInstances(objects, refused, clipped)

    def _number_classes(
        self, names: dict[int | str, str], selected: Sequence[str] | None
    ) -> tuple[dict[str, int], dict[int | str, int]]:
        """Class names with consecutive numbers, and category id → number of the categories taken."""
        used = {one.category for group in self._annotations.values() for one in group}
        if selected:
            unknown = [name for name in selected if name not in names.values()]
            if unknown or len(set(selected)) < len(selected):
                raise InputError(
                    f"{self.path} has no category {unknown[0]!r}; it has {format_list(names.values())}."
                    if unknown
                    else f"A class is named twice in {' '.join(selected)}; name each category once."
                )
            ids = {name: key for key, name in names.items()}
            taken = [ids[name] for name in selected]
        else:
            taken = sorted(used, key=natural_order)
        left = sorted(names[key] for key in names if key not in taken)
        if left:
            self.notes.append(f"{'not selected' if selected else 'without annotations, skipped'}: {', '.join(left)}")
        return {names[key]: i for i, key in enumerate(taken, 1)}, {key: i for i, key in enumerate(taken, 1)}


def coco_results(detections: Detections, image_id: int | str) -> list[dict[str, Any]]:
    """COCO results of one image: RLE, box (x, y, width, height), score, ``category_id`` = class number.

    An object of a volume has a result in each slice, whose image is ``image_id`` with ``_z`` behind it; the same
    ``instance_id``, from 1 on, says that they are one object. What has no pixel of probability one half is left out.
    """
    results = []
    volume = detections.dim == 3 and detections.shape[0] > 1
    shape = (detections.shape[-2], detections.shape[-1])
    for index, (box, mask, score, number) in enumerate(
        zip(detections.boxes.tolist(), detections.masks, detections.scores, detections.classes, strict=True), 1
    ):
        corner = (box[detections.dim - 2], box[detections.dim - 1])
        for z, plane in enumerate((mask >= MASK_THRESHOLD).reshape(-1, *mask.shape[-2:]), box[0] if volume else 0):
            encoded = _encode_mask(plane, corner, shape)
            if encoded is not None:
                name = f"{image_id}_{z}" if volume else image_id
                result = {"image_id": name, "category_id": int(number), **encoded, "score": float(score)}
                results.append({**result, "instance_id": index} if volume else result)
    return results


def coco_annotations(objects: InstanceMap, image_id: int | str, first_id: int = 1) -> list[dict[str, Any]]:
    """COCO annotations of a 2D image's objects, layers and all; regions of `objects.stuff` become crowd annotations.

    Ids count up from `first_id`. COCO's instances know no stuff, so that stuff is written as crowd too.
    """
    annotations: list[dict[str, Any]] = []

    def add(mask: Mask, corner: tuple[int, int], number: int, crowd: bool) -> None:
        described = _encode_mask(mask, corner, (objects.stuff.shape[0], objects.stuff.shape[1]))
        assert described is not None
        entry = {"id": first_id + len(annotations), "image_id": image_id, "category_id": int(number)}
        entry["iscrowd"] = int(crowd)
        annotations.append({**entry, **described, "area": int(np.count_nonzero(mask))})

    for index, (layer, box) in sorted(
        (index, (layer, box))
        for layer, ids in enumerate(objects.ids)
        for index, box in enumerate(ndimage.find_objects(ids), 1)
        if box
    ):
        add(objects.ids[layer][box] == index, (box[0].start, box[1].start), objects.classes[index - 1], False)
    for number in np.unique(objects.stuff[objects.stuff > 0]):
        add(objects.stuff == number, (0, 0), number, True)
    return annotations


def _encode_mask(mask: Mask, corner: tuple[int, int], shape: tuple[int, int]) -> dict[str, Any] | None:
    """``segmentation`` and ``bbox`` of a cropped mask, None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    y, x = corner[0] + int(rows[0]), corner[1] + int(columns[0])
    box = [float(n) for n in (x, y, columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)]
    return {"segmentation": rle.encode(mask, corner, shape), "bbox": box}


def _rasterise(segmentation: Any, shape: tuple[int, int]) -> tuple[NDArray[np.int64], bool]:
    """Positions of the foreground, and whether a polygon was cut off at the image's border."""
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    if not isinstance(parts, list) or not parts:
        raise SegmentationError("it has no segmentation")
    if all(isinstance(part, dict) for part in parts):
        pieces = [rle.decode(part, shape) for part in parts]
        positions = pieces[0] if len(pieces) == 1 else np.unique(np.concatenate(pieces))
        if not len(positions):
            raise SegmentationError("its mask is empty")
        return positions, False
    if not isinstance(parts[0], list) or all(_is_point(part) for part in parts):
        parts = [parts]  # some tools write one polygon without a list, or a list of its points
    polygons = [np.asarray(points, dtype=float).ravel() for points in parts]
    if any(len(p) % 2 or not np.isfinite(p).all() for p in polygons):
        raise SegmentationError("one of its polygons has an odd number of coordinates or NaN")
    polygons = [p for p in polygons if len(p) >= 6]  # one or two points have no area
    if not polygons:
        raise SegmentationError("its polygons have fewer than three points")
    height, width = shape
    points = np.concatenate([p.reshape(-1, 2) for p in polygons])
    low, high = points.min(axis=0), points.max(axis=0)
    if (high <= 0).any() or (low >= (width, height)).any():
        raise SegmentationError(f"it is completely outside the image of {width} × {height} pixels")
    if low.min() >= 0 and high.max() <= 1 and (points % 1).any():
        raise SegmentationError("its coordinates seem to be fractions of the image size; pixels are needed")
    reach = MAX_COORDINATE * max(shape)
    if low.min() < -reach or high.max() > reach:
        raise SegmentationError(
            f"its coordinates go up to {abs(points).max():.3g} in an image of {width} × {height} pixels"
        )
    merged = coco_mask.merge(coco_mask.frPyObjects([p.tolist() for p in polygons], height, width))
    positions = rle.decode({"size": shape, "counts": merged["counts"]}, shape)
    # Annotation tools round to the pixel beside the border, which is not worth a warning.
    cut = bool((low < -1).any() or (high > (width + 1, height + 1)).any())
    if not len(positions):
        raise SegmentationError(
            f"it is completely outside the image of {width} × {height} pixels" if cut else "it is smaller than a pixel"
        )
    return positions, cut


def _is_point(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 2 and not any(isinstance(number, list) for number in part)


def _error_reason(error: Exception) -> str:
    return str(error) if isinstance(error, SegmentationError) else "its segmentation is neither polygons nor RLE"
