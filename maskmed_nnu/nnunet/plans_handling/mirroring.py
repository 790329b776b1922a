"""Along which axes a configuration is mirrored, and which labels change places then.

Augmentation and mirrored views of a prediction both ask `Mirroring`; nothing else decides about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from pydantic import ValidationError
from torch import Tensor

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.settings.error_messages import refusal
from maskmed_nnu.nnunet.plans_handling.settings.mirroring import SECTION, MirroringSettings
from maskmed_nnu.nnunet.plans_handling.settings.schema import as_json


@dataclass(frozen=True)
class Mirroring:
    """``axes`` are those of the patch; ``swap`` has, for some of them, pairs of labels that change places."""

    axes: tuple[int, ...]
    swap: Mapping[int, tuple[tuple[int, int], ...]]

    def swapped(self, axes: Iterable[int]) -> dict[int, int]:
        """Label → the label that it becomes when mirrored along ``axes``; of those that change only."""
        to: dict[int, int] = {}
        for axis in axes:
            exchange = dict(pair for a, b in self.swap.get(axis, ()) for pair in ((a, b), (b, a)))
            to = {label: exchange.get(now, now) for label, now in ({label: label for label in exchange} | to).items()}
        return {label: now for label, now in to.items() if now != label}

    def relabel(self, labels: Tensor, axes: Iterable[int]) -> Tensor:
        """The label map ``labels``, of any shape and whole numbers from -1 on, as after a mirror along ``axes``."""
        to = self.swapped(axes)
        if not to:
            return labels
        table = torch.arange(-1, max(*to, int(labels.max())) + 1, dtype=labels.dtype)
        table[torch.tensor(list(to)) + 1] = torch.tensor(list(to.values()), dtype=labels.dtype)
        return table[labels.long() + 1]

    def order(self, classes: Sequence[int | Collection[int]], axes: Iterable[int]) -> list[int] | None:
        """For each of ``classes`` (labels, or sets of them), the one that a mirror along ``axes`` puts in its place.

        None where a set of labels becomes one that is not a class.
        """
        to = self.swapped(axes)
        sets = [frozenset(map(int, one if isinstance(one, Collection) else [one])) for one in classes]
        becomes = [frozenset(to.get(label, label) for label in one) for one in sets]
        return [sets.index(one) for one in becomes] if set(becomes) <= set(sets) else None


def mirroring_of(plans: Mapping[str, Any], configuration: Mapping[str, Any], labels: LabelManager) -> Mirroring:
    """That of the plans; where they say nothing, every axis is mirrored as in nnU-Net.

    Raises
    ------
    InputError
        For illegal settings, labels that the data set does not have, and axes that the configuration does not have.
    """
    dimension = len(configuration["patch_size"])
    if SECTION not in configuration:
        return Mirroring(tuple(range(dimension)), {})
    section = as_json(configuration[SECTION])
    planner = str(plans.get("experiment_planner_used", "ExperimentPlanner"))
    try:
        settings = MirroringSettings.model_validate(section)
    except ValidationError as error:
        raise refusal(error, MirroringSettings, SECTION, section, plans=dict(plans), planner=planner) from None
    swap = {int(axis): tuple((a, b) for a, b in pairs) for axis, pairs in settings.swap.items() if pairs}
    _check(plans, settings, swap, dimension, [int(label) for label in labels.foreground_labels])
    return Mirroring(tuple(sorted(settings.axes)), swap)


def _check(
    plans: Mapping[str, Any],
    settings: MirroringSettings,
    swap: Mapping[int, tuple[tuple[int, int], ...]],
    dimension: int,
    known: Sequence[int],
) -> None:
    """Refuse axes and labels that do not exist, and permutations that depend on the order of two mirrors."""
    name = plans.get("plans_name")
    correct = f"Correct it in {name}.json (of a trained model: in its plans.json)."
    strange = [axis for axis in settings.axes if axis >= dimension]
    if strange:
        raise InputError(
            f"The plans {name} mirror along the axis {strange[0]}, but a patch of {dimension} dimensions has the axes "
            f"{', '.join(map(str, range(dimension)))}. {correct}"
        )
    unknown = sorted({label for pairs in swap.values() for pair in pairs for label in pair} - set(known))
    if unknown:
        raise InputError(
            f"The plans {name} swap the label {unknown[0]} in mirroring.swap; legal are the labels of "
            f"dataset.json, without background and ignore: {', '.join(map(str, known))}. {correct}"
        )
    both = Mirroring(tuple(swap), swap)
    for a, b in combinations(swap, 2):
        if both.swapped((a, b)) != both.swapped((b, a)):
            raise InputError(
                f"The plans {name} swap labels in mirroring.swap so that mirroring along the axis {a} and then "
                f"along {b} differs from the other order; legal are pairs with the same result for both. {correct}"
            )
