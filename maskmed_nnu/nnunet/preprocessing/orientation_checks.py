"""Whether the volumes of a data set are stored in the same orientation, so that left is on one side of all arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import NIFTI, ending
from maskmed_nnu.instances.formats.world_axes import codes_as_read
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.symmetry.side_names import named_pairs

MAX_NAMES = 3  # files shown of each orientation
MAX_CODES = 4  # orientations shown
THREADS = 8  # a header waits for the disk, or for a drive on the network, longer than it computes
REORIENTING = "NibabelIOWithReorient"


def read_codes(files: Iterable[str | Path], *, reader: str) -> dict[str, str]:
    """The orientation code of each file that has one, as nnU-Net's ``reader`` gives its array; headers alone."""
    names = [str(file) for file in files]
    with ThreadPoolExecutor(THREADS) as pool:
        codes = pool.map(functools.partial(codes_as_read, reader=reader), names)
        return {name: code for name, code in zip(names, codes, strict=True) if code is not None}


def files_by_code(codes: Mapping[str, str]) -> dict[str, list[str]]:
    """The files of each code, the most frequent one first."""
    files: dict[str, list[str]] = {}
    for file, code in codes.items():
        files.setdefault(code, []).append(file)
    return dict(sorted(files.items(), key=lambda item: (-len(item[1]), item[0])))


def check_orientations(codes: Mapping[str, str], *, partners: str | None, reader: str, data_set: str) -> str | None:
    """A warning where ``codes`` of the training's images (by file) differ, and None where they do not.

    ``partners`` names classes that a mirror would exchange, such as "'kidney_left' and 'kidney_right'"; None where
    there are none. ``data_set`` is its name.

    Raises:
        InputError: where codes differ and there are partners.
    """
    files = files_by_code(codes)
    if len(files) < 2:
        return None
    found = (
        f"the images of {data_set} are not all stored in the same orientation, and {reader} takes them as they are: "
        f"{in_words(files)}"
    )
    cure = _cure(codes)
    if partners is None:
        return f"{found}; where left and right matter, {cure}."
    raise InputError(
        f"{found[0].upper()}{found[1:]}, but {partners} are distinguished by their place in the array; {cure}."
    )


def in_words(files: Mapping[str, Sequence[str]]) -> str:
    """How many files have each code, with the names of a few.

    >>> in_words({"LPS": ["a/1.nii", "a/2.nii"], "RPS": ["a/3.nii"]})
    '2 are LPS (1.nii, 2.nii), 1 is RPS (3.nii)'
    """
    parts = [
        f"{len(of_code):,} {'is' if len(of_code) == 1 else 'are'} {code} "
        f"({format_list((Path(file).name for file in of_code), MAX_NAMES)})"
        for code, of_code in files.items()
    ]
    return format_list(parts, MAX_CODES) + " orientations" * (len(parts) > MAX_CODES)


def _cure(codes: Mapping[str, str]) -> str:
    turn = "turn the files with maskmed convert --reorient RAS --images FOLDER --output NEW_FOLDER"
    if all(ending(file) in NIFTI and len(code) == 3 for file, code in codes.items()):  # that reader takes no slices
        return f'set "overwrite_image_reader_writer": "{REORIENTING}" in dataset.json and plan again, or {turn}'
    return f"{turn} and plan again"


@functools.cache
def tell_once(note: str) -> None:
    """Print ``note``, unless this process has done so: planning and the integrity check both look."""
    print(f"Note: {note[0].upper()}{note[1:]}", flush=True)


def partners_by_name(dataset_json: Mapping[str, Any], *, reader: str) -> str | None:
    """Two classes, or regions, whose names differ in the side alone; None where there are none.

    Objects (``InstanceIO``) have no partners: none of them is the left one.
    """
    labels = dataset_json.get("labels")
    if reader == "InstanceIO" or not isinstance(labels, dict):
        return None
    names = dict(enumerate(map(str, labels)))
    pairs = named_pairs(names)
    return f"'{names[pairs[0].left]}' and '{names[pairs[0].right]}'" if pairs else None
