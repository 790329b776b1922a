"""``splits_final.json``, which people write by hand or which outlives the cases that it names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import ending
from maskmed_nnu.instances.text import count
from maskmed_nnu.json_file import write_json
from maskmed_nnu.nnunet.preflight.faults import Fault, named, read_file

SPLITS = "splits_final.json"
FORM = 'write a list with {"train": [names], "val": [names]} for each fold'
FOLDS = 5
SEED = 12345
"""nnU-Net's own."""


def write_splits(folder: Path, cases: Collection[str]) -> Path:
    """Write nnU-Net's five folds of the preprocessed ``cases``, unless there are folds in ``folder`` already.

    A training writes them itself, under their own name from the start: others that begin at the same time may read
    half a file.

    Raises:
        InputError: where there are fewer cases than folds.
    """
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    path = folder / SPLITS
    if path.is_file():
        return path
    if len(cases) < FOLDS:
        raise InputError(
            f"{folder} has {count(len(cases), 'training case')}, fewer than nnU-Net's five folds need; define "
            f"your own folds in {path}."
        )
    write_json(path, generate_crossval_split(sorted(cases), seed=SEED, n_splits=FOLDS), indent=4)
    return path


def split_faults(folder: Path, cases: Collection[str], fold: int) -> Iterator[Fault]:
    """What keeps ``fold`` from being trained on the preprocessed ``cases``; of other folds there are notes."""
    path = folder / SPLITS
    if not path.exists():
        if len(cases) < FOLDS:
            what = f"{count(len(cases), 'training case')}, fewer than nnU-Net's five folds need"
            cure = f"train fold 'all' on all of them, or define your own folds in {SPLITS}"
            yield Fault(f"fold {fold}", what, cure)
        elif not os.access(folder, os.W_OK):
            cure = "ask its owner for permission, or put your own folds there"
            yield Fault(SPLITS, "it is missing, and nnU-Net has no permission to write its five folds", cure, folder)
        yield from _range_faults(fold, FOLDS)
        return
    splits, unreadable = read_file(
        path, expected="nnU-Net's list of folds", advice="; or delete it, and nnU-Net creates five folds"
    )
    yield from unreadable
    if splits is None and unreadable:
        return
    if not isinstance(splits, list) or not splits:
        kind = "an empty list" if splits == [] else f"not a list of folds but {_kind(splits)}"
        yield Fault(SPLITS, f"it holds {kind}", FORM, folder)
        return
    yield from _range_faults(fold, len(splits))
    wrong = {number: list(_faults_of(split, cases)) for number, split in enumerate(splits)}
    for what, cure in wrong.get(fold, ()):
        yield Fault(SPLITS, f"fold {fold} {what}", cure, folder)
    if wrong.get(fold) == []:
        for what in _oddities_of(splits[fold]):
            yield Fault(SPLITS, f"fold {fold} {what}", "correct it if that was not intended", folder, note=True)
    others = [number for number, faults in wrong.items() if faults and number != fold]
    if others:
        what, cure = wrong[others[0]][0]
        if others[1:]:
            what += f"; fold{'s' * (len(others) > 2)} {named(others[1:])} cannot be trained either"
        yield Fault(SPLITS, f"fold {others[0]} {what}", cure, folder, note=True)


def _range_faults(fold: int, folds: int) -> Iterator[Fault]:
    """Beyond the last fold nnU-Net splits at random, as its documentation says."""
    there = "there is only fold 0" if folds == 1 else f"there are folds 0 to {folds - 1}"
    if fold < 0:
        yield Fault(f"fold {fold}", there, f"train {'that' if folds == 1 else 'one of those'}, or fold 'all'")
    elif fold >= folds:
        what = f"{there}, so nnU-Net trains on a random 80% of the cases and validates on the others"
        yield Fault(f"fold {fold}", what, f"add the fold to {SPLITS} if that was not intended", note=True)


def _faults_of(split: Any, cases: Collection[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with one fold, as a predicate, and its cure."""
    if not isinstance(split, dict):
        yield f"is {_kind(split)}", FORM
        return
    missing = [key for key in ("train", "val") if key not in split]
    if missing:
        yield f"has no {' and no '.join(missing)}, but {', '.join(map(str, split)) or 'nothing'}", FORM
    lists = {key: split[key] for key in ("train", "val") if key in split}
    for key, value in lists.items():
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            yield f"has a {key} that is not a list of names", FORM
            return
        if not value:
            purpose = "to learn from" if key == "train" else "to validate with, which nnU-Net does after training"
            yield f"has an empty {key}: no case {purpose}", "name at least one case, or train fold 'all'"
    gone = [name for names in lists.values() for name in names if name not in cases]
    if gone:
        yield f"names {count(len(gone), 'case')} that {_are(gone)} not preprocessed: {named(gone)}", _cure(gone, cases)


def _oddities_of(split: dict[str, list[str]]) -> Iterator[str]:
    """What nnU-Net trains with all the same, as predicates: some people mean it."""
    for key in ("train", "val"):
        twice = [name for name, times in Counter(split[key]).items() if times > 1]
        if twice:
            yield f"names {count(len(twice), 'case')} of {key} more than once: {named(twice)}"
    both = sorted(set(split["train"]) & set(split["val"]))
    if both:
        yield f"has {count(len(both), 'case')} in train and in val, which makes the scores too high: {named(both)}"


def _cure(gone: list[str], cases: Collection[str]) -> str:
    stem = gone[0][: -len(ending(gone[0]) or "") or None]
    for name in (stem, stem[:-5]):
        if name in cases and name != gone[0]:
            return f"write {name}, not {gone[0]}: names have no ending and no channel number there"
    return f"correct the names, or preprocess the cases; there are {named(sorted(cases))}"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, value)) or 'nothing'}"
    return {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
