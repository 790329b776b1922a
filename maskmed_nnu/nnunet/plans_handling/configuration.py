"""Configurations of plans, with what they inherit."""

from __future__ import annotations

from typing import Any

from maskmed_nnu.errors import InputError


def resolve_configuration(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """The configuration with what it inherits; its sections are those of the plans, not copies.

    Raises
    ------
    InputError
        Where the plans do not have it, or are no plans.
    """
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict):
        raise InputError(
            f"The plans hold no configurations (they have {', '.join(plans) or 'nothing'}): this is not a plans file "
            "of nnU-Net v2. Make one with nnUNetv2_plan_and_preprocess."
        )
    if name not in configurations:
        raise InputError(
            f"The plans {plans.get('plans_name')} have no configuration {name!r}. They have: "
            f"{', '.join(configurations)}."
        )
    configuration = configurations[name]
    parent = configuration.get("inherits_from")
    return {**resolve_configuration(plans, parent), **configuration} if parent is not None else configuration
