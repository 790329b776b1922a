"""Faults of the user's files and options: collected first, then told together, as a table."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import read_json

WIDTHS = (20, 40, 34)
"""Of the columns: where, what was found, what to do; with their gaps 98 characters."""
HEADING = ("where", "what was found", "what to do")
MAX_ROWS = 20
MAX_NAMES = 3


class Fault(NamedTuple):
    """``what`` and ``cure`` are clauses without a full stop; a command in them may have a line of its own.

    ``where`` is an option, or a file or folder inside ``folder``. A note is printed and refuses nothing.
    """

    where: str
    what: str
    cure: str
    folder: Path | None = None
    note: bool = False

    @property
    def sentence(self) -> str:
        where = self.where if self.folder is None else str(self.folder / self.where)
        return f"{where}: {self.what}; {self.cure}.".replace("\n", " ")


def named(values: Iterable[object]) -> str:
    """The first few names, and how many more there are."""
    return format_list(values, MAX_NAMES)


def read_file(path: Path, *, expected: str, advice: str = "") -> tuple[Any, list[Fault]]:
    """The content of a JSON file that nnU-Net is going to read, or None, and what is wrong with the file."""
    try:
        content = read_json(path, expected=expected)
    except InputError as error:
        what, _, cure = str(error).removeprefix(f"{path} ").removesuffix(".").partition("; ")
        return None, [Fault(path.name, f"it {what}", cure + advice, path.parent)]
    encoding = json.detect_encoding(path.read_bytes())
    if encoding == "utf-8":
        return content, []
    found = "begins with a byte-order mark" if encoding == "utf-8-sig" else f"is written in {encoding.upper()}"
    what = f"it {found}, at which nnU-Net's reader fails"
    return content, [Fault(path.name, what, "save it as UTF-8 without BOM", path.parent)]


def report(faults: Sequence[Fault], *, command: str) -> None:
    """Print the notes, and refuse to start ``command`` where there are faults.

    Raises:
        InputError: one sentence for one fault, a table for several.
    """
    for note in faults:
        if note.note:
            print(f"Note: {note.sentence}", flush=True)
    refuse(faults, command=command)


def refuse(faults: Sequence[Fault], *, command: str) -> None:
    """Refuse to start ``command`` where there are faults; notes are passed over.

    Raises:
        InputError: one sentence for one fault, a table for several.
    """
    grave = [fault for fault in faults if not fault.note]
    if len(grave) == 1:
        raise InputError(grave[0].sentence)
    if grave:
        raise InputError(f"{command} was not started, for {len(grave)} reasons:\n\n{table(grave)}")


def table(faults: Sequence[Fault]) -> str:
    """Three columns of wrapped text, 98 characters wide; what lies in one folder stands together."""
    shown = faults if len(faults) <= MAX_ROWS else faults[: MAX_ROWS - 1]
    lines = [_row(HEADING), _row(["-" * width for width in WIDTHS])]
    in_order = sorted(shown, key=lambda fault: (str(fault.folder or ""), fault.where if fault.folder else ""))
    for folder, group in groupby(in_order, key=lambda fault: fault.folder):
        if folder is not None:
            lines += [f"in {folder}{os.sep}", ""]
        for fault in group:
            lines += [_row((fault.where, fault.what, fault.cure)), ""]
    if len(shown) < len(faults):
        lines.append(f"and {len(faults) - len(shown)} more")
    return "\n".join(lines).rstrip()


def _row(texts: Sequence[str]) -> str:
    columns = [
        [line for part in text.split("\n") for line in textwrap.wrap(part, width, break_on_hyphens=False)]
        for text, width in zip(texts, WIDTHS, strict=True)
    ]
    lines = []
    for i in range(max(map(len, columns))):
        cells = (column[i] if i < len(column) else "" for column in columns)
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip())
    return "\n".join(lines)
