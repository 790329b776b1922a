"""JSON files: read with one sentence for whatever is wrong with them, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError

LONGEST = 120
"""Characters of a value that a sentence repeats."""


def read_json(path: Path | str, *, expected: str) -> Any:
    """The content of ``path``, in any Unicode encoding; ``expected`` names what it holds, as in "a COCO json".

    A byte-order mark is understood. A name that appears twice in one object is an error, because the first would be
    lost.

    Raises:
        InputError: where the file is missing or cannot be read, or is not valid JSON.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {expected} is needed there.") from None
    try:
        return json.loads(raw, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(f"{path} is not valid JSON ({error}): {_cause(raw, error)}; {expected} is needed.") from None


def read_optional_object(path: Path | str) -> dict[str, Any]:
    """The JSON object in ``path``; empty where the file is missing or damaged, or holds something else."""
    try:
        content = read_json(path, expected="a JSON object")
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Any, *, indent: int | None = None) -> None:
    """Write ``content`` under a temporary name that is then renamed; NaN and infinity are errors."""
    text = json.dumps(content, indent=indent, allow_nan=False) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def shown(value: Any) -> str:
    """``value`` as a sentence shows it.

    >>> shown({"a": None})
    '{"a": null}'
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} appears twice in one object")
    return content


def _cause(raw: bytes, error: Exception) -> str:
    if not raw.strip(b" \t\r\n\0"):
        return "it is empty"
    if raw.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        return "it is compressed, so unpack it first"
    if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "it is XML or a web page"
    if "Extra data" in str(error):
        return "it continues after the end of the document, as in joined JSON files or JSON Lines"
    if "appears twice" in str(error):
        return "remove one of the two"
    if isinstance(error, json.JSONDecodeError):
        before, rest = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
        if before.endswith(",") and rest.startswith(("}", "]")):
            return "there is a comma before a closing bracket, so remove it"
        if rest.startswith(("//", "/*", "#")):
            return "JSON has no comments, so remove them"
        if rest.startswith(("'", "True", "False", "None")):
            return "it is a printed Python object, so write it with json.dump"
    return "it is damaged, truncated or not JSON in UTF-8"
