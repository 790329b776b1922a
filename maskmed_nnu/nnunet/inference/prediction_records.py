"""What predictions were made from, kept beside them: "predicted already" means by this model and from this image.

``predicted_by.json`` describes the model that predicts into a folder, ``predicted_from/NAME.json`` the image that NAME
was predicted from. The record of a case is taken away before its files are written and comes back after the last one,
so that neither a kill nor a full disk leaves a record of something else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import torch
from annotated_types import MinLen
from pydantic import BaseModel, ValidationError

from maskmed_nnu.errors import InputError
from maskmed_nnu.file_state import content_digest, file_state
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.version import package_version

MODEL_RECORD, CASE_RECORDS = "predicted_by.json", "predicted_from"
NNUNET_RECORD = "predict_from_raw_data_args.json"

CHANGED = "their images have changed since"
OTHER_FOLDER = "they were predicted from other images of the same names, in {}"
OTHER_MODEL = "another model, or one with other options, has predicted them"
OTHER_OPTIONS = "their images were read with other options"
NO_RECORD = "there is no record of what they were predicted from"


class CasePrediction(NamedTuple):
    """A case to predict: its name, the files that it is read from and how, and all files that are written."""

    folder: Path
    name: str
    inputs: Sequence[Path]
    outputs: Sequence[Path]
    options: Mapping[str, Any] = MappingProxyType({})


class _InputFile(BaseModel):
    state: tuple[str, int, int, int]
    digest: str = ""


class _CaseRecord(BaseModel):
    model: str
    plans: str
    maskmed_nnu: str
    inputs: Annotated[list[_InputFile], MinLen(1)]
    outputs: list[str]
    options: dict[str, Any] = {}


# ------------------------------------------------------------------------------------------------------- the model
def describe_model(predictor: Any) -> dict[str, Any]:
    """What of nnU-Net's predictor decides about a prediction: weights, plans and options, not where they lie."""
    states = predictor.list_of_parameters or [predictor.network.state_dict()]
    settings = [predictor.dataset_json, predictor.configuration_manager.configuration]
    return {
        "trainer": predictor.trainer_name,
        "weights": sorted(_weights_digest(state) for state in states),
        "plans": json_digest(predictor.plans_manager.plans),
        "settings": json_digest(settings),
        "mirrored_axes": list(predictor.allowed_mirroring_axes or ()) if predictor.use_mirroring else [],
        "tile_step_size": predictor.tile_step_size,
        "gaussian": predictor.use_gaussian,
    }


def check_model_record(
    folder: Path, model: Mapping[str, Any], plans: Mapping[str, Any], *, named: Mapping[str, Any], advice: str
) -> str:
    """Refuse to add to predictions of another model; ``named`` is what else the record says of it.

    Where the record is damaged or missing, another ``plans.json`` tells another model. Version 0.1 knew models by what
    is ``named`` only. Returns a line about a damaged record, or an empty one.

    Raises:
        InputError: says what differs, and ends with ``advice``.
    """
    file = folder / MODEL_RECORD
    kept, ours, decisive = _read_mapping(file), {**named, **model}, set(model)
    if kept is None:
        file = folder / "plans.json"
        kept = {"plans": _read_mapping(file)}
        ours = {"plans": plans} if kept["plans"] else {}
    elif "weights" not in kept:
        decisive = set(named)
    differing = [key for key in ours if key in kept and json_digest(kept[key]) != json_digest(ours[key])]
    if decisive.intersection(differing):
        raise InputError(
            f"{folder} holds predictions of another model or other folds or options ({file} differs in "
            f"{format_list(differing)}); {advice}."
        )
    damaged = file.name != MODEL_RECORD and (folder / MODEL_RECORD).exists()
    return f"{folder / MODEL_RECORD} is damaged and written anew\n" if damaged else ""


def write_model_record(folder: Path, model: Mapping[str, Any], named: Mapping[str, Any]) -> None:
    """Say which model predicts into the folder from now on."""
    write_json(folder / MODEL_RECORD, {**named, **model, "maskmed_nnu": package_version()}, indent=2)


def refuse_foreign_files(cases: Sequence[CasePrediction], beside: Sequence[str] = ()) -> None:
    """Refuse to replace files in a folder into which nothing was predicted before; ``beside`` names more of them.

    Raises:
        InputError: names the first file.
    """
    outputs: dict[Path, list[Path]] = {}
    for case in cases:
        outputs.setdefault(case.folder, []).extend(case.outputs)
    for folder, paths in outputs.items():
        paths += [folder / name for name in ("dataset.json", "plans.json", *beside)]
        if not any((folder / name).exists() for name in (MODEL_RECORD, CASE_RECORDS, NNUNET_RECORD)):
            found = next((path for path in paths if path.exists()), None)
            if found:
                raise InputError(
                    f"{found} exists and is no prediction (nothing was predicted into {folder} before); name another "
                    "folder."
                )


# -------------------------------------------------------------------------------------------------------- the cases
def cases_to_predict(cases: Sequence[CasePrediction], model: Mapping[str, Any]) -> tuple[list[int], list[str]]:
    """Indices of the cases that are not predicted yet from these files by this model, and a line for each reason to
    predict one again."""
    todo: list[int] = []
    again: dict[str, list[str]] = {}
    key = json_digest(model)
    for index, case in enumerate(cases):
        reason = _reason_to_predict(case, key)
        if reason is not None:
            todo.append(index)
        if reason:
            again.setdefault(reason, []).append(case.name)
    return todo, [again_line(names, reason) for reason, names in again.items()]


def again_line(names: Sequence[str], reason: str) -> str:
    """A line that says which cases are predicted again, and why."""
    return f"predicted again, because {reason}: {format_list(names)}"


def announce_case(case: CasePrediction, model: Mapping[str, Any]) -> None:
    """Note the files that a case is about to be read from; `recording` makes a record of it.

    Raises:
        InputError: where one of them cannot be read.
    """
    try:
        inputs = [_InputFile(state=file_state(path)) for path in case.inputs]
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); {case.name} is predicted from it, so check the file "
            "and its drive."
        ) from None
    outputs = [path.relative_to(case.folder).as_posix() for path in case.outputs]
    record = _CaseRecord(
        model=json_digest(model),
        plans=model["plans"],
        maskmed_nnu=package_version(),
        inputs=inputs,
        outputs=outputs,
        options=dict(case.options),
    )
    path = _announcement(case.folder, case.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record.model_dump())


@contextmanager
def recording(folder: Path, name: str, plans: Mapping[str, Any]) -> Iterator[list[Path]]:
    """Around the writing of a case's files, whose list it gives. There is no record while they are written.

    Nor is there one afterwards where one of the images was changed in the meantime, or where there was no
    `announce_case` for a model of these ``plans``: other networks may write files of the same names.
    """
    announced = _read_record(_announcement(folder, name))
    _record(folder, name).unlink(missing_ok=True)
    if announced is None or announced.plans != json_digest(plans):
        yield []
        return
    yield [folder / output for output in announced.outputs]
    try:
        inputs = [_InputFile(state=file.state, digest=content_digest(file.state[0])) for file in announced.inputs]
        unchanged = all(file_state(file.state[0]) == file.state for file in inputs)
    except OSError:
        unchanged = False
    if unchanged:
        write_json(_record(folder, name), announced.model_copy(update={"inputs": inputs}).model_dump())
    _announcement(folder, name).unlink(missing_ok=True)


def recorded_names(folder: Path) -> list[str]:
    """The cases that have a record in the folder."""
    return sorted(path.stem for path in (folder / CASE_RECORDS).glob("[!.]*.json"))


def _reason_to_predict(case: CasePrediction, key: str) -> str | None:
    """None where nothing is left to do; an empty reason where there is no prediction yet, or only a part of it."""
    missing = [path for path in case.outputs if not path.is_file()]
    if len(missing) == len(case.outputs):
        return ""
    record = _read_record(_record(case.folder, case.name))
    if record is None:
        return NO_RECORD
    if record.model != key:
        return OTHER_MODEL
    if not _same_files(record.inputs, case.inputs):
        before = Path(record.inputs[0].state[0]).parent
        return CHANGED if before == case.inputs[0].absolute().parent else OTHER_FOLDER.format(before)
    if record.options != dict(case.options):
        return OTHER_OPTIONS
    if missing or not {path.relative_to(case.folder).as_posix() for path in case.outputs} <= set(record.outputs):
        return ""
    return None


def _same_files(recorded: Sequence[_InputFile], paths: Sequence[Path]) -> bool:
    try:
        return len(recorded) == len(paths) and all(
            (state := file_state(path)) == file.state
            or (state[1] == file.state[1] and content_digest(path) == file.digest)
            for file, path in zip(recorded, paths, strict=True)
        )
    except OSError:
        return False


def _record(folder: Path, name: str) -> Path:
    return folder / CASE_RECORDS / f"{name}.json"


def _announcement(folder: Path, name: str) -> Path:
    return folder / CASE_RECORDS / f".{name}.json"


def _read_record(path: Path) -> _CaseRecord | None:
    """None where it is missing or damaged, which makes the case one to predict."""
    try:
        return _CaseRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def _read_mapping(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path, expected="a JSON object") if path.is_file() else None
    except InputError:
        return None
    return content if isinstance(content, dict) else None


def json_digest(content: Any) -> str:
    """The same for contents that are the same in JSON."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _weights_digest(state: Mapping[str, Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
