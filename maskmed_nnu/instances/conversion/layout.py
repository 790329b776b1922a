"""How a data set's files are laid out, chosen from all of its cases: file ending, channels, ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.annotation_quirks import Quirks
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.conversion.source_case import Annotations, SourceCase
from maskmed_nnu.instances.conversion.source_images import SourceImage
from maskmed_nnu.instances.formats.geometry import disagreement
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.instances.label_plausibility import (
    are_outlines,
    measure_steps,
    surrounding_value,
    thin_values,
)
from maskmed_nnu.instances.text import count

READER = "InstanceIO"
SMALLEST_DIVISOR = 1000
DIVISOR_MARGIN = 2  # an image to be predicted may be denser than any of these, and more than the divisor is refused
MAX_SEMANTIC_CLASSES = 255  # semantic; beyond, the values are ids of objects


@dataclass(frozen=True)
class CaseSummary:
    """What one case holds. `counts` is objects per class [K], `highest` the highest id of a file that has
    ids, `values` what a semantic mask holds beside 0.

    `quirks` are those before objects in pieces were split; `split` is how many more objects there are since. Two cases
    of one `digest` have equal label maps; `surrounding` is the value that covers the border as background does, or 0;
    `thin` are values of a semantic mask that are lines and specks only; with `rims`, areas run into each other over
    values in between. `form` is what is used of a NIfTI image whose sform and qform disagree; a stack with `cubes`
    has no spacing.
    """

    case: SourceCase
    name: str
    shape: tuple[int, ...]
    channels: int
    colour: bool
    grey: bool
    dtype: np.dtype[Any]
    counts: Integers
    layers: int
    overlap_depth: int
    crowd: int
    max_id: int
    values: tuple[int, ...]
    refused: list[str]
    clipped: int
    highest: int
    quirks: Quirks
    split: int
    digest: str
    surrounding: int
    outlines: bool
    thin: tuple[int, ...]
    rims: bool
    form: str | None
    cubes: bool


@dataclass(frozen=True)
class DatasetLayout:
    """`channels` is "grey", "colour" (three channels in one file) or "several" (a file each).

    NIfTI has a file for each colour. `label_format` is None for a semantic data set, whose label of `values[i]` is
    i + 1.
    """

    ending: str
    channels: str
    channel_count: int
    classes: dict[str, int]
    label_format: LabelFormat | None
    values: tuple[int, ...]

    def dataset_json(self, name: str, training: int, channel_names: Sequence[str] = ()) -> dict[str, Any]:
        """The data set's ``dataset.json``; ``channel_names`` are those of the source, where they are as many."""
        names = {"grey": ["grey"], "colour": ["R", "G", "B"]}.get(self.channels)
        names = names or [f"channel {i}" for i in range(self.channel_count)]
        if len(channel_names) == len(names):
            names = list(channel_names)
        description: dict[str, Any] = {
            "name": name,
            "channel_names": {str(i): n for i, n in enumerate(names)},
            "labels": {"background": 0, **self.classes},
            "numTraining": training,
            "file_ending": self.ending,
        }
        if self.label_format:
            description["overwrite_image_reader_writer"] = READER
            if self.label_format.label_divisor:
                description["label_divisor"] = self.label_format.label_divisor
            if self.label_format.overlap_layers:
                description["overlap_layers"] = True
        return description

    def channel_images(self, picture: SourceImage) -> list[SourceImage]:
        """`picture` as the pictures of its files, in order."""
        if self.channels == "grey":
            return [SourceImage(picture.channels[:1], False)]
        channels = picture.channels
        if self.channels == "colour":
            channels = np.broadcast_to(channels, (3, *channels.shape[1:]))
            if self.ending not in formats.NIFTI:
                return [SourceImage(channels, True)]
        return [SourceImage(channel[None], False) for channel in channels]


def check_class_names(names: Sequence[str], *, semantic: bool) -> None:
    """Refuse names that nnU-Net would take for something else; a semantic data set's last class may be to ignore.

    Raises:
        InputError: for such a name, or one that is given twice.
    """
    reserved = [
        n for i, n in enumerate(names) if n == "background" or (n == "ignore" and not (semantic and names[i:] == [n]))
    ]
    twice = [n for i, n in enumerate(names) if n in names[:i]]
    if reserved or twice:
        raise InputError(
            f"A class is named {reserved[0]!r}, which is reserved in nnU-Net; rename it, or name the "
            "categories that hold objects as classes."
            if reserved
            else f"The class {twice[0]!r} is named twice; give each class a different name."
        )


def summarize_case(
    case: SourceCase, name: str, content: Annotations, class_count: int, *, quirks: Quirks, split: int
) -> CaseSummary:
    """Sum up a case, so that its arrays need not be kept."""
    channels, objects, geometry = content.image.channels, content.objects, content.image.geometry
    labels = objects.ids if class_count else objects.stuff[None]
    flat = labels.shape[:-2] == (1,)
    present = np.bincount(objects.ids.ravel(), minlength=1)[1:] > 0
    kinds = np.unique(objects.stuff)
    return CaseSummary(
        case=case,
        name=name,
        shape=channels.shape[1:],
        channels=len(channels),
        colour=content.image.colour,
        grey=len(channels) == 1 or (content.image.colour and bool((channels == channels[:1]).all())),
        dtype=channels.dtype,
        counts=np.bincount(objects.classes[present], minlength=class_count + 1)[1:],
        layers=len(objects.ids),
        overlap_depth=int((objects.ids > 0).sum(axis=0).max(initial=0)),
        crowd=0 if class_count == 0 else int(np.count_nonzero(kinds)),
        max_id=len(objects.classes),
        values=tuple(int(v) for v in kinds if v) if class_count == 0 else (),
        refused=content.refused,
        clipped=content.clipped,
        highest=content.highest,
        quirks=quirks,
        split=split,
        digest=hashlib.sha256(labels.tobytes()).hexdigest(),
        surrounding=surrounding_value(labels),
        outlines=flat and quirks.holes > 0 and are_outlines(labels[0]),
        thin=thin_values(objects.stuff) if class_count == 0 else (),
        rims=measure_steps(labels[0]).have_rims if class_count < 2 else False,
        form=disagreement(geometry, channels.shape[:0:-1]) if geometry else None,
        cubes=channels.ndim == 4 and geometry is None and len(content.image.spacing or ()) < 3,
    )


def choose_layout(
    summaries: Sequence[CaseSummary], classes: dict[str, int], class_names: Sequence[str] | None
) -> DatasetLayout:
    """The layout of the cases summed up; without `classes` they are semantic, their values named `class_names`.

    Raises:
        InputError: where the cases do not fit into one data set.
    """
    volumes = [formats.ending(s.case.image) in formats.VOLUMES for s in summaries]
    if any(volumes) and not all(volumes):
        volume, other = summaries[volumes.index(True)], summaries[volumes.index(False)]
        raise InputError(
            f"{volume.case.image.name} has a position in space, {other.case.image.name} has none; convert them "
            "into two data sets."
        )
    flat = next((s for s in summaries if len(s.shape) != len(summaries[0].shape)), None)
    if flat:
        raise InputError(
            f"{summaries[0].case.image.name} has {len(summaries[0].shape)} axes, {flat.case.image.name} has "
            f"{len(flat.shape)}; convert images and stacks into two data sets."
        )
    channels = "grey" if all(s.grey for s in summaries) else "colour"
    counts = {s.channels for s in summaries if not (s.grey or s.colour)}
    if counts:
        if len(counts) > 1 or any(s.grey or s.colour for s in summaries):
            numbers = ", ".join(str(n) for n in sorted({s.channels for s in summaries}))
            raise InputError(f"The images have different numbers of channels: {numbers}; a data set needs one number.")
        channels = "several"
    label_format = None
    values: tuple[int, ...] = ()
    if classes:
        label_format = _label_format(summaries, classes)
        divisor = label_format.label_divisor
        maximum = max(int(s.counts.max(initial=0)) for s in summaries)
        largest = max(s.max_id for s in summaries) if divisor is None else len(classes) * divisor + maximum
    else:
        values = tuple(sorted({v for s in summaries for v in s.values}))
        classes = semantic_classes(values, class_names)
        largest = len(values)
    layers = bool(label_format and label_format.overlap_layers)
    ending = ".nii.gz" if any(volumes) else _ending(summaries, channels, layers or largest > np.iinfo(np.uint16).max)
    return DatasetLayout(ending, channels, max(counts, default=1), classes, label_format, values)


def _ending(summaries: Sequence[CaseSummary], channels: str, wide_labels: bool) -> str:
    legal = (np.uint8, bool) if channels == "colour" else (np.uint8, np.uint16, bool)  # a PNG of pillow's
    as_png = all(
        s.dtype in legal and len(s.shape) == 2 and formats.ending(s.case.image) not in formats.TIFF for s in summaries
    )
    return ".png" if as_png and not wide_labels else ".tif"


def _label_format(summaries: Sequence[CaseSummary], classes: dict[str, int]) -> LabelFormat:
    divisor = None
    if len(classes) > 1 or any(s.crowd for s in summaries):
        maximum, divisor = max(int(s.counts.max(initial=0)) for s in summaries), SMALLEST_DIVISOR
        while divisor <= DIVISOR_MARGIN * maximum:
            divisor *= 10
        if (len(classes) + 1) * divisor > np.iinfo(np.int32).max:
            raise InputError(
                f"{len(classes)} classes with up to {maximum:,} objects in an image need ids above {2**31 - 1:,}; "
                f"select fewer classes."
            )
    return LabelFormat(classes, divisor, any(s.layers > 1 for s in summaries))


def semantic_classes(values: tuple[int, ...], names: Sequence[str] | None) -> dict[str, int]:
    """Names of the classes for the ``values`` of semantic masks, and their numbers from 1 on.

    Raises:
        InputError: where there are none, or more than nnU-Net can write, or not as many as ``names``.
    """
    if not values or len(values) > MAX_SEMANTIC_CLASSES:
        raise InputError(
            "The masks hold only 0; semantic masks hold a class number at each pixel."
            if not values
            else f"The masks hold {len(values):,} different values, more than the {MAX_SEMANTIC_CLASSES} classes that "
            "nnU-Net can write; if the values are ids of objects, leave semantic and components out."
        )
    if names and len(names) != len(values):
        raise InputError(
            f"classes gives {count(len(names), 'name')}, but the masks hold {count(len(values), 'value')} beside 0: "
            f"{', '.join(map(str, values[:20]))}; name one class for each."
        )
    names = names or (["foreground"] if len(values) == 1 else [f"class_{v}" for v in values])
    return {name: i for i, name in enumerate(names, 1)}
