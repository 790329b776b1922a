"""What can be planned and trained by a short name: planner, plans and trainer of each of our networks and nnU-Net's."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.discovery.training_length import trainer_of_length
from maskmed_nnu.nnunet.plans_handling.settings.networks import (
    IAUNET,
    MASKATTN_UNET,
    MASKMED,
    SIMPLE_UNET,
    Network,
)

STOCK_TRAINER = "nnUNetTrainer"
STOCK_EPOCHS = (1, 5, 10, 20, 50, 100, 250, 500, 750, 2000, 4000, 8000)
"""nnU-Net has a trainer of its own for each of these."""


class Choice(NamedTuple):
    """One network as a user names it. ``memory_gb`` is what it is planned for; ``network`` is None for nnU-Net's."""

    name: str
    title: str
    planner: str
    plans: str
    memory_gb: float
    network: Network | None
    flat_only: bool = False

    def suits(self, *, objects: bool) -> bool:
        """Whether it can be trained on classes, or on ``objects``."""
        return bool(self._trainers(objects=objects))

    def trainer(self, *, objects: bool, epochs: int | None = None, minutes: int | None = None) -> str:
        """The name after ``-tr`` for a training of so many epochs or minutes; by default the trainer's own length.

        Raises:
            InputError: for a length that the trainer has not.
        """
        base = self._trainers(objects=objects)[0]
        if base != STOCK_TRAINER:
            unit, number = ("epochs", epochs) if epochs else ("minutes", minutes)
            name = f"{base}_{number}{unit}" if number else base
            trainer_of_length(name)
            return name
        if minutes:
            raise InputError("nnU-Net's own trainer counts epochs, not minutes; give a number of epochs instead.")
        if epochs and epochs not in STOCK_EPOCHS:
            legal = ", ".join(map(str, STOCK_EPOCHS))
            raise InputError(f"nnU-Net has no trainer of {epochs} epochs; its own are of {legal} (and 1000).")
        if epochs == 1:
            return f"{base}_1epoch"
        return f"{base}_{epochs}epochs" if epochs else base

    def _trainers(self, *, objects: bool) -> tuple[str, ...]:
        if self.network is None:
            return () if objects else (STOCK_TRAINER,)
        return self.network.object_trainers if objects else self.network.trainers


CHOICES = (
    Choice("maskmed", "MaskMed", "MaskMedPlanner", "MaskMedPlans", 8, MASKMED),
    Choice("maskmed-resenc-m", "MaskMed, ResEnc M", "MaskMedPlannerResEncM", "MaskMedResEncMPlans", 8, MASKMED),
    Choice("maskmed-resenc-l", "MaskMed, ResEnc L", "MaskMedPlannerResEncL", "MaskMedResEncLPlans", 24, MASKMED),
    Choice("iaunet", "IAUNet", "IAUNetPlanner", "IAUNetPlans", 8, IAUNET),
    Choice("simpleunet", "SimpleUNet", "SimpleUNetPlanner", "SimpleUNetPlans", 8, SIMPLE_UNET),
    Choice(
        "maskattn-unet", "MaskAttn-UNet", "MaskAttnUNetPlanner", "MaskAttnUNetPlans", 8, MASKATTN_UNET, flat_only=True
    ),
    Choice("nnunet", "nnU-Net", "ExperimentPlanner", "nnUNetPlans", 8, None),
)


def choices_for(*, objects: bool) -> tuple[Choice, ...]:
    """Those that can be trained on classes, or on ``objects``."""
    return tuple(choice for choice in CHOICES if choice.suits(objects=objects))


def find_choice(name: str, *, objects: bool, data_set: str) -> Choice:
    """The choice of that name, in any spelling; a planner's name stands for its choice.

    Raises:
        InputError: for a name that nobody has, or a network that cannot learn what the data set holds.
    """
    wanted = _plain(name)
    choice = next(
        (one for one in CHOICES if wanted in (_plain(one.name), _plain(one.title), _plain(one.planner))), None
    )
    legal = ", ".join(one.name for one in choices_for(objects=objects))
    if choice is None:
        near = difflib.get_close_matches(wanted, [_plain(one.name) for one in CHOICES], 1)
        guess = next((f"did you mean {one.name}? " for one in CHOICES if near and _plain(one.name) == near[0]), "")
        raise InputError(f"There is no network {name!r}; {guess}{data_set} can be trained with {legal}.")
    if not choice.suits(objects=objects):
        kind = "objects" if objects else "classes"
        raise InputError(f"{data_set} has labels of {kind}, which {choice.title} does not support; take {legal}.")
    return choice


def suggest(*, objects: bool, gpu_gb: float | None) -> tuple[Choice, str]:
    """The network that a data set suggests, and why. ``gpu_gb`` is the memory of the GPU, None without one."""
    by_name = {choice.name: choice for choice in CHOICES}
    if objects:
        return by_name["iaunet"], "the labels are objects; IAUNet predicts each one, also where they overlap"
    if gpu_gb is not None and gpu_gb < by_name["maskmed"].memory_gb - 1:
        why = f"the GPU has {gpu_gb:.0f} GB; the others are planned for {by_name['maskmed'].memory_gb:.0f} GB"
        return by_name["simpleunet"], why
    why = "the labels are classes; start with MaskMed"
    if gpu_gb is None:
        why += "; without a GPU, simpleunet is the fastest to train"
    return by_name["maskmed"], why


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
