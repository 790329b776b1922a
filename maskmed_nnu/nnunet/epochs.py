"""``<trainer>_<N>epochs``: any trainer of ours with N epochs, without a file for each N.

The classes are made on demand and live in this module, where pickle finds them again in any process:
``from maskmed_nnu.nnunet.epochs import nnUNetTrainerMaskMed_7epochs``.
"""

from __future__ import annotations

import importlib
import re

from maskmed_nnu.nnunet.names import NAMES

_NAME = re.compile(r"(\w+)_([1-9]\d*)epochs?")


def split_epochs(name: str) -> tuple[str, int | None]:
    """``"A_7epochs"`` → ``("A", 7)``; a name without the suffix → ``(name, None)``."""
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)


def trainer_with_epochs(name: str) -> type | None:
    """The subclass called ``name`` of one of our trainers; ``None`` if that is not ``<our trainer>_<N>epochs``."""
    base_name, epochs = split_epochs(name)
    if epochs is None or base_name not in NAMES["trainer"]:
        return None
    if name not in globals():
        module, _, attribute = NAMES["trainer"][base_name].partition(":")
        base = getattr(importlib.import_module(module), attribute)
        globals().setdefault(name, _subclass(name, base, epochs))
    return globals()[name]


def _subclass(name: str, base: type, epochs: int) -> type:
    import torch

    # nnU-Net's trainer reads the signature of __init__ and expects exactly these names.
    def __init__(  # noqa: N807
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ):
        base.__init__(self, plans, configuration, fold, dataset_json, device)
        self.num_epochs = epochs

    doc = f"{base.__name__} with {epochs} epochs."
    return type(name, (base,), {"__init__": __init__, "__module__": __name__, "__doc__": doc})


def __getattr__(name: str) -> type:
    trainer = trainer_with_epochs(name)
    if trainer is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return trainer
