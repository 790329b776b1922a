"""The cases that the folds of a training were validated on, each with its truth and image as far as they are there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.json_file import read_json, read_optional_object
from maskmed_nnu.nnunet.training.object_summary import SCORES, SUMMARY

VALIDATION = "validation"


@dataclass(frozen=True)
class ValidatedCase:
    """``truth`` and ``images`` (its channels) are None and empty where they are not on this machine.

    ``key`` is its name, with the fold where several folds predicted it.
    """

    key: str
    name: str
    fold: str
    prediction: Path
    truth: Path | None
    images: tuple[Path, ...]


@dataclass(frozen=True)
class Validations:
    """``missing``: cases that a fold should have predicted but has not, with the fold. ``notes`` are sentences."""

    cases: tuple[ValidatedCase, ...]
    missing: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def fold_names(model: Path) -> list[str]:
    """The folds that were begun, numbered ones in their order, then ``all``."""
    names = [path.name.removeprefix("fold_") for path in model.glob("fold_*") if path.is_dir()]
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def find_validations(model: Path, dataset: str, dataset_json: Mapping[str, Any]) -> Validations:
    """Those of the numbered folds, or of ``all`` where there is no other; ``dataset`` is the name in ``nnUNet_raw``."""
    raw, preprocessed = (_data_folder(variable, dataset) for variable in ("nnUNet_raw", "nnUNet_preprocessed"))
    truths = [place for place in (_inside(preprocessed, "gt_segmentations"), _inside(raw, "labelsTr")) if place]
    ending = str(dataset_json["file_ending"])
    folds = [fold for fold in fold_names(model) if fold.isdecimal()] or fold_names(model)
    images = _images(raw, ending) if raw is not None else {}
    cases: list[ValidatedCase] = []
    missing: list[tuple[str, str]] = []
    unvalidated = []
    splits = _splits(preprocessed)
    for fold in folds:
        found = {file.name.removesuffix(ending): file for file in _predictions(model / f"fold_{fold}", ending)}
        if not found:
            unvalidated.append(fold)
            continue
        for name, file in found.items():
            truth = next((place / file.name for place in truths if (place / file.name).is_file()), None)
            cases.append(ValidatedCase(name, name, fold, file, truth, images.get(name, ())))
        missing += [(name, fold) for name in _expected(splits, fold) if name not in found]
    notes = [*_notes_on_folds(folds, unvalidated), *_notes_on_data(cases, dataset, raw, truths)]
    often = Counter(case.name for case in cases)
    keyed = [replace(case, key=f"{case.name} (fold {case.fold})") if often[case.name] > 1 else case for case in cases]
    return Validations(tuple(keyed), tuple(missing), tuple(notes))


def read_summary(model: Path, fold: str, name: str = SUMMARY) -> dict[str, Any]:
    """``validation/summary.json`` of a fold, or ``instances.json``; empty where it is missing or damaged."""
    return read_optional_object(model / f"fold_{fold}" / VALIDATION / name)


def read_object_scores(model: Path, fold: str) -> dict[str, Any]:
    """What the final validation of a fold measured of objects."""
    return read_summary(model, fold, SCORES)


def _unset() -> str:
    unset = [name for name in ("nnUNet_raw", "nnUNet_preprocessed") if not os.environ.get(name)]
    return f" ({' and '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set)" if unset else ""


def _data_folder(variable: str, dataset: str) -> Path | None:
    place = os.environ.get(variable)
    return _inside(Path(place), dataset) if place else None


def _inside(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder is not None and (folder / name).is_dir() else None


def _predictions(fold: Path, ending: str) -> Iterator[Path]:
    folder = fold / VALIDATION
    if folder.is_dir():
        yield from sorted(file for file in folder.iterdir() if file.name.endswith(ending) and file.name[0] != ".")


def _images(raw: Path, ending: str) -> dict[str, tuple[Path, ...]]:
    """Case → the files of its channels; ``dataset.json`` may list them, or they lie in ``imagesTr``."""
    listed = read_optional_object(raw / "dataset.json").get("dataset")
    found: dict[str, tuple[Path, ...]] = {}
    if isinstance(listed, dict):
        for name, case in listed.items():
            files = [raw / file for file in case.get("images", ())] if isinstance(case, dict) else []
            found[name] = tuple(file for file in files if file.is_file())
        return found
    channel = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    folder = raw / "imagesTr"
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := channel.fullmatch(file.name):
            found[match[1]] = (*found.get(match[1], ()), file)
    return found


def _splits(preprocessed: Path | None) -> list[Any]:
    try:
        splits = read_json(preprocessed / "splits_final.json", expected="nnU-Net's splits") if preprocessed else []
    except (InputError, OSError):
        return []
    return splits if isinstance(splits, list) else []


def _expected(splits: list[Any], fold: str) -> list[str]:
    known = fold.isdecimal() and int(fold) < len(splits) and isinstance(splits[int(fold)], dict)
    return [str(name) for name in splits[int(fold)].get("val", [])] if known else []


def _notes_on_folds(folds: list[str], unvalidated: list[str]) -> Iterator[str]:
    if unvalidated:
        one = len(unvalidated) == 1
        yield (
            f"{'Fold' if one else 'Folds'} {format_list(unvalidated)} {'has' if one else 'have'} no predictions "
            f"of a final validation, so no scores of {'it' if one else 'them'} are shown; run nnUNetv2_train "
            "with --val after the training."
        )
    if folds == ["all"] and not unvalidated:
        yield (
            "The only fold is all, which was validated on its training cases: scores on unseen cases will be "
            "lower than those below."
        )


def _notes_on_data(cases: list[ValidatedCase], dataset: str, raw: Path | None, truths: list[Path]) -> Iterator[str]:
    if not cases:
        return
    without = [case.name for case in cases if case.truth is None]
    if without and not truths:
        yield (
            f"The true label maps of {dataset} are in neither nnUNet_preprocessed nor nnUNet_raw{_unset()}, so "
            "the scores are those stored by nnU-Net, and no images are shown."
        )
    elif without:
        yield f"{count(len(without), 'case')} ({format_list(without, 3)}) have no true label map any more."
    pictureless = [case.name for case in cases if not case.images]
    if len(pictureless) == len(cases):
        where = f"in {raw}" if raw is not None else f"in nnUNet_raw{_unset()}"
        yield f"The images of {dataset} are not {where}, so they are not shown."
    elif pictureless:
        yield f"{count(len(pictureless), 'case')} ({format_list(pictureless, 3)}) have no image any more."
