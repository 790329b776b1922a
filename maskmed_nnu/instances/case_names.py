"""Which names of cases are legal: what nnU-Net, our commands and operating systems keep for themselves is not.

Four digits at the end (``amos_0001``) are legal: nnU-Net takes only the last ``_0000`` off an image's name. They are
not where another case has the name before them: ``amos_0001.png`` would be a map of one and a channel of the other.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from maskmed_nnu.instances.text import format_list

# File systems take 255 bytes. The rest is for "_0000.nii.gz", and for the number before a file being written.
MAX_BYTES = 200
# NAME.json beside a label map holds a TIFF's spacing for nnU-Net; these are nnU-Net's and our files in such folders.
RESERVED_FILES = frozenset(
    "dataset dataset_fingerprint inference_information instances plans postprocessing predict_from_raw_data_args "
    "predicted_by predictions_coco splits_final summary".split()
)
RESERVED_BY_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *(\..*)?", re.IGNORECASE)
ILLEGAL_CHARACTERS = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
FILE_ENDING = re.compile(r"\.(png|jpe?g|bmp|tiff?|nii|gz|nrrd|mha|mhd|b2nd|npy|npz|pkl|json)$", re.IGNORECASE)


def unsafe_name(name: str) -> str | None:
    """Why ``name`` cannot be a case's, as a clause without the name; None where it can.

    >>> unsafe_name("nuclei_seg"), unsafe_name("nuclei_0001")
    ('ends in _seg, which nnU-Net appends to the names of preprocessed label maps', None)
    """
    if not name:
        return "is empty"
    if not _is_text(name):
        return "is not written in UTF-8"
    if len(name.encode()) > MAX_BYTES:
        return f"has {len(name.encode())} bytes; more than {MAX_BYTES} leave no room for the endings that are added"
    if name.lower().endswith("_seg"):
        return "ends in _seg, which nnU-Net appends to the names of preprocessed label maps"
    if name.startswith("."):
        return "begins with a dot, like a hidden file"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space or a dot, which Windows removes"
    if character := ILLEGAL_CHARACTERS.search(name):
        return f"holds the character {character[0]!r}, which some file systems do not allow"
    if RESERVED_BY_WINDOWS.fullmatch(name):
        return "is the name of a device on Windows"
    if name.lower() in RESERVED_FILES:
        return f"is reserved for {name.lower()}.json, which nnU-Net or maskmed writes"
    if ending := FILE_ENDING.search(name):
        return f"ends in {ending[0]}, the ending of a file"
    return None


def name_clashes(names: Iterable[str]) -> list[str]:
    """Clauses about legal names that clash, "a and A are …"; no name is repeated.

    >>> name_clashes(["a", "A", "b", "a_0001"])
    ['A and a are the same name on systems that ignore case (Windows, macOS)', 'a_0001 could be channel 1 of a']
    """
    groups: dict[str, list[str]] = {}
    known = sorted(set(names))
    for name in known:
        groups.setdefault(_key(name), []).append(name)
    clauses = [_twins(group) for group in groups.values() if len(group) > 1]
    for name in known:
        channel = re.fullmatch(r"(.+)_(\d{4})", name)
        group = groups.get(_key(channel[1]), []) if channel else []
        if channel and group:
            other = channel[1] if channel[1] in group else group[0]
            clauses.append(f"{name} could be channel {int(channel[2])} of {other}")
    return clauses


def safe_names(names: Sequence[str]) -> list[str]:
    """A legal name for each of ``names``, all different: the same one where it can be, else one that resembles it.

    >>> safe_names(["a b", "a_b", "A", "a", "x_seg", "dataset", "a_0001"])
    ['a_b_2', 'a_b', 'A', 'a_2', 'x-seg', 'case_dataset', 'a-0001']
    """
    wanted = [_safe_name(name) for name in names]
    taken: dict[str, str] = {}
    safe = [""] * len(names)
    # X before X_0001, and names that stay before those that change anyway
    for index in sorted(range(len(names)), key=lambda i: (len(wanted[i]), wanted[i] != names[i], wanted[i], names[i])):
        name, number = wanted[index], 1
        channel = re.fullmatch(r"(.+)_(\d{4})", name)
        if channel and _key(channel[1]) in taken:
            name = f"{channel[1]}-{channel[2]}"
        stem = name
        while _key(name) in taken:
            number += 1
            name = f"{stem}_{number}"
        taken[_key(name)] = safe[index] = name
    return safe


def _safe_name(name: str) -> str:
    """Letters, digits, ``_`` and ``-`` only, and none of what :func:`unsafe_name` complains of."""
    safe = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", name)).strip("_") or "case"
    if len(safe.encode()) > MAX_BYTES - 20:  # room for a number, a prefix
        start = safe.encode()[: MAX_BYTES - 40].decode(errors="ignore")
        safe = f"{start}_{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"
    if safe.lower().endswith("_seg"):
        safe = f"{safe[:-4]}-{safe[-3:]}"
    return safe if unsafe_name(safe) is None else f"case_{safe}"


def _twins(group: list[str]) -> str:
    composed = {unicodedata.normalize("NFC", name) for name in group}
    if len(composed) < len(group):
        return f"{format_list(group)} look the same but are written with different characters"
    return f"{' and '.join(group)} are the same name on systems that ignore case (Windows, macOS)"


def _key(name: str) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
