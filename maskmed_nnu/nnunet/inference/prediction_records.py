"""What predictions were made from, kept beside them: "predicted already" means by this model and from this image.

``predicted_by.json`` describes the model that predicts into a folder, ``predicted_from/NAME.json`` the image that NAME
was predicted from. The record of a case is taken away before its files are written and comes back after the last one,
so that neither a kill nor a full disk leaves a record of something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from annotated_types import MinLen
from pydantic import BaseModel, ValidationError

from maskmed_nnu.errors import InputError
from maskmed_nnu.file_state import content_digest, file_state
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.nnunet.imageio.instance_io import spacing_file
from maskmed_nnu.nnunet.inference.model_record import MODEL_RECORD, json_digest
from maskmed_nnu.version import package_version

CASE_RECORDS = "predicted_from"
NNUNET_RECORD = "predict_from_raw_data_args.json"

CHANGED = "their images have changed since"
DAMAGED = "their files are damaged"
OTHER_FOLDER = "they were predicted from other images of the same names, in {}"
OTHER_MODEL = "they were predicted by another model, or with other options"
OTHER_OPTIONS = "their images were read with other options"
NO_RECORD = "there is no record of the images that they were predicted from"


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
    outputs: dict[str, int]
    """Sizes: where one has changed, somebody has corrected the file, or damaged it."""
    options: dict[str, Any] = {}


def files_read(images: Sequence[Path]) -> list[Path]:
    """The image files of a case, and the json beside them that may tell a volume's spacing."""
    spacing = spacing_file(images[0])
    return [*images, *([spacing] if spacing.is_file() else [])]


def refuse_foreign_files(cases: Sequence[CasePrediction], beside: Sequence[str] = ()) -> None:
    """Refuse to replace files in a folder into which nothing was predicted before, and volumes whose spacing would
    replace what is written beside the maps; ``beside`` names more of that.

    Raises:
        InputError: names the first file.
    """
    own = ("dataset.json", "plans.json", *beside)
    for case in cases:
        spacing = f"{case.name}.json"  # of a volume, beside its map
        flat = not case.outputs or formats.ending(case.outputs[0]) in formats.IMAGE_2D
        if not flat and spacing in (*own, MODEL_RECORD, NNUNET_RECORD):
            raise InputError(
                f"The spacing of {case.inputs[0]} would be written to {case.folder / spacing}, which exists and "
                "is not a spacing file; rename the image."
            )
    outputs: dict[Path, list[Path]] = {}
    for case in cases:
        outputs.setdefault(case.folder, []).extend(case.outputs)
    for folder, paths in outputs.items():
        paths += [folder / name for name in own]
        # the files first: of another process that has just begun to predict here the record is there before them
        found = next((path for path in paths if path.exists()), None)
        if found and not any((folder / name).exists() for name in (MODEL_RECORD, CASE_RECORDS, NNUNET_RECORD)):
            raise InputError(
                f"{found} exists and is not a prediction (nothing was predicted into {folder} before); name another "
                "folder."
            )


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
    return todo, [f"predicted again, because {reason}: {format_list(names)}" for reason, names in again.items()]


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
    outputs = {path.relative_to(case.folder).as_posix(): 0 for path in case.outputs}
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


def withdraw_case(folder: Path, name: str) -> None:
    """Take back what `announce_case` has noted of a case that could not be predicted."""
    _announcement(folder, name).unlink(missing_ok=True)


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
        outputs = {output: (folder / output).stat().st_size for output in announced.outputs}
        record = announced.model_copy(update={"inputs": inputs, "outputs": outputs})
        write_json(_record(folder, name), record.model_dump())
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
    sizes = [record.outputs.get(path.relative_to(case.folder).as_posix()) for path in case.outputs]
    if missing or None in sizes:
        return ""
    edited = [path for path, size in zip(case.outputs, sizes, strict=True) if path.stat().st_size != size]
    return None if all(_can_be_read(path) for path in edited) else DAMAGED


def _can_be_read(path: Path) -> bool:
    """Whether a file of a prediction is what its name says."""
    try:
        if path.suffix == ".json":
            return isinstance(read_json(path, expected="COCO results"), list)
        if formats.ending(path) is not None:
            formats.read(path)
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                return bool(arrays.files)
    except (InputError, OSError, ValueError, BadZipFile):
        return False
    return True


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
