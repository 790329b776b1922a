"""What a data set is converted from: COCO json, label maps, a binary mask per object, or semantic masks.

`order` names the axes of TIFFs that do not tell theirs, as "ZCYX"; `spacing` (z, y, x) is that of TIFF stacks in
micrometres.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats, rle
from maskmed_nnu.instances.array_types import CroppedMask
from maskmed_nnu.instances.coco import CocoFile
from maskmed_nnu.instances.coco_document import CocoImage
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.conversion.listed_files import locate_files, name_parts
from maskmed_nnu.instances.conversion.paired_cases import (
    Reading,
    channel_names,
    check_size,
    mask_and_picture,
    paired_cases,
)
from maskmed_nnu.instances.conversion.source_case import MAX_KEPT_ID, Annotations, SourceCase
from maskmed_nnu.instances.instance_map import InstanceMap, stack_layers
from maskmed_nnu.instances.label_plausibility import GO_BACK, check_lossless, looks_like_labels
from maskmed_nnu.instances.label_values import cast
from maskmed_nnu.instances.text import count, format_list


class CocoSource:
    """COCO json and the folder of the images it lists; files in subfolders are found by their names."""

    def __init__(
        self, json_file: Path, images: Path, classes: Sequence[str] | None = None, *, order: str | None = None
    ) -> None:
        self._order = order
        self.channel_names: list[str] = []
        self._coco = CocoFile(json_file, classes)
        self.classes, self.notes = self._coco.classes, self._coco.notes
        paths = locate_files([image.file_name for image in self._coco.images], images, json_file)
        others = len(set(source_images.files(images)) - set(paths))
        if others:
            self.notes.append(f"{count(others, 'image')} in {images}, not listed in {json_file.name}, skipped")
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

    def __init__(
        self,
        images: Path,
        masks: Path | None,
        class_name: str,
        *,
        order: str | None = None,
        spacing: tuple[float, ...] | None = None,
    ) -> None:
        self._reading = Reading(order, spacing)
        self.classes = {class_name: 1}
        self.channel_names = channel_names(images)
        self.notes: list[str] = []
        self.cases = paired_cases(images, masks or images, self.notes)

    def read(self, case: SourceCase) -> Annotations:
        mask, picture = mask_and_picture(case, self._reading, semantic=False)
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

    def __init__(
        self,
        images: Path,
        masks: Path | None,
        *,
        order: str | None = None,
        spacing: tuple[float, ...] | None = None,
    ) -> None:
        self._reading = Reading(order, spacing)
        self.classes: dict[str, int] = {}
        self.channel_names = channel_names(images)
        self.notes: list[str] = []
        self.cases = paired_cases(images, masks or images, self.notes)

    def read(self, case: SourceCase) -> Annotations:
        mask, picture = mask_and_picture(case, self._reading, semantic=True)
        nothing = np.zeros((1, *mask.shape), dtype=np.int32)
        return Annotations(picture, InstanceMap(nothing, np.zeros(0, dtype=np.int64), mask))


class MaskPerObjectSource:
    """DSB2018's layout: a folder for each image with ``images/*.png`` and ``masks/*.png``, one mask for each object."""

    def __init__(self, folder: Path, class_name: str, *, order: str | None = None) -> None:
        self._order = order
        self.classes = {class_name: 1}
        self.channel_names: list[str] = []
        self.notes: list[str] = []
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder; name one that holds a folder with images/ and masks/ per image."
            )
        folders = sorted(f for f in folder.iterdir() if (f / "images").is_dir())
        broken = [f.name for f in folders if not (f / "masks").is_dir() or len(source_images.files(f / "images")) != 1]
        if broken or not folders:
            raise InputError(
                f"{format_list(broken)} in {folder} needs one image in images/ and a folder masks/."
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
            check_size(path, mask, case.image, picture)
            positions = np.flatnonzero(mask.T)
            values = np.unique(mask.T.ravel()[positions])
            if len(values) > 1:
                hint = "label maps are converted as images and masks"
                raise InputError(
                    f"{path} holds {len(values)} different values, but a mask of one object holds 0 and one other "
                    "value; "
                    f"{hint if looks_like_labels(mask) else f'it has {len(values)} greys at its edges, {GO_BACK}'}."
                )
            if len(positions):
                masks.append(rle.crop(positions, len(mask)))
            else:
                refused.append(f"mask {path.name}: it is empty")
        shape = picture.channels.shape[1:]
        objects = InstanceMap(stack_layers(masks, shape), np.ones(len(masks), np.int64), np.zeros(shape, np.int32))
        return Annotations(picture, objects, refused)
