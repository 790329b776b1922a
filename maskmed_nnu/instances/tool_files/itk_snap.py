"""ITK-SNAP's label descriptions: names and colours for the values of a label map."""

from __future__ import annotations

from pathlib import Path

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.colours import whole_colour
from maskmed_nnu.instances.tool_files.findings import Findings

HIGHEST = 65535
HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""


def write_label_descriptions(path: Path, found: Findings) -> None:
    """A line for each value of the label map, which ITK-SNAP opens beside it.

    Raises:
        InputError: where a value is higher than ITK-SNAP's labels go.
    """
    values = sorted(value for value in found.descriptions if value > 0)
    if values and values[-1] > HIGHEST:
        raise InputError(
            f"{path} cannot describe the label {values[-1]}: ITK-SNAP's labels end at {HIGHEST}; write .seg.nrrd for "
            "3D Slicer instead."
        )
    lines = [_line(0, (0, 0, 0), False, "Clear Label")]
    lines += [_line(value, whole_colour(value), True, found.descriptions[value]) for value in values]
    text = HEADER + "".join(lines)
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def _line(value: int, colour: tuple[int, int, int], seen: bool, name: str) -> str:
    red, green, blue = colour
    plain = " ".join(name.replace('"', "'").split())
    return f'{value:5} {red:5} {green:4} {blue:4} {seen:8} {seen:2} {seen:2}    "{plain}"\n'
