"""What is wrong with a label file although it can be read: too many objects, objects in pieces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from skimage.measure import label as components_of_equal_values

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.objects import LabelFormat, decode

MOST_OBJECTS = int(np.iinfo(np.int16).max)  # in one image: nnU-Net keeps preprocessed label maps in 16 bits
STRAY_SHARE = (
    0.05  # of an object's pixels: pieces up to this are slips of the annotator's pen, not objects of their own
)


@dataclass(frozen=True)
class Findings:
    """Sentences without the file's name: ``faults`` must be mended before training, ``notes`` may stay."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def examine(raw: np.ndarray, label_format: LabelFormat) -> Findings:
    """Look for faults in the values ``raw [L, *spatial]`` of a label file. A file without objects has none.

    Pieces are told apart with all neighbours, the diagonal ones too; stuff and crowd regions may have many.
    """
    try:
        objects = decode(raw, label_format)
    except InputError as error:
        return Findings([str(error)])
    faults, notes = [], []
    if len(objects.classes) > MOST_OBJECTS:
        faults.append(
            f"It holds {len(objects.classes)} objects, but at most {MOST_OBJECTS} of one image can be trained on; "
            "cut the image into parts."
        )
    torn, stray = [], []
    for values, ids in zip(raw, objects.ids, strict=True):
        name_of = np.zeros(len(objects.classes) + 1, dtype=np.int64)
        name_of[ids.reshape(-1)] = values.reshape(-1)
        for number, sizes in _in_pieces(ids):
            if sizes[1] > STRAY_SHARE * sizes.sum():
                torn.append(f"object {name_of[number]} ({len(sizes)} pieces of {_listed(sizes)} pixels)")
            else:
                stray.append(name_of[number])
    if torn:
        faults.append(
            f"Not in one piece: {_listed(torn)}; give each piece an id of its own (ids that wrapped, as 257 becomes 1 "
            "in 8 bits, look like this), or fill the gap, on another layer where something lies over it."
        )
    if stray:
        notes.append(f"Stray pixels apart from their object, which may stay: ids {_listed(stray)}.")
    return Findings(faults, notes)


def _in_pieces(ids: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The objects of ``ids [*spatial]`` that are not in one piece, and the sizes of their pieces, largest first."""
    pieces = components_of_equal_values(ids, background=0, connectivity=ids.ndim).reshape(-1)
    sizes = np.bincount(pieces)[1:]
    object_of = np.zeros(len(sizes) + 1, dtype=np.int64)
    object_of[pieces] = ids.reshape(-1)
    order = np.lexsort((-sizes, object_of[1:]))
    numbers, first, counts = np.unique(object_of[1:][order], return_index=True, return_counts=True)
    several = counts > 1
    return [
        (int(number), sizes[order[start : start + count]])
        for number, start, count in zip(numbers[several], first[several], counts[several], strict=True)
    ]


def _listed(values: list | np.ndarray, most: int = 5) -> str:
    return ", ".join(str(v) for v in values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")
