"""What a data set is converted from: COCO json, label maps, a binary mask per object, or semantic masks.

`order` names the axes of TIFFs that do not tell theirs, as "ZCYX".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats, rle
from maskmed_nnu.instances.array_types import CroppedMask, Integers
from maskmed_nnu.instances.coco import CocoFile
from maskmed_nnu.instances.coco_document import CocoImage
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.conversion.file_pairs import other_files, pair_files
from maskmed_nnu.instances.conversion.listed_files import locate_files, name_parts
from maskmed_nnu.instances.conversion.source_images import SourceImage
from maskmed_nnu.instances.formats.geometry import difference, elsewhere_sentence
from maskmed_nnu.instances.instance_map import InstanceMap, stack_layers
from maskmed_nnu.instances.label_plausibility import (
    GO_BACK,
    check_lossless,
    implausible_values,
    looks_like_labels,
)
from maskmed_nnu.instances.label_values import cast
from maskmed_nnu.instances.text import count, format_list, format_shape

MAX_NAMES = 5
MAX_KEPT_ID = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class SourceCase:
    """One image to be: the name its source gives it, its picture, and every file it is made from."""

    name: str
    image: Path
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Annotations:
    """What a case holds; `refused` has a clause per object left out; `highest` is the highest id of its file, where
    that has any; beyond `MAX_KEPT_ID` the objects are renumbered.
    """

    image: SourceImage
    objects: InstanceMap
    refused: list[str] = field(default_factory=list)
    clipped: int = 0
    highest: int = 0

    @property
    def kept_ids(self) -> bool:
        """Whether the objects have the ids of their file."""
        return 0 < self.highest <= MAX_KEPT_ID


class Source(Protocol):
    """A source of cases. `read` raises `InputError` where a file of the case is broken."""

    classes: dict[str, int]
    notes: list[str]
    cases: list[SourceCase]

    def read(self, case: SourceCase) -> Annotations: ...


class CocoSource:
    """COCO json and the folder of the images it lists; files in subfolders are found by their names."""

    def __init__(
        self, json_file: Path, images: Path, classes: Sequence[str] | None = None, *, order: str | None = None
    ) -> None:
        self._order = order
        self._coco = CocoFile(json_file, classes)
        self.classes, self.notes = self._coco.classes, self._coco.notes
        paths = locate_files([image.file_name for image in self._coco.images], images, json_file)
        others = len(set(source_images.files(images)) - set(paths))
        if others:
            self.notes.append(f"{count(others, 'picture')} in {images}, not listed in {json_file.name}, left out")
        self._images: dict[str, CocoImage] = {}
        self.cases = []
        for image, path in zip(self._coco.images, paths, strict=True):
            name = "/".join([*name_parts(image.file_name)[:-1], formats.stem(path)])
            self._images[name] = image
            self.cases.append(SourceCase(name, path, (path, json_file)))

    def read(self, case: SourceCase) -> Annotations:
        picture, image = source_images.read(case.image, axes=2, order=self._order), self._images[case.name]
        shape = (picture.channels.shape[1], picture.channels.shape[2])
        if image.shape not in (None, shape):
            raise InputError(
                f"{case.image} has {shape[1]} × {shape[0]} pixels, but {self._coco.path.name} says {image.shape[1]} × "
                f"{image.shape[0]}; use the images that were annotated{source_images.turned_hint(image.shape, shape)}."
            )
        content = self._coco.objects(image, shape)
        return Annotations(picture, content.objects, content.refused, content.clipped)


class LabelMapSource:
    """A folder of images, and label maps of the same names beside them or in another folder."""

    def __init__(self, images: Path, masks: Path | None, class_name: str, *, order: str | None = None) -> None:
        self._order = order
        self.classes = {class_name: 1}
        self.notes: list[str] = []
        self.cases = _paired_cases(images, masks or images, self.notes)

    def read(self, case: SourceCase) -> Annotations:
        mask, picture = _mask_and_picture(case, self._order, semantic=False)
        highest = int(mask.max(initial=0))
        if highest > MAX_KEPT_ID:
            values, mask = np.unique(mask, return_inverse=True)
            mask = mask.reshape(picture.channels.shape[1:]) + (values[0] > 0)
        ids = cast(mask, np.int32, case.files[1])[None]
        classes = np.ones(ids.max(initial=0), dtype=np.int64)
        objects = InstanceMap(ids, classes, np.zeros_like(ids[0]))
        return Annotations(picture, objects, highest=highest)


class SemanticSource:
    """A folder of images and masks whose values are classes; `Annotations.objects.stuff` holds them as they are."""

    def __init__(self, images: Path, masks: Path | None, *, order: str | None = None) -> None:
        self._order = order
        self.classes: dict[str, int] = {}
        self.notes: list[str] = []
        self.cases = _paired_cases(images, masks or images, self.notes)

    def read(self, case: SourceCase) -> Annotations:
        mask, picture = _mask_and_picture(case, self._order, semantic=True)
        nothing = np.zeros((1, *mask.shape), dtype=np.int32)
        return Annotations(picture, InstanceMap(nothing, np.zeros(0, dtype=np.int64), mask))


class MaskPerObjectSource:
    """DSB2018's layout: a folder for each image with ``images/*.png`` and ``masks/*.png``, one mask for each object."""

    def __init__(self, folder: Path, class_name: str, *, order: str | None = None) -> None:
        self._order = order
        self.classes = {class_name: 1}
        self.notes: list[str] = []
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; name one that holds a folder with images/ and masks/ per image.")
        folders = sorted(f for f in folder.iterdir() if (f / "images").is_dir())
        broken = [f.name for f in folders if not (f / "masks").is_dir() or len(source_images.files(f / "images")) != 1]
        if broken or not folders:
            raise InputError(
                f"{format_list(broken)} in {folder} needs one picture in images/ and a folder masks/."
                if broken
                else f"{folder} holds no folder with images/ and masks/; DSB2018's layout has one for each image."
            )
        images = [source_images.files(f / "images")[0] for f in folders]
        self.cases = [SourceCase(f.name, i, (i, f / "masks")) for f, i in zip(folders, images, strict=True)]

    def read(self, case: SourceCase) -> Annotations:
        picture = source_images.read(case.image, axes=2, order=self._order)
        masks: list[CroppedMask] = []
        refused = []
        for path in source_images.files(case.files[1]):
            mask, _ = source_images.read_mask(path)
            check_lossless(path)
            _check_size(path, mask, case.image, picture)
            positions = np.flatnonzero(mask.T)
            values = np.unique(mask.T.ravel()[positions])
            if len(values) > 1:
                hint = "label maps are converted as images and masks"
                raise InputError(
                    f"{path} holds {len(values)} different values, and a mask of one object holds one beside 0; "
                    f"{hint if looks_like_labels(mask) else f'it has {len(values)} greys at its rim, {GO_BACK}'}."
                )
            if len(positions):
                masks.append(rle.crop(positions, len(mask)))
            else:
                refused.append(f"mask {path.name}: it is empty")
        shape = picture.channels.shape[1:]
        objects = InstanceMap(stack_layers(masks, shape), np.ones(len(masks), np.int64), np.zeros(shape, np.int32))
        return Annotations(picture, objects, refused)


def _mask_and_picture(case: SourceCase, order: str | None, *, semantic: bool) -> tuple[Integers, SourceImage]:
    mask, geometry = source_images.read_mask(case.files[1], order=order)
    check_lossless(case.files[1])
    picture = source_images.read(case.image, axes=mask.ndim, order=order)
    _check_size(case.files[1], mask, case.image, picture)
    source_images.check_spacing(case.files[1], case.image)
    _check_values(case, mask, picture, semantic)
    if geometry and picture.geometry:  # which is written for both
        found = difference(geometry, picture.geometry, mask.shape[::-1])
        if found:
            raise InputError(elsewhere_sentence(case.files[1], f"its image {case.image.name}", found))
    return mask, picture


def _check_values(case: SourceCase, mask: Integers, picture: SourceImage, semantic: bool) -> None:
    if mask.any() and (picture.channels == mask).reshape(len(picture.channels), -1).all(axis=1).any():
        raise InputError(
            f"{case.files[1]} holds the same values as its image {case.image.name}; give the folder of the masks as "
            f"masks, and that of the images as images."
        )
    fault = implausible_values(mask, semantic=semantic)
    if fault and looks_like_labels(picture.channels[0]):
        raise InputError(
            f"{case.files[1]} looks like a picture, and its image {case.image.name} like a label map; give the folder "
            f"of the masks as masks, and that of the images as images."
        )
    if fault:
        raise InputError(f"{case.files[1]} {fault}.")


def _check_size(path: Path, mask: Integers, image: Path, picture: SourceImage) -> None:
    if mask.shape != picture.channels.shape[1:]:
        sizes = [format_shape(shape) for shape in (mask.shape, picture.channels.shape[1:])]
        raise InputError(
            f"{path} has the size {sizes[0]}, but its image {image.name} has {sizes[1]}; they must be equal"
            f"{source_images.turned_hint(mask.shape, picture.channels.shape[1:])}."
        )


def _paired_cases(images: Path, masks: Path, notes: list[str]) -> list[SourceCase]:
    paired, left = pair_files(images, masks)
    if left:
        notes.append(f"{count(len(left), 'mask')} without an image, left out: {format_list(left, MAX_NAMES)}")
    if other := other_files(images, masks):
        notes.append(f"{count(len(other), 'file')} of another format, left out: {format_list(other, MAX_NAMES)}")
    return [SourceCase(name, image, (image, mask)) for name, (image, mask) in paired.items()]
