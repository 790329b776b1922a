"""JSON files: read with one sentence for whatever is wrong with them, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError


def read_json(path: Path | str, *, expected: str) -> Any:
    """The content of ``path``, a byte-order mark or not; ``expected`` names what it holds, as in "a COCO json".

    Raises:
        InputError: where the file is missing or cannot be read, or is no JSON in UTF-8.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {expected} is needed there.") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(
            f"{path} is not valid JSON ({error}): it is damaged, cut off or no JSON in UTF-8; {expected} is needed."
        ) from None


def write_json(path: Path, content: Any, *, indent: int | None = None) -> None:
    """Write ``content`` under a temporary name that is then renamed; NaN and infinity are errors."""
    text = json.dumps(content, indent=indent, allow_nan=False) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
