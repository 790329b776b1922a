"""COCO json of instances ⇄ objects: polygons, compressed and uncompressed RLE, crowd regions; results with scores.

The format is defined by pycocotools (https://cocodataset.org/#format-data), which turns polygons into pixels here too.
LIVECell's variant, where ``annotations`` is an object keyed by id instead of a list, is read as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy import ndimage

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import rle
from maskmed_nnu.instances.array_types import CroppedMask, Mask
from maskmed_nnu.instances.detections import Detections
from maskmed_nnu.instances.instance_map import InstanceMap, stack_layers
from maskmed_nnu.instances.rle import SegmentationError
from maskmed_nnu.instances.text import format_list

MAX_COORDINATE = 10  # image sizes; rasterising costs a polygon's length, so one with wild coordinates would never end


@dataclass(frozen=True)
class CocoImage:
    """An image that the json lists; `shape` is (y, x), None where the json does not say."""

    id: int | str
    file_name: str
    shape: tuple[int, int] | None


@dataclass(frozen=True)
class CocoInstances:
    """What the json says about one image: its objects, with crowd annotations as stuff.

    `refused` holds a clause per object that could not be read, `clipped` counts objects cut off at the image's border.
    """

    objects: InstanceMap
    refused: list[str]
    clipped: int


class CocoFile:
    """A COCO json: `classes` (name → number from 1), `images`, `notes` on what was left out, objects per image."""

    def __init__(self, path: Path, classes: Sequence[str] | None = None) -> None:
        """Read the json at `path`; `classes` selects categories by name and numbers them in that order.

        Without a selection every category that has an annotation is taken, in the order of the ids.

        Raises:
            InputError: where the file is not COCO json, contradicts itself, or lacks a selected category.
        """
        content = _load(path)
        self.path = path
        self.notes: list[str] = []
        self.images = _images(content, path)
        known = {image.id for image in self.images}
        names = _categories(content, path)
        annotations: dict[Any, list[dict[str, Any]]] = {}
        strays = 0
        for annotation in _items(content["annotations"]):
            if annotation.get("category_id") not in names:
                raise InputError(
                    f"Annotation {annotation.get('id')} in {path} has category_id {annotation.get('category_id')}, but "
                    f"its categories have the ids {format_list(names)}; declare that category or correct the "
                    "annotation."
                )
            if annotation.get("image_id") in known:
                annotations.setdefault(annotation["image_id"], []).append(annotation)
            else:
                strays += 1
        if strays:
            self.notes.append(f"{strays:,} annotations belong to images that {path.name} does not list")
        self._annotations = annotations
        self.classes, self._number = self._number_classes(names, classes)

    def objects(self, image: CocoImage, shape: tuple[int, int]) -> CocoInstances:
        """The selected objects of `image`, whose file has the size `shape` (y, x), layered where they overlap.

        Where crowd regions of two classes meet, the higher class number wins.
        """
        masks: list[CroppedMask] = []
        numbers, refused, clipped = [], [], 0
        stuff = np.zeros(shape, dtype=np.int32)
        for annotation in self._annotations.get(image.id, ()):
            number = self._number.get(annotation["category_id"])
            if number is None:
                continue
            try:
                positions, cut = _rasterise(annotation.get("segmentation"), shape)
            except (ValueError, TypeError, LookupError, OverflowError) as error:
                refused.append(f"annotation {annotation.get('id')}: {_error_reason(error)}")
                continue
            clipped += cut
            box, mask = rle.crop(positions, shape[0])
            if annotation.get("iscrowd"):
                np.maximum(stuff[box], mask * np.int32(number), out=stuff[box])
            else:
                masks.append((box, mask))
                numbers.append(number)
        objects = InstanceMap(stack_layers(masks, shape), np.array(numbers, dtype=np.int64), stuff)
        return CocoInstances(objects, refused, clipped)

    def _number_classes(
        self, names: dict[Any, str], selected: Sequence[str] | None
    ) -> tuple[dict[str, int], dict[Any, int]]:
        """Class names with consecutive numbers, and category id → number of the categories taken."""
        used = {a["category_id"] for group in self._annotations.values() for a in group}
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
            taken = sorted(used, key=lambda key: (isinstance(key, str), key))
        left = sorted(names[key] for key in names if key not in taken)
        if left:
            self.notes.append(f"{'not selected' if selected else 'without annotations, left out'}: {', '.join(left)}")
        return {names[key]: i for i, key in enumerate(taken, 1)}, {key: i for i, key in enumerate(taken, 1)}


def coco_results(detections: Detections, image_id: int | str) -> list[dict[str, Any]]:
    """COCO results of one image: RLE, box (x, y, width, height), score, ``category_id`` = class number.

    An object none of whose pixels reaches probability one half has no mask and is left out.
    """
    results = []
    for box, mask, score, number in zip(
        detections.boxes, detections.masks, detections.scores, detections.classes, strict=True
    ):
        shape = _encode_mask(mask >= 128, (int(box[0]), int(box[1])), detections.shape)
        if shape is not None:
            results.append({"image_id": image_id, "category_id": int(number), **shape, "score": float(score)})
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


def _rasterise(
    segmentation: list[Any] | dict[str, Any] | None, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], bool]:
    """Positions of the foreground, and whether a polygon was cut off at the image's border."""
    if isinstance(segmentation, dict):
        positions, cut = rle.decode(segmentation, shape), False
        if not len(positions):
            raise SegmentationError("its mask is empty")
        return positions, cut
    if not isinstance(segmentation, list) or not segmentation:
        raise SegmentationError("it has no segmentation")
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]  # some tools write one without a list
    polygons = [np.asarray(points, dtype=float).ravel() for points in parts]
    if any(len(p) % 2 or not np.isfinite(p).all() for p in polygons):
        raise SegmentationError("a polygon of it holds half a point or NaN")
    polygons = [p for p in polygons if len(p) >= 6]  # one or two points have no area
    if not polygons:
        raise SegmentationError("its polygons have fewer than three points")
    height, width = shape
    points = np.concatenate([p.reshape(-1, 2) for p in polygons])
    low, high = points.min(axis=0), points.max(axis=0)
    if (high <= 0).any() or (low >= (width, height)).any():
        raise SegmentationError(f"it lies wholly outside the image of {width} × {height} pixels")
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
            f"it lies wholly outside the image of {width} × {height} pixels" if cut else "it is smaller than a pixel"
        )
    return positions, cut


def _load(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a COCO json of instances.") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); a COCO json of instances is needed.") from None
    missing = [k for k in ("images", "annotations", "categories") if not isinstance(content, dict) or k not in content]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}; COCO json holds images, annotations and categories.")
    return content


def _items(group: list[dict[str, Any]] | dict[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return group.values() if isinstance(group, dict) else group


def _images(content: dict[str, Any], path: Path) -> list[CocoImage]:
    images = []
    for entry in _items(content["images"]):
        if "id" not in entry or "file_name" not in entry:
            raise InputError(f"An image in {path} has no id or no file_name: {str(entry)[:80]}; COCO needs both.")
        height, width = entry.get("height"), entry.get("width")
        shape = None if height is None or width is None else (int(height), int(width))
        images.append(CocoImage(entry["id"], str(entry["file_name"]), shape))
    for what, values in (("id", [i.id for i in images]), ("file_name", [i.file_name for i in images])):
        first: dict[int | str, int] = {}
        twice = next((v for i, v in enumerate(values) if first.setdefault(v, i) != i), None)
        if twice is not None:
            raise InputError(f"Two images in {path} have the {what} {twice!r}; it must be unique.")
    return images


def _categories(content: dict[str, Any], path: Path) -> dict[Any, str]:
    for entry in _items(content["categories"]):
        if "id" not in entry or "name" not in entry:
            raise InputError(f"A category in {path} has no id or no name: {str(entry)[:80]}; COCO needs both.")
    names = {entry["id"]: str(entry["name"]) for entry in _items(content["categories"])}
    if len(set(names.values())) < len(names):
        raise InputError(f"Two categories in {path} have the same name: {format_list(names.values())}; rename one.")
    return names


def _error_reason(error: Exception) -> str:
    return str(error) if isinstance(error, SegmentationError) else "its segmentation is neither polygons nor RLE"
