"""From a source of images and objects to an nnU-Net raw data set, complete or not at all."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.file_state import folder_state
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.annotation_quirks import find_quirks
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.case_names import safe_names
from maskmed_nnu.instances.components import split_disconnected
from maskmed_nnu.instances.conversion import partial_folder, source_images
from maskmed_nnu.instances.conversion.layout import (
    CaseSummary,
    DatasetLayout,
    check_class_names,
    choose_layout,
    summarize_case,
)
from maskmed_nnu.instances.conversion.partial_folder import write_text
from maskmed_nnu.instances.conversion.source_case import Annotations, Source, SourceCase
from maskmed_nnu.instances.conversion.summary import summary_lines
from maskmed_nnu.instances.conversion.warnings import warning_lines
from maskmed_nnu.instances.files import write_ids
from maskmed_nnu.instances.instance_map import encode
from maskmed_nnu.instances.label_plausibility import wrapped_ids
from maskmed_nnu.instances.label_values import cast
from maskmed_nnu.instances.text import count
from maskmed_nnu.progress import Report, counted

MAX_REFUSED_SHOWN = 20  # refused objects on the screen
MAX_BROKEN_SHOWN = 10  # kinds of faults
MAX_ALIKE_SHOWN = 3  # of each kind


class Conversion(NamedTuple):
    """Lines on what was read, changed and refused, sentences on what may not be as it was meant, and the cases.

    ``volumes``: whether the images have slices."""

    lines: list[str]
    warnings: list[str]
    cases: list[str]
    volumes: bool


def convert(
    source: Source,
    folder: Path,
    *,
    test: int = 0,
    split: bool = False,
    class_names: Sequence[str] | None = None,
    progress: Report | None = None,
) -> Conversion:
    """Write `source` as the raw data set `folder` (``DatasetXXX_Name``) and return a report.

    Everything is read once to decide how files are laid out, then again to be written, so that memory holds one case
    at a time. The files are written to a folder beside `folder` and renamed at the end; where an earlier run with the
    same input was stopped while writing, it is continued. The last `test` cases by name go to imagesTs and labelsTs.

    `split` gives each piece of a torn object an id of its own; `class_names` name the values of a semantic source.

    Raises:
        InputError: where the folder exists, files are broken, or the cases do not fit into one data set.
    """
    _check_target(folder)
    check_class_names(list(source.classes or class_names or ()), semantic=not source.classes)
    names = case_names(source.cases)
    if not 0 <= test < len(names):
        raise InputError(
            f"test is {test} of {count(len(names), 'case')}, which leaves none for training; keep fewer for the test."
        )
    summaries = _summarize_cases(source, names, split, progress)
    layout = choose_layout(summaries, source.classes, class_names)
    if layout.label_format and not sum(s.counts.sum() for s in summaries):
        reasons = [reason for s in summaries for reason in s.refused]
        hint = f" (the first one dropped: {reasons[0]})" if reasons else ""
        raise InputError(f"No image has an object{hint}; there is nothing to train on.")
    description = layout.dataset_json(folder.name.split("_", 1)[-1], len(names) - test, source.channel_names)
    with partial_folder.writing(folder, _key([description, test, split], summaries)) as partial:
        for index, entry in enumerate(counted(summaries, "writing", progress)):
            _write(source, entry, layout, partial, "Ts" if index >= len(summaries) - test else "Tr")
        warnings = warning_lines(summaries, layout, split=split)
        told = [f"warning    {warning}" for warning in warnings]
        lines = [*summary_lines(summaries, layout, source.notes), *told, "", *_case_sources(summaries)]
        write_text(partial / "conversion.txt", "\n".join(lines))
        write_text(partial / "dataset.json", json.dumps(description, indent=2))
    lines = summary_lines(summaries, layout, source.notes, max_refused=MAX_REFUSED_SHOWN)
    return Conversion(lines, warnings, [entry.name for entry in summaries], len(summaries[0].shape) == 3)


def case_names(cases: Sequence[SourceCase]) -> list[str]:
    """A legal, unique case name for each case: its own without its folder, or with it where that is needed."""
    short = [case.name.replace("\\", "/").rsplit("/", 1)[-1] for case in cases]
    times = Counter(short)
    return safe_names([s if times[s] == 1 else c.name for s, c in zip(short, cases, strict=True)])


def _check_target(folder: Path) -> None:
    if not re.fullmatch(r"Dataset\d{3}_[A-Za-z0-9_-]+", folder.name):
        raise InputError(f"{folder.name} is not a name of an nnU-Net data set; it must look like Dataset010_Cells.")
    check_number_is_free(folder)


def check_number_is_free(folder: Path) -> None:
    """``folder`` is a data set's, ``DatasetXXX_Name``.

    Raises:
        InputError: where a data set of that number is there.
    """
    taken = sorted(p.name for p in folder.parent.glob(f"{folder.name[:10]}_*"))
    if taken:
        raise InputError(
            f"{folder.parent} already holds {taken[0]}; nnU-Net identifies data sets by that number, so take "
            "another number or delete that folder."
        )


def _summarize_cases(source: Source, names: Sequence[str], split: bool, progress: Report | None) -> list[CaseSummary]:
    summaries: list[CaseSummary] = []
    broken: list[tuple[SourceCase, str]] = []
    ordered = sorted(zip(names, source.cases, strict=True), key=lambda pair: pair[0])
    for name, case in counted(ordered, "reading", progress):
        try:
            content = source.read(case)
            quirks, before = find_quirks(content.objects.ids), len(content.objects.classes)
            if split:
                content = _split_objects(content)
            elif content.kept_ids and (evidence := wrapped_ids(content.objects.ids[0])):
                raise InputError(f"{case.files[1]} {evidence} (if it is right, convert with split_pieces).")
            more = len(content.objects.classes) - before
            summaries.append(summarize_case(case, name, content, len(source.classes), quirks=quirks, split=more))
        except InputError as error:
            broken.append((case, str(error)))
    if len(broken) == 1:
        raise InputError(broken[0][1])
    if broken:
        raise InputError(f"{len(broken)} of {len(names)} cases are broken; repair or remove them:{_listed(broken)}")
    return summaries


def _listed(broken: Sequence[tuple[SourceCase, str]]) -> str:
    """The sentences, a line each; of many that differ in names and numbers only, the first ones."""
    kinds: dict[str, list[str]] = {}
    for case, sentence in broken:
        kind = sentence
        for path in (*case.files, case.image):
            kind = kind.replace(str(path), "").replace(path.name, "")
        kinds.setdefault(re.sub(r"\d+", "", kind), []).append(sentence)
    lines = []
    for sentences in list(kinds.values())[:MAX_BROKEN_SHOWN]:
        lines += sentences[:MAX_ALIKE_SHOWN]
        if len(sentences) > MAX_ALIKE_SHOWN:
            lines.append(f"and {len(sentences) - MAX_ALIKE_SHOWN:,} more like these")
    more = sum(len(sentences) for sentences in list(kinds.values())[MAX_BROKEN_SHOWN:])
    return "".join(f"\n  {line}" for line in [*lines, *([f"and {more:,} others"] if more else [])])


def _key(settings: list[Any], summaries: Sequence[CaseSummary]) -> str:
    """What the data set is made from, and how."""
    files = [[s.name, *([str(path.resolve()), *folder_state([path])] for path in s.case.files)] for s in summaries]
    return json.dumps([settings, files])


def _write(source: Source, entry: CaseSummary, layout: DatasetLayout, folder: Path, part: str) -> None:
    label = folder / f"labels{part}" / f"{entry.name}{layout.ending}"
    if label.is_file():  # the last file of a case
        return
    label.parent.mkdir(exist_ok=True)
    content = source.read(entry.case)
    content = _split_objects(content) if entry.split else content
    images = folder / f"images{part}"
    images.mkdir(exist_ok=True)
    geometry, files = content.image.geometry, (entry.case.image, *entry.case.channels)
    for channel, picture in enumerate(layout.channel_images(content.image)):
        target = images / f"{entry.name}_{channel:04d}{layout.ending}"
        if layout.ending not in formats.NIFTI:
            source_images.write(target, picture)
        elif formats.ending(entry.case.image) in formats.NIFTI and len(content.image.channels) == len(files):
            _copy_nifti(files[channel], target)
        else:
            formats.write(target, picture.channels[0], geometry)
    if content.image.spacing is not None and len(content.image.spacing) == 3:  # where nnU-Net looks for it
        for stem in (images / entry.name, label.parent / entry.name):
            write_text(Path(f"{stem}.json"), json.dumps({"spacing": content.image.spacing}))
    write_ids(label, _label_values(content, layout), geometry=geometry)


def _copy_nifti(source: Path, target: Path) -> None:
    """The same file, compressed."""

    def copy(partial: Path) -> None:
        with source.open("rb") as content, partial.open("wb") as file:
            if formats.ending(source) == formats.ending(target):
                shutil.copyfileobj(content, file)
            else:
                with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file) as compressed:
                    shutil.copyfileobj(content, compressed)

    write_atomically(target, copy)


def _split_objects(content: Annotations) -> Annotations:
    return replace(content, objects=split_disconnected(content.objects))


def _label_values(content: Annotations, layout: DatasetLayout) -> Integers:
    """The values [L, *spatial] of the case's label file."""
    if layout.label_format:
        return encode(content.objects, layout.label_format)
    values = np.array([0, *layout.values])  # sorted, and every value of the mask is among them
    return cast(np.searchsorted(values, content.objects.stuff), np.uint8)[None]


def _case_sources(summaries: Sequence[CaseSummary]) -> list[str]:
    return ["case ← file", *(f"{s.name} ← {s.case.image.name}" for s in summaries)]
