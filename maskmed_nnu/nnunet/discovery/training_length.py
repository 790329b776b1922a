"""``<trainer>_<N>epochs`` and ``<trainer>_<N>minutes``: any trainer of ours for so long, without a file for each N.

The classes are made on demand and live in this module, where pickle finds them again in any process:
``from maskmed_nnu.nnunet.discovery.training_length import nnUNetTrainerMaskMed_7epochs``.
"""

from __future__ import annotations

import re
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.discovery.names import NAMES, load

_NAME = re.compile(r"(\w+)_([1-9]\d*)(epoch|minute)s?")


def split_length(name: str) -> tuple[str, int | None, str | None]:
    """``"A_7epochs"`` → ``("A", 7, "epoch")``; a name without such a suffix → ``(name, None, None)``."""
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2]), match[3]) if match else (name, None, None)


def trainer_of_length(name: str) -> type | None:
    """The subclass called ``name`` of one of our trainers; ``None`` if it has no such suffix or is not ours.

    Raises:
        InputError: for minutes of a trainer that counts epochs alone.
    """
    base_name, length, unit = split_length(name)
    if length is None or unit is None or base_name not in NAMES["trainer"]:
        return None
    if name not in globals():
        base = load(NAMES["trainer"][base_name])
        if unit == "minute" and not hasattr(base, "minutes"):
            raise InputError(f"{base_name} trains for epochs, not for minutes: name {base_name}_<N>epochs.")
        globals().setdefault(name, _subclass(name, base, length, unit))
    return globals()[name]


def _subclass(name: str, base: Any, length: int, unit: str) -> type:
    import torch

    # nnU-Net's trainer reads the signature of __init__ and expects exactly these names.
    def __init__(  # noqa: N807
        self: Any,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        base.__init__(self, plans, configuration, fold, dataset_json, device)
        if unit == "epoch":
            self.num_epochs = length

    members: dict[str, Any] = {
        "__init__": __init__,
        "__module__": __name__,
        "__doc__": f"{base.__name__} for {length} {unit}s.",
    }
    if unit == "minute":
        members["minutes"] = length
    return type(name, (base,), members)


def __getattr__(name: str) -> type:
    trainer = trainer_of_length(name)
    if trainer is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return trainer
