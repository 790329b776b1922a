"""Whether the network that plans describe can be built, and takes the patch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pydoc import locate
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.meta_network import feature_map_size, meta_network


def check_patch(plans_name: str | None, patch: Sequence[int], strides: Sequence[Sequence[int]]) -> None:
    """Refuse a patch that the network's levels do not divide.

    Raises
    ------
    InputError
        It names the next legal sizes.
    """
    for axis, edge in enumerate(patch):
        divisor = prod(stride[axis] for stride in strides)
        if edge % divisor:
            raise InputError(
                f"The patch size {list(patch)} in the plans {plans_name} does not fit the network: its levels divide "
                f"axis {axis} by {divisor}, and {edge} is not a multiple of that. The nearest legal sizes are "
                f"{edge // divisor * divisor or divisor} or {(edge // divisor + 1) * divisor}."
            )


def check_deep_supervision(plans: dict[str, Any], configuration: dict[str, Any], section: str) -> None:
    """Refuse deep supervision, where ``section`` asks for it, if patch or stages do not allow it.

    Raises
    ------
    InputError
    """
    if not configuration[section]["deep_supervision"]:
        return
    name, strides = plans.get("plans_name"), configuration["architecture"]["arch_kwargs"]["strides"]
    # nnU-Net gives the coarsest scale no weight, and two stages have one scale
    if len(strides) < 3:
        raise InputError(
            f"The plans {name} ask for deep supervision of a network of {len(strides)} stages; it needs 3. Set "
            f"deep_supervision under {section} to false."
        )
    # nnU-Net rounds the sizes of its smaller targets, and pooling rounds down
    check_patch(name, configuration["patch_size"], strides)


def check_network(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
    """Refuse an architecture that cannot be built, or does not take the patch; on a device without memory.

    Raises
    ------
    InputError
    """
    name, architecture = plans.get("plans_name"), configuration["architecture"]
    kwargs, imported = architecture["arch_kwargs"], architecture["_kw_requires_import"]
    for key in imported:
        if isinstance(kwargs.get(key), str) and locate(kwargs[key]) is None:
            raise InputError(f"The plans {name} have the {key} {kwargs[key]!r} in arch_kwargs, which does not exist.")
    try:
        network = meta_network(architecture["network_class_name"], kwargs, imported, 1, 2)
        feature_map_size(network, configuration["patch_size"])
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The plans {name} describe no {architecture['network_class_name'].rpartition('.')[2]} that works with the "
            f"patch {list(configuration['patch_size'])} ({error}): correct the arch_kwargs that were changed."
        ) from error
