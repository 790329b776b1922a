"""Refuses plans of ours with another trainer than ours before training starts."""

from __future__ import annotations

import functools
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.settings.networks import NETWORKS


def wrap_training(module: Any) -> None:
    """Wrap ``get_trainer_from_args`` in ``nnunetv2.run.run_training``, where ``-tr`` and ``-p`` come together."""
    stock = module.get_trainer_from_args

    @functools.wraps(stock)
    def get_trainer_from_args(*args: Any, **kwargs: Any) -> Any:
        trainer = stock(*args, **kwargs)
        check_trainer(trainer)
        return trainer

    module.get_trainer_from_args = get_trainer_from_args


def check_trainer(trainer: Any) -> None:
    """Refuse a trainer that is none of ours where the plans are for one of our networks.

    Raises
    ------
    InputError
    """
    from maskmed_nnu.nnunet.training.trainers.base import PluginTrainer

    configuration = trainer.configuration_manager.configuration
    network = configuration.get("architecture", {}).get("network_class_name", "")
    ours = trainers_of(network, objects="instances" in configuration)
    if ours and not isinstance(trainer, PluginTrainer):
        raise InputError(
            f"The plans {trainer.plans_manager.plans_name} are for {network.rpartition('.')[2]}, which "
            f"{type(trainer).__name__} does not train: add -tr {' or '.join(ours)}."
        )


def trainers_of(network: str, *, objects: bool) -> tuple[str, ...]:
    """Names of our trainers of ``network``, a class name in plans; none where it is not ours."""
    for one in NETWORKS:
        if network in one.classes:
            kinds = (one.object_trainers, one.trainers) if objects else (one.trainers, one.object_trainers)
            return kinds[0] or kinds[1]
    return ()
