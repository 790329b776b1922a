"""What the declarations of settings are made of.

A section of the plans is a subclass of `Settings`, and a setting is a field of it::

    temperature: Positive = setting("cosine similarities are divided by it", default=0.1, used_by="loss")

The planners take constants from there (`Settings.plan`), the plans are validated against it
(`plans_handling.validation`), and the tables of the documentation are written from it (`settings.tables`).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, get_args

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from maskmed_nnu.legal_values import Words

Count = Annotated[int, Ge(1)]
Index = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
Weight = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
ClassPath = Annotated[str, Words("the dotted path of a class", "dotted paths of classes")]
ClassNumbers = Annotated[list[Count], MinLen(1)]

CROSS = "settings_do_not_fit"
"""Type of the errors that `misfit` makes."""


def setting(
    meaning: str, *, default: Any = ..., chosen_by: str = "", used_by: str = "", in_plans: bool = True
) -> Any:  # a field may have any type
    """A field of a `Settings` class.

    ``meaning`` and ``chosen_by`` (the planner's rule) are copied into the documentation unchanged. A setting without a
    ``default`` must be in the plans. ``used_by`` overrides that of the class. Planners leave a setting out that is not
    ``in_plans``: the network or the loss has the same default.
    """
    extra: dict[str, Any] = {"chosen_by": chosen_by, "used_by": used_by, "in_plans": in_plans}
    return Field(default=default, description=meaning, json_schema_extra=extra)


def detail(field: FieldInfo, name: str) -> Any:
    """What `setting` was given as ``chosen_by``, ``used_by`` or ``in_plans``."""
    assert isinstance(field.json_schema_extra, dict)
    return field.json_schema_extra[name]


class Settings(BaseModel):
    """A section of the plans."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    used_by: ClassVar[str] = "network"
    of: ClassVar[str] = ""
    """What tells this section from one of the same name, where sentences need it."""

    @classmethod
    def default(cls, name: str) -> Any:
        """The constant default of a setting."""
        field = cls.model_fields[name]
        assert not field.is_required(), f"{cls.__name__}.{name} has no constant default"
        return field.get_default(call_default_factory=True)

    @classmethod
    def plan(cls, **chosen: Any) -> dict[str, Any]:
        """What a planner writes: the values that it has ``chosen`` among the constants, as declared; ready for JSON."""
        cls.model_validate(as_json(chosen))
        return {
            name: chosen[name] if name in chosen else cls.default(name)
            for name, field in cls.model_fields.items()
            if name in chosen or detail(field, "in_plans")
        }


def nested_settings(field: FieldInfo) -> type[Settings] | None:
    """The class of a setting that has settings of its own."""
    alternatives = [field.annotation, *get_args(field.annotation)]
    return next((one for one in alternatives if isinstance(one, type) and issubclass(one, Settings)), None)


def misfit(name: str, legal: str) -> PydanticCustomError:
    """The error of a validator that finds a setting illegal beside the others; ``legal`` ends the sentence."""
    return PydanticCustomError(CROSS, "{name}: legal is {legal}", {"name": name, "legal": legal})


def as_json(value: Any) -> Any:
    """As in a plans file: planners have tuples and numpy's numbers, too."""
    return json.loads(json.dumps(value, default=lambda other: other.tolist()))
