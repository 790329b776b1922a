"""Semantic masks whose connected components are objects, as most clinical data sets hold their lesions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmed_nnu.dataset_json import label_number
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.components import components
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.conversion.layout import semantic_classes
from maskmed_nnu.instances.conversion.paired_cases import (
    Reading,
    channel_names,
    mask_and_picture,
    paired_cases,
    raw_description,
)
from maskmed_nnu.instances.conversion.source_case import Annotations, SourceCase
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.label_values import cast
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.progress import Report, counted

NEIGHBOURS = {1: "at a face (in 2D at an edge)", 2: "at an edge (in 2D at a corner)", 3: "at a corner"}
"""What connects at the least."""


class ComponentSource:
    """A folder of images and semantic masks; each connected component of a value is an object of its class.

    ``connectivity`` is scikit-image's: 1 connects pixels that share a face (in 2D an edge), 2 also those at an edge (in
    2D a corner), 3 those at a corner; None takes the widest. Components below ``min_volume`` (mm³, in 2D mm²; voxels or
    pixels if a file has no spacing) become background and are refused, each with its class, size and place.

    The values are read first, because the classes are those of all masks. The ``dataset.json`` of a raw data set names
    them, and ``class_names`` choose some of them, the others becoming background; else ``class_names`` name all values
    in their order.

    Raises:
        InputError: where the files do not pair, hold no value, or too many to be classes, or `raw_description` says so.
    """

    def __init__(
        self,
        images: Path,
        masks: Path | None,
        class_names: Sequence[str] | None = None,
        *,
        connectivity: int | None = None,
        min_volume: float = 0.0,
        order: str | None = None,
        spacing: tuple[float, ...] | None = None,
        progress: Report | None = None,
    ) -> None:
        self._reading, self._connectivity, self._min_volume = Reading(order, spacing), connectivity, min_volume
        self.channel_names = channel_names(images)
        self.notes: list[str] = []
        self.cases = paired_cases(images, masks or images, self.notes)
        found: set[int] = set()
        broken: list[InputError] = []
        for case in counted(self.cases, "reading masks", progress):
            try:
                found |= set(np.unique(source_images.read_mask(case.files[1], order=order)[0]).tolist())
            except InputError as error:  # `read` tells it with all others
                broken.append(error)
        if broken and not found - {0}:
            raise broken[0]
        named = _named(images)
        chosen = sorted(value for value, name in named.items() if name in (class_names or ()))
        if class_names and len(chosen) == len(class_names):
            self._values: tuple[int, ...] = tuple(chosen)
            left = [named.get(value, str(value)) for value in sorted(found - {0, *chosen})]
            if left:
                self.notes.append(f"{format_list(left)} became background, because other classes were chosen")
            class_names = None
        else:
            self._values = tuple(sorted(found - {0}))
        if not class_names and set(self._values) <= set(named):
            class_names = [named[value] for value in self._values]
        self.classes = semantic_classes(self._values, class_names)
        touching = NEIGHBOURS[connectivity or 3]
        self.notes.append(
            f"objects are connected components of a class; components that touch, even {touching}, are one object"
        )
        if min_volume:
            self.notes.append(
                f"components below {min_volume:g} mm³ (of images mm²; voxels or pixels if a file has no spacing) "
                "are dropped and become background"
            )

    def read(self, case: SourceCase) -> Annotations:
        mask, picture = mask_and_picture(case, self._reading, semantic=True)
        if self._connectivity and self._connectivity > mask.ndim:
            raise InputError(
                f"connectivity is {self._connectivity}, but {case.files[1]} has {mask.ndim} axes; give 1 to "
                f"{mask.ndim}, or leave it out for all neighbours."
            )
        pieces = components(np.where(np.isin(mask, self._values), mask, 0), self._connectivity)
        inside = np.flatnonzero(pieces)
        numbers = pieces.reshape(-1)[inside]
        first = np.zeros(numbers.max(initial=0) + 1, np.int64)
        first[numbers[::-1]] = inside[::-1]  # of a component's many pixels the last one assigned stays
        size, unit = source_images.voxel_size(picture)
        volumes = np.bincount(numbers, minlength=len(first)) * size
        classes = np.searchsorted(self._values, mask.reshape(-1)[first]) + 1
        kept = volumes >= self._min_volume * (1 - 1e-6)  # spacings are rounded
        kept[0] = False
        names = list(self.classes)
        refused = [
            f"component of {names[classes[n] - 1]} at {_place(first[n], mask.shape)}: {volumes[n]:.4g} {unit}"
            for n in np.flatnonzero(~kept)[1:]
        ]
        ids = cast(np.where(kept, np.cumsum(kept), 0), np.int32)[pieces][None]
        return Annotations(picture, InstanceMap(ids, cast(classes[kept], np.int64), np.zeros_like(ids[0])), refused)


def _named(images: Path) -> dict[int, str]:
    """Value → name of the classes in the ``dataset.json`` of a raw data set, without regions and background."""
    labels = raw_description(images).get("labels", {})
    numbers = {name: label_number(value) for name, value in labels.items() if not isinstance(value, list)}
    return {number: name for name, number in numbers.items() if number}


def _place(index: int, shape: Sequence[int]) -> str:
    return ", ".join(str(position) for position in np.unravel_index(index, shape))
