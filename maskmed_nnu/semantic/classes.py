"""The classes of a class map: labels or regions of a ``dataset.json``, or just the numbers in the files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from maskmed_nnu.dataset_json import dataset_json_faults, label_number
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list


@dataclass(frozen=True)
class Classes:
    """``labels``: name → the labels that make up the class, several where it is a region; ``ignore``: that label.

    Voxels whose true label is ``ignore`` count nowhere, as in nnU-Net.
    """

    labels: Mapping[str, tuple[int, ...]]
    ignore: int | None = None

    @classmethod
    def from_dataset_json(cls, dataset_json: Mapping[str, Any], name: str = "dataset.json") -> Classes:
        """The foreground classes in the order of ``labels``.

        Raises:
            InputError: where they are not legal. The sentence names the file ``name``.

        >>> Classes.from_dataset_json({"labels": {"background": 0, "kidney": [1, 2], "tumour": 2, "ignore": 3},
        ...     "regions_class_order": [1, 2]})
        Classes(labels={'kidney': (1, 2), 'tumour': (2,)}, ignore=3)
        """
        faults = dataset_json_faults(dict(dataset_json), name, needs=("labels",))
        if faults:
            raise InputError(faults[0] if len(faults) == 1 else f"{name} has faults:\n- " + "\n- ".join(faults))
        labels, ignore = {}, None
        for one, value in dataset_json["labels"].items():
            numbers = tuple(label_number(n) or 0 for n in (value if isinstance(value, list) else [value]))
            if one == "ignore":
                ignore = None if value is None else numbers[0]
            elif set(numbers) != {0}:
                labels[one] = numbers
        return cls(labels, ignore)

    @classmethod
    def from_labels(cls, labels: Iterable[int]) -> Classes:
        """Each label but 0 is a class of its own, called by its number.

        >>> Classes.from_labels([0, 2, 5]).labels
        {'2': (2,), '5': (5,)}
        """
        return cls({str(label): (label,) for label in sorted(labels) if label > 0})

    @property
    def known(self) -> frozenset[int]:
        """Every label that stands for a class."""
        return frozenset(label for labels in self.labels.values() for label in labels)

    def name(self, label: int) -> str:
        """The class that is this label and nothing else, or the label's number."""
        return next((name for name, labels in self.labels.items() if labels == (label,)), str(label))


def check_partners(partners: Iterable[Collection[int | str]], classes: Classes | None) -> list[tuple[int, int]]:
    """Pairs of labels, given as numbers or as names of classes, such as left and right kidney.

    Raises:
        InputError: where one is not a pair, a class that does not exist, or is repeated.
    """
    pairs: list[tuple[int, int]] = []
    for pair in partners:
        numbers = [_label(one, classes) for one in pair] if not isinstance(pair, str) else []
        if len(numbers) != 2:
            raise InputError(f"{pair!r} is not a pair of partners; give two labels or classes for each, as (3, 4).")
        pairs.append((numbers[0], numbers[1]))
    every = [label for pair in pairs for label in pair]
    twice = sorted({label for label in every if every.count(label) > 1})
    if twice:
        raise InputError(f"The partners name the label {format_list(twice)} more than once; a label has one partner.")
    return pairs


def _label(one: int | str, classes: Classes | None) -> int:
    names = {} if classes is None else {name: labels[0] for name, labels in classes.labels.items() if len(labels) == 1}
    number = names.get(str(one)) if isinstance(one, str) else None
    number = label_number(one) if number is None else number
    if number is None or number < 1 or (classes is not None and number not in classes.known):
        legal = f"one of {format_list(names, 40)}" if names else "a label of 1 or more"
        raise InputError(f"The partner {one!r} is not a class of the data set; name {legal}.")
    return number
