"""What pydantic finds wrong with a section of the plans, in one sentence for the user who edited them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import shown
from maskmed_nnu.legal_values import legal_values
from maskmed_nnu.nnunet.plans_handling.settings.schema import CROSS, Settings, nested_settings
from maskmed_nnu.version import package_version


def planning_command(plans: dict[str, Any], planner: str) -> str:
    """What makes new plans for the data set."""
    return f"nnUNetv2_plan_experiment -d {plans.get('dataset_name', 'ID')} -pl {planner}"


def lacking(plans: dict[str, Any], name: str, planner: str) -> InputError:
    """The error for plans without a section or setting that has no constant default."""
    return InputError(
        f"The plans {plans.get('plans_name')} lack '{name}': another version of maskmed_nnu made them. "
        f"Plan again with {planning_command(plans, planner)}."
    )


def refusal(
    error: ValidationError, model: type[Settings], section: str, found: Any, *, plans: dict[str, Any], planner: str
) -> InputError:
    """The error for what ``model`` refuses in ``found``, the ``section`` as it is in the plans."""
    # a misspelt name is unknown, and the right one may be missing for it: the first says more
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    names = list(_path(first, model))
    owner, value = _look_up(names, model, found)
    name, path = names[-1] if names else "", ".".join([section, *names])
    start, file = f"The plans {plans.get('plans_name')}", f"{plans.get('plans_name')}.json"
    correct = (
        f"Correct it in {file} (of a trained model: in its plans.json), or plan again with "
        f"{planning_command(plans, planner)}."
    )
    if first["type"] == "missing":
        return lacking(plans, path, planner)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, owner.model_fields, n=1)
        return InputError(
            f"{start} set {path} to {shown(value)}, but {path.rpartition('.')[0]}{owner.of} has no such "
            f"setting{_made_by(plans)}{f' (did you mean {near[0]}?)' if near else ''}; legal are "
            f"{', '.join(owner.model_fields)}. {correct}"
        )
    if first["type"] == CROSS:
        legal = first["ctx"]["legal"]
    else:
        legal = legal_values(owner.model_fields[name]) if names else f"an object with {', '.join(model.model_fields)}"
        if names and not owner.model_fields[name].is_required():
            legal += f" (default {shown(owner.default(name))})"
    return InputError(f"{start} set {path} to {shown(value)}; legal is {legal}. {correct}")


def _path(error: ErrorDetails, model: type[Settings]) -> Iterator[str]:
    """Names of the setting that an error is about, from the section inwards; not of an entry of a list."""
    cross = error["ctx"]["name"].split(".") if error["type"] == CROSS else []
    for part in (*error["loc"], *cross):
        yield str(part)
        field = model.model_fields.get(str(part))
        nested = None if field is None else nested_settings(field)
        if nested is None:
            return
        model = nested


def _look_up(names: list[str], model: type[Settings], found: Any) -> tuple[type[Settings], Any]:
    """The class to which the last of ``names`` belongs, and the value found there."""
    for name in names[:-1]:
        nested = nested_settings(model.model_fields[name])
        assert nested is not None
        model, found = nested, found[name]
    return model, found.get(names[-1]) if names and isinstance(found, dict) else found


def _made_by(plans: dict[str, Any]) -> str:
    origin = plans.get("maskmed_nnu")
    version = origin.get("version") if isinstance(origin, dict) else None
    known = version in (None, package_version())
    return "" if known else f" in this version of maskmed_nnu (version {version} made the plans)"
