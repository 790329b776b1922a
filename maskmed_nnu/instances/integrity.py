"""Checks of a label file that can be read: what would be learned wrong, and what real annotations contain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.annotation_quirks import Quirks, find_quirks
from maskmed_nnu.instances.instance_map import LabelFormat, decode
from maskmed_nnu.instances.label_plausibility import implausible_values, wrapped_ids

MAX_INSTANCES = int(np.iinfo(np.int16).max)  # in one image: nnU-Net keeps preprocessed label maps in 16 bits


@dataclass(frozen=True)
class LabelMapIssues:
    """``faults``, sentences without the file's name, must be corrected before training; ``quirks`` need not."""

    faults: list[str] = field(default_factory=list)
    quirks: Quirks = field(default_factory=Quirks)


def check_label_map(raw: NDArray[Any], label_format: LabelFormat) -> LabelMapIssues:
    """Look for faults in the values ``raw [L, *spatial]`` of a label file. A file without objects has none.

    Stuff and crowd regions may have many pieces.
    """
    try:
        objects = decode(raw, label_format)
    except InputError as error:
        return LabelMapIssues([str(error)])
    faults = []
    if len(objects.classes) > MAX_INSTANCES:
        faults.append(
            f"It holds {len(objects.classes)} objects, but at most {MAX_INSTANCES} of one image can be trained on; "
            "cut the image into parts."
        )
    if label_format.label_divisor is None:  # else a thin ring may well be of a class between its neighbours'
        clauses = (
            clause for layer in raw for clause in (implausible_values(layer, semantic=False), wrapped_ids(layer))
        )
        faults += [f"It {clause}." for clause in clauses if clause]
    return LabelMapIssues(faults, find_quirks(objects.ids))
