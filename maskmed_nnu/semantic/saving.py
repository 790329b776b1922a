"""Results as files: a table as CSV, everything as JSON, never in the place of something else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.output_paths import refuse_image_folder

if TYPE_CHECKING:
    from pandas import DataFrame

MARKS = ({"kind", "tolerance", "notes"}, {"images", "max_detections"})
"""Keys that tell our results, of classes and of objects."""
CSV_STARTS = ("case,class,state,dice", "class,metric,cases", "class,AP,")


class Result(Protocol):
    """What an evaluation found."""

    def to_table(self) -> DataFrame: ...

    def to_json(self) -> dict[str, Any]: ...

    def save(self, path: Path | str) -> None:
        """Write the table to a .csv file, or everything to a .json file, whole or not at all.

        Raises
        ------
        InputError
            For another ending, and where the file holds something else than results of an evaluation.
        """
        save(self, path)


def check_output(path: Path, kind: str) -> None:
    """``kind``: .csv or .json, whatever the name ends in.

    Raises:
        InputError: where it is another one, or ``path`` lies in no folder or among the images of a data set, or is a
            file that holds something else than results of an evaluation.
    """
    if kind not in (".csv", ".json"):
        raise InputError(f"{path} is neither a .csv nor a .json file; name one of them for the results.")
    if not path.resolve().parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; make it, or name another file for the results.")
    refuse_image_folder(path.parent)
    if path.is_dir() or (path.is_file() and path.stat().st_size and not _is_result(path, kind)):
        raise InputError(
            f"{path} exists and does not hold scores of maskmed evaluate, so it is not replaced; name another file."
        )


def save(result: Result, path: Path | str, kind: str | None = None) -> None:
    """Write ``result``, whole or not at all; the ending, or ``kind``, says what: .csv the table, .json everything.

    Raises:
        InputError: for what `check_output` refuses.
        OSError: where the disk does.
    """
    path = Path(path)
    kind = kind or path.suffix.lower()
    check_output(path, kind)
    if kind == ".json":
        write_json(path, result.to_json(), indent=2)
    else:
        table = result.to_table()
        write_atomically(path, lambda partial: table.to_csv(partial, index=False))


def _is_result(path: Path, kind: str) -> bool:
    if kind == ".csv":
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(CSV_STARTS)
    try:
        content = read_json(path, expected="results")
    except InputError:
        return False
    return isinstance(content, dict) and any(marks <= content.keys() for marks in MARKS)
