"""A folder of images through a model: resumed where it was stopped, never over an input, each fault told at the end."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maskmed_nnu.api.tool_files import TOOL_FILES, ToolFile, tool_files
from maskmed_nnu.atomic_write import remove_partial, write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.output_paths import refuse_data_set_folder, refuse_output_over_input
from maskmed_nnu.progress import Progress, Report

if TYPE_CHECKING:
    from maskmed_nnu.api.model import Model
    from maskmed_nnu.api.prediction import Prediction
    from maskmed_nnu.nnunet.inference.input_cases import Case
    from maskmed_nnu.nnunet.inference.prediction_records import CasePrediction

COCO, OVERLAYS, RESULTS = "coco", "overlays", "predictions_coco.json"
TABLES, TABLE = "objects", "objects.csv"


class Outputs(NamedTuple):
    """Files of one image; None for those that are not written."""

    labels: Path
    table: Path | None
    coco: Path | None
    overlay: Path | None
    probabilities: Path | None
    tools: list[tuple[ToolFile, Path]]
    """Those that other tools open"""

    def paths(self) -> list[Path]:
        own = [self.labels, self.table, self.coco, self.overlay, self.probabilities]
        return [*(path for path in own if path is not None), *(path for _, path in self.tools)]


@dataclass
class FolderSummary:
    """What became of each image, by name."""

    output: Path
    predicted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Predicted before, by this model from these images"""
    failed: dict[str, str] = field(default_factory=dict)
    """The reason for each image that could not be predicted"""
    notes: list[str] = field(default_factory=list)
    """Sentences: what is predicted again and why, warnings once with the names of their images"""
    others: list[str] = field(default_factory=list)
    """Predictions in the folder of images that are not in the input"""
    results: Path | None = None
    """The COCO results of all images"""
    candidates: int | None = None
    """How many results it holds, those with low scores included"""
    table: Path | None = None
    """The table of the objects of all images"""
    objects: int | None = None
    """How many objects it lists: those in the label maps"""


def predict_folder(
    model: Model,
    source: Path,
    output: Path,
    *,
    axes: str | None,
    coco: bool,
    overlays: bool,
    probabilities: bool,
    write: Sequence[str],
    overwrite: bool,
    progress: Report | None,
) -> FolderSummary:
    """See `Model.predict_folder`.

    Raises:
        InputError: before anything is predicted, where model, input or output are at fault; later where the input is
            gone.
    """
    refuse_data_set_folder(output)
    from maskmed_nnu.nnunet.inference.failed_cases import FailedCases
    from maskmed_nnu.nnunet.inference.input_cases import find_cases
    from maskmed_nnu.nnunet.inference.model_record import describe_model
    from maskmed_nnu.nnunet.inference.prediction_records import (
        CasePrediction,
        cases_to_predict,
        files_read,
        recorded_names,
        refuse_foreign_files,
    )

    tools = tool_files(write)
    if probabilities and model.has_objects:
        raise InputError("A model of objects has no probabilities of classes to write; their scores are in coco/.")
    cases = find_cases(source, channels=len(model.channels))
    ending = model.source.dataset_json["file_ending"]
    outputs = [
        Outputs(
            output / f"{case.name}{ending}",
            output / TABLES / f"{case.name}.csv" if model.has_objects else None,
            output / COCO / f"{case.name}.json" if coco else None,
            output / OVERLAYS / f"{case.name}.png" if overlays else None,
            output / f"{case.name}.npz" if probabilities else None,
            [(tool, output / tool.folder / f"{case.name}{tool.ending}") for tool in tools],
        )
        for case in cases
    ]
    reading = {"axes": axes} if axes else {}  # kept in the record of what was predicted from what
    records = [
        CasePrediction(output, case.name, files_read(case.files), files.paths(), reading)
        for case, files in zip(cases, outputs, strict=True)
    ]
    _check_output(output, source, model.source.path, records)
    refuse_foreign_files(records, beside=[RESULTS, TABLE])
    described = describe_model(model._load())
    summary = FolderSummary(output)
    folders = [
        *([TABLES] if model.has_objects else []),
        *([COCO] if coco else []),
        *([OVERLAYS] if overlays else []),
        *(tool.folder for tool in tools),
    ]
    summary.notes += _prepare(model, output, described, folders=folders, overwrite=overwrite)
    todo = list(range(len(cases)))
    if not overwrite:
        todo, lines = cases_to_predict(records, described)
        summary.notes += lines
    summary.kept = [case.name for index, case in enumerate(cases) if index not in set(todo)]
    remove_partial({path for index in todo for path in records[index].outputs})
    failed, told = FailedCases(source), list[tuple[str, str]]()
    summary.failed = failed.reasons
    for done, index in enumerate(todo):
        name = cases[index].name
        if progress is not None:
            progress(Progress("predicting", done, len(todo), name))
        with failed.noted(name, output):
            told += [
                (name, note)
                for note in _predict_case(model, cases[index], outputs[index], records[index], described, axes)
            ]
            summary.predicted.append(name)
    if progress is not None and todo:
        progress(Progress("predicting", len(todo), len(todo)))
    summary.notes += _summed_up(told)
    summary.others = sorted(set(recorded_names(output)) - {case.name for case in cases})
    complete = [files for case, files in zip(cases, outputs, strict=True) if case.name not in summary.failed]
    if model.has_objects:
        summary.table = output / TABLE
        tables = [files.table for files in complete if files.table is not None]
        summary.objects = _join_tables(tables, summary.table)
    if coco:
        parts = [read_json(files.coco, expected="COCO results") for files in complete if files.coco is not None]
        results = [result for part in parts for result in part]
        write_json(output / RESULTS, results)
        summary.results, summary.candidates = output / RESULTS, len(results)
    return summary


def _predict_case(
    model: Model, case: Case, outputs: Outputs, record: CasePrediction, described: dict[str, Any], axes: str | None
) -> list[str]:
    """Predict one image, write its outputs and record what they are from; notes about it.

    Raises:
        InputError: where the image cannot be read or predicted; then nothing is written.
    """
    from PIL import Image

    from maskmed_nnu.api.saving import write_labels
    from maskmed_nnu.nnunet.inference.prediction_records import announce_case, recording

    if case.fault:
        raise InputError(case.fault)
    announce_case(record, described)
    image = model._reader().read(case.files, spacing=None, axes=axes)
    if image.data.shape[1] > 1 and formats.ending(outputs.labels) in formats.IMAGE_2D:
        raise InputError(
            f"{case.files[0]} is a volume of {image.data.shape[1]} slices, but this model writes its maps as "
            f"{outputs.labels.suffix}, of one plane each; predict its slices as images of their own."
        )
    result = model._predict(image, keep_logits=outputs.probabilities is not None)
    with recording(record.folder, case.name, model._load().plans_manager.plans):
        if outputs.overlay is not None:
            write_atomically(outputs.overlay, Image.fromarray(result._picture()[0]).save)
        if outputs.table is not None:
            _write_table(outputs.table, result, case.name)
        if outputs.coco is not None:
            write_json(outputs.coco, result.to_coco(case.name, min_score=0))
        if outputs.probabilities is not None:
            assert result._make_probabilities is not None, "objects have none"
            stored = result._make_probabilities()
            write_atomically(outputs.probabilities, partial(np.savez_compressed, probabilities=stored))
            pickled = pickle.dumps(result._properties)
            write_atomically(outputs.probabilities.with_suffix(".pkl"), lambda path: path.write_bytes(pickled))
        for tool, path in outputs.tools:
            tool.write(path, result)
        write_labels(outputs.labels, result)
    return result.notes


def _write_table(path: Path, result: Prediction, name: str) -> None:
    table = result.to_table()
    table.insert(0, "image", name)
    write_atomically(path, lambda partial: table.to_csv(partial, index=False, float_format="%.7g", errors="replace"))


def _join_tables(tables: Sequence[Path], joined: Path) -> int:
    """One table of all images, number for number; columns that only some have are empty elsewhere. How many rows."""
    import pandas

    parts = [pandas.read_csv(path, dtype=str, keep_default_na=False) for path in tables]
    parts = parts or [pandas.DataFrame(columns=["image", "id", "class", "score"])]
    whole = pandas.concat(parts, ignore_index=True)
    write_atomically(joined, lambda partial: whole.to_csv(partial, index=False))
    return len(whole)


def _check_output(output: Path, source: Path, model: Path, records: list[CasePrediction]) -> None:
    """Refuse to write over the images or the model, or among the images.

    Raises:
        InputError: says which output is which input.
    """
    folders = [
        output,
        *(output / name for name in (TABLES, COCO, OVERLAYS, *(tool.folder for tool in TOOL_FILES.values()))),
    ]
    written = [path for case in records for path in case.outputs]
    written += [output / name for name in (RESULTS, TABLE, "plans.json", "dataset.json")]
    images = [path for case in records for path in case.inputs]
    sources = {folder for path in images for folder in (path.parent, path.resolve().parent)} | {source, model}
    refuse_output_over_input([*folders, *written], [*sources, *images, model / "plans.json", model / "dataset.json"])


def _prepare(
    model: Model, output: Path, described: dict[str, Any], *, folders: Sequence[str], overwrite: bool
) -> list[str]:
    """The output folder with what nnU-Net puts there, and with the model that predicts into it."""
    from maskmed_nnu.nnunet.inference.model_record import check_model_record, write_model_record

    predictor = model._load()
    plans = predictor.plans_manager.plans
    checkpoint = getattr(model.source, "checkpoint", None)
    named = {"model": model.source.name, "folds": model.folds, **({"checkpoint": checkpoint} if checkpoint else {})}
    note = ""
    if not overwrite:
        note = check_model_record(output, described, plans, advice="name a new folder, or overwrite them", named=named)
    output.mkdir(parents=True, exist_ok=True)
    for name in folders:
        (output / name).mkdir(exist_ok=True)
    write_model_record(output, described, named)
    write_json(output / "dataset.json", predictor.dataset_json, indent=2)
    write_json(output / "plans.json", plans, indent=2)
    return [note.rstrip("\n")] if note else []


def _summed_up(told: list[tuple[str, str]]) -> list[str]:
    """Each kind of warning once, for the first image, with the names of the others; other numbers are no other kind."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for name, sentence in told:
        kinds.setdefault(re.sub(r"\d+", "", sentence.replace(name, "")), []).append((name, sentence))
    return [
        f"{alike[0][0]}: {alike[0][1]}"
        + (
            f" The same applies to {len(alike) - 1} more: {format_list(name for name, _ in alike[1:])}."
            if alike[1:]
            else ""
        )
        for alike in kinds.values()
    ]
