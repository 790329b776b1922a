"""Cases of an image and a mask: which files belong together, and whether mask and image do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maskmed_nnu.dataset_json import read_dataset_json
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.conversion.file_pairs import other_files, pair_files
from maskmed_nnu.instances.conversion.source_case import SourceCase
from maskmed_nnu.instances.conversion.source_images import SourceImage
from maskmed_nnu.instances.formats.geometry import difference, elsewhere_sentence
from maskmed_nnu.instances.label_plausibility import check_lossless, implausible_values, looks_like_labels
from maskmed_nnu.instances.text import count, format_list, format_shape

MAX_NAMES = 5


@dataclass(frozen=True)
class Reading:
    """How the files of a source are read: ``order`` names the axes of those that do not tell theirs, as "ZCYX";
    ``spacing`` (z, y, x) in micrometres is that of all TIFF stacks.
    """

    order: str | None = None
    spacing: tuple[float, ...] | None = None


def mask_and_picture(case: SourceCase, reading: Reading, *, semantic: bool) -> tuple[Integers, SourceImage]:
    """The mask ``[*spatial]`` of a case of the files (image, mask), and its image.

    Raises:
        InputError: where one of them is broken or no mask, or they do not fit together.
    """
    mask, geometry = source_images.read_mask(case.files[1], order=reading.order)
    check_lossless(case.files[1])
    paths = (case.image, *case.channels)
    picture = source_images.read_channels(paths, axes=mask.ndim, order=reading.order)
    check_size(case.files[1], mask, case.image, picture)
    source_images.check_spacing(case.files[1], case.image)
    _check_values(case, mask, picture, semantic)
    if geometry and picture.geometry:  # which is written for both
        found = difference(geometry, picture.geometry, mask.shape[::-1])
        if found:
            raise InputError(elsewhere_sentence(case.files[1], f"its image {case.image.name}", found))
    if reading.spacing is None:
        return mask, picture
    if mask.ndim != 3 or formats.ending(case.image) not in formats.TIFF:
        raise InputError(f"{case.image} is not a TIFF stack, and spacing applies only to those; leave spacing out.")
    return mask, replace(picture, spacing=reading.spacing)


def _check_values(case: SourceCase, mask: Integers, picture: SourceImage, semantic: bool) -> None:
    if mask.any() and (picture.channels == mask).reshape(len(picture.channels), -1).all(axis=1).any():
        raise InputError(
            f"{case.files[1]} holds the same values as its image {case.image.name}; give the folder of the masks as "
            f"masks, and that of the images as images."
        )
    fault = implausible_values(mask, semantic=semantic)
    if fault and looks_like_labels(picture.channels[0]):
        raise InputError(
            f"{case.files[1]} looks like an image, and its image {case.image.name} like a label map; give the folder "
            f"of the masks as masks, and that of the images as images."
        )
    if fault:
        raise InputError(f"{case.files[1]} {fault}.")


def check_size(path: Path, mask: Integers, image: Path, picture: SourceImage) -> None:
    """Raises: InputError where mask and image have different sizes."""
    if mask.shape != picture.channels.shape[1:]:
        sizes = [format_shape(shape) for shape in (mask.shape, picture.channels.shape[1:])]
        raise InputError(
            f"{path} has the size {sizes[0]}, but its image {image.name} has {sizes[1]}; they must be equal"
            f"{source_images.turned_hint(mask.shape, picture.channels.shape[1:])}."
        )


def paired_cases(images: Path, masks: Path, notes: list[str]) -> list[SourceCase]:
    """A case for each image; what else lies in the folders is told in ``notes``."""
    paired, left = pair_files(images, masks)
    if left:
        notes.append(f"{count(len(left), 'mask')} without an image, skipped: {format_list(left, MAX_NAMES)}")
    if other := other_files(images, masks):
        notes.append(f"{count(len(other), 'file')} of another format, skipped: {format_list(other, MAX_NAMES)}")
    return [
        SourceCase(name, image, (image, mask, *channels), tuple(channels))
        for name, ((image, *channels), mask) in paired.items()
    ]


def raw_description(images: Path) -> dict[str, Any]:
    """The ``dataset.json`` of the nnU-Net raw data set whose images folder ``images`` is; else empty.

    Raises:
        InputError: where it has a fault.
    """
    path = images.resolve().parent / "dataset.json"
    if images.resolve().name not in ("imagesTr", "imagesTs") or not path.is_file():
        return {}
    return read_dataset_json(path, needs=("channel_names", "labels"))


def channel_names(images: Path) -> list[str]:
    """What that ``dataset.json`` calls the channels, by which nnU-Net normalises them; else empty."""
    description = raw_description(images)
    return list(description.get("channel_names", description.get("modality", {})).values())
