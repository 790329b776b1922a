"""Entries of users' JSON checked against pydantic models; the sentence names file, place, finding and what is legal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import shown
from maskmed_nnu.legal_values import legal_values

Model = TypeVar("Model", bound=BaseModel)


def parse_entries(
    entries: Sequence[Any] | Mapping[str, Any], model: type[Model], *, file: Path, place: str
) -> list[Model]:
    """The ``entries`` of a list or of an object's values, at ``place`` in ``file``, as models.

    Raises:
        InputError: for the first wrong value, with the number of entries that are wrong in the same way.
    """
    keys, values = ([*entries], [*entries.values()]) if isinstance(entries, Mapping) else (range(len(entries)), entries)
    try:
        return TypeAdapter(list[model]).validate_python(values)  # type: ignore[valid-type]
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    index, *names = faults[0]["loc"]
    alike = len({fault["loc"][0] for fault in faults if fault["loc"][1:2] == tuple(names[:1])}) - 1
    entry = values[int(index)]
    where, found = f"{place}[{shown(keys[int(index)])}]", shown(entry)
    legal = f"an object with {', '.join(n for n, field in model.model_fields.items() if field.is_required())}"
    if names and isinstance(entry, dict):
        name = str(names[0])
        if "id" in entry and name != "id":
            where += f" (id {shown(entry['id'])})"
        where, legal = f"{name} of {where}", legal_values(model.model_fields[name])
        found = shown(entry[name]) if name in entry else "missing"
    more = f"; {alike:,} more have the same fault" if alike else ""
    raise InputError(f"{where} in {file} is {found}, but it must be {legal}{more}.")
