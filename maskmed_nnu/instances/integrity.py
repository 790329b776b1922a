"""Checks of a label file that can be read: too many objects, disconnected objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.components import is_disconnected, multi_component_objects
from maskmed_nnu.instances.instance_map import LabelFormat, decode
from maskmed_nnu.instances.text import format_list

MAX_INSTANCES = int(np.iinfo(np.int16).max)  # in one image: nnU-Net keeps preprocessed label maps in 16 bits


@dataclass(frozen=True)
class LabelMapIssues:
    """Sentences without the file's name: ``faults`` must be corrected before training, ``notes`` need not."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_label_map(raw: NDArray[Any], label_format: LabelFormat) -> LabelMapIssues:
    """Look for faults in the values ``raw [L, *spatial]`` of a label file. A file without objects has none.

    Stuff and crowd regions may have many pieces.
    """
    try:
        objects = decode(raw, label_format)
    except InputError as error:
        return LabelMapIssues([str(error)])
    faults, notes = [], []
    if len(objects.classes) > MAX_INSTANCES:
        faults.append(
            f"It holds {len(objects.classes)} objects, but at most {MAX_INSTANCES} of one image can be trained on; "
            "cut the image into parts."
        )
    disconnected, stray = [], []
    for values, ids in zip(raw, objects.ids, strict=True):
        name_of = np.zeros(len(objects.classes) + 1, dtype=np.int64)
        name_of[ids.reshape(-1)] = values.reshape(-1)
        for number, sizes in multi_component_objects(ids):
            if is_disconnected(sizes):
                disconnected.append(
                    f"object {name_of[number]} ({len(sizes)} pieces of {format_list(sizes, limit=5)} pixels)"
                )
            else:
                stray.append(name_of[number])
    if disconnected:
        faults.append(
            f"Not in one piece: {format_list(disconnected, limit=5)}; give each piece an id of its own (ids that "
            "wrapped, as 257 becomes 1 in 8 bits, look like this), or fill the gap, on another layer where something "
            "lies over it."
        )
    if stray:
        notes.append(f"Stray pixels apart from their object, which may stay: ids {format_list(stray, limit=5)}.")
    return LabelMapIssues(faults, notes)
