"""Legal values of a field of a pydantic model in words, from its type: for documentation and refusals alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Words(NamedTuple):
    """Annotation of a type whose legal values are told in words of their own."""

    one: str
    many: str


NUMBERS = {int: ("an integer", "integers"), float: ("a number", "numbers")}


def legal_values(field: FieldInfo) -> str:
    """``a number above 0``, ``true or false``, ``an integer of 1 or more, or null``, …; values as in JSON."""
    return _words(field.annotation, field.metadata)


def _words(annotation: Any, metadata: Sequence[Any] = (), *, many: bool = False) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], arguments[1:], many=many)
    own = next((one for one in metadata if isinstance(one, Words)), None)
    if own is not None:
        return own.many if many else own.one
    if origin in (Union, UnionType):
        several = [_words(one, many=many) for one in arguments if one is not NoneType]
        null = ", or null" if NoneType in arguments else ""
        return " or ".join(several) + null
    if origin is Literal:
        *others, last = (json.dumps(one) for one in arguments)
        return f"{', '.join(others)} or {last}" if others else last
    if annotation is bool:
        return "true or false"
    if annotation in NUMBERS:
        return NUMBERS[annotation][many] + _range(metadata)
    if annotation is str:
        return "texts" if many else "a text"
    if origin is list:
        filled = "one or more " if any(isinstance(one, MinLen) for one in metadata) else ""
        return ("lists of " if many else "a list of ") + filled + _words(arguments[0], many=True)
    assert origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)), annotation
    return "objects" if many else "an object"


def _range(metadata: Sequence[Any]) -> str:
    least = next((one.ge for one in metadata if isinstance(one, Ge)), None)
    above = next((one.gt for one in metadata if isinstance(one, Gt)), None)
    most = next((one.le for one in metadata if isinstance(one, Le)), None)
    if least is not None:
        return f" of {least} or more" if most is None else f" from {least} to {most}"
    if above is not None:
        return f" above {above}" + ("" if most is None else f" and up to {most}")
    return "" if most is None else f" up to {most}"
