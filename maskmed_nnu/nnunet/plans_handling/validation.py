"""Validates the settings of plans, which people edit, against their declarations."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.settings.error_messages import lacking, planning_command, refusal
from maskmed_nnu.nnunet.plans_handling.settings.networks import Network
from maskmed_nnu.nnunet.plans_handling.settings.schema import Settings, as_json, detail, nested_settings


def validate_plans(plans: dict[str, Any], configuration: dict[str, Any], network: Network) -> None:
    """Refuse plans of another network, and settings that are illegal, unknown or missing.

    A missing setting that has a constant default takes it: it is written into the sections of ``configuration``, so
    that whoever reads them finds it, and a warning says so. Settings that planners leave out are not; networks and
    losses know their defaults.

    Raises
    ------
    InputError
    """
    name = plans.get("plans_name")
    architecture = configuration.get("architecture", {})
    class_name = architecture.get("network_class_name") if isinstance(architecture, dict) else None
    if class_name not in network.classes:
        raise InputError(
            f"The plans {name} were made by {plans.get('experiment_planner_used', 'another planner')} for the network "
            f"{class_name}, not for {' or '.join(network.classes)}. Plan again with "
            f"{planning_command(plans, network.planner)} and pass the new plans' name after -p."
        )
    added: list[str] = []
    for section, model in network.sections(configuration).items():
        parent = {"maskmed_nnu": plans, "arch_kwargs": architecture}.get(section, configuration)
        if section not in parent:
            if section == "maskmed_nnu" and not any(field.is_required() for field in model.model_fields.values()):
                continue
            raise lacking(plans, section, network.planner)
        settings = as_json(parent[section])
        try:
            model.model_validate(settings)
        except ValidationError as error:
            raise refusal(error, model, section, settings, plans=plans, planner=network.planner) from error
        added += _add_defaults(parent[section], model, section)
    if added:
        warnings.warn(f"The plans {name} lack {', '.join(added)}: these defaults are taken.", stacklevel=3)


def _add_defaults(settings: dict[str, Any], model: type[Settings], section: str) -> Iterator[str]:
    """Write missing defaults into legal ``settings``; names and values of what was missing."""
    for name, field in model.model_fields.items():
        nested = nested_settings(field)
        if name not in settings and not field.is_required() and detail(field, "in_plans"):
            settings[name] = model.default(name)
            yield f"{section}.{name} ({json.dumps(settings[name])})"
        elif nested is not None and settings.get(name) is not None:
            yield from _add_defaults(settings[name], nested, f"{section}.{name}")
