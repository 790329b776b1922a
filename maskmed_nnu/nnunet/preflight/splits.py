"""``splits_final.json``, which people write by hand or which outlives the cases that it names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import ending
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.preflight.faults import Fault, count, encoding_faults, named

SPLITS = "splits_final.json"
FORM = 'write a list with {"train": [names], "val": [names]} for each fold'
FOLDS = 5


def split_faults(folder: Path, cases: Collection[str], fold: int) -> Iterator[Fault]:
    """What keeps ``fold`` from being trained on the preprocessed ``cases``; of other folds there are notes."""
    path = folder / SPLITS
    if not path.exists():
        if len(cases) < FOLDS:
            what = f"{count(len(cases), 'training case')}, fewer than nnU-Net's five folds need"
            cure = f"train fold 'all' on all of them, or describe folds of your own in {SPLITS}"
            yield Fault(f"fold {fold}", what, cure)
        elif not 0 <= fold < FOLDS:
            yield Fault(f"fold {fold}", f"nnU-Net makes {FOLDS} folds", f"train one of 0 to {FOLDS - 1}, or fold 'all'")
        return
    try:
        splits = read_json(path, expected="nnU-Net's list of folds")
    except InputError as error:
        what, _, cure = str(error).removeprefix(f"{path} ").removesuffix(".").partition("; ")
        yield Fault(SPLITS, f"it {what}", f"{cure}; or delete it, and nnU-Net makes five folds", folder)
        return
    yield from encoding_faults(folder, SPLITS)
    if not isinstance(splits, list) or not splits:
        kind = "an empty list" if splits == [] else f"no list of folds but {_kind(splits)}"
        yield Fault(SPLITS, f"it holds {kind}", FORM, folder)
        return
    if not 0 <= fold < len(splits):
        last = "only fold 0" if len(splits) == 1 else f"folds 0 to {len(splits) - 1}"
        what = f"it describes {last}, and fold {fold} was asked for"
        yield Fault(SPLITS, what, "train one of those or fold 'all', or add the fold", folder)
    for number, split in enumerate(splits):
        for what, cure in _faults_of(split, cases):
            yield Fault(SPLITS, f"fold {number} {what}", cure, folder, note=number != fold)


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
            yield f"has a {key} that is no list of names", FORM
            return
        if not value:
            purpose = "to learn from" if key == "train" else "to validate with, which nnU-Net does after training"
            yield (
                f"has an empty {key}: no case {purpose}",
                f"name at least one case, or train fold 'all' without {SPLITS}",
            )
    gone = [name for names in lists.values() for name in names if name not in cases]
    if gone:
        yield f"names {count(len(gone), 'case')} that {_are(gone)} not preprocessed: {named(gone)}", _cure(gone, cases)
    for key, value in lists.items():
        twice = [name for name, times in Counter(value).items() if times > 1]
        if twice:
            yield f"names {count(len(twice), 'case')} of {key} more than once: {named(twice)}", "name each case once"
    both = [name for name in lists.get("val", ()) if name in lists.get("train", ())]
    if both:
        what = f"has {count(len(both), 'case')} in train and in val: {named(both)}"
        yield what, "keep each in one of the two, or train fold 'all' to learn from every case"


def _cure(gone: list[str], cases: Collection[str]) -> str:
    stem = gone[0][: -len(ending(gone[0]) or "") or None]
    for name in (stem, stem[:-5]):
        if name in cases and name != gone[0]:
            return f"write {name}, not {gone[0]}: names stand there without ending and channel number"
    return f"correct the names, or preprocess the cases; there are {named(sorted(cases))}"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, value)) or 'nothing'}"
    return {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
