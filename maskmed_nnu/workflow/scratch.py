"""Preprocessed data on a node's own disk: copied once per node, used by all jobs that run there."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.file_state import folder_state
from maskmed_nnu.json_file import read_json, read_optional_object, write_json
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.workflow.job_records import Record
from maskmed_nnu.workflow.study import Study

COPIED = ".copied.json"
"""Beside a copy that is complete: what it was made from."""
SPARE = 1.1
"""Of a disk's free bytes, so many times the copy's."""


@contextmanager
def staged(study: Study, training: tuple[str, str] | None, tell: Callable[[str], object]) -> Iterator[dict[str, str]]:
    """Variables that lead nnU-Net to a copy of the images of a ``training``, plans and configuration, on this node.

    There are none where the study names no scratch, or the disk has no room; then the shared folder is used. Jobs that
    start at the same time wait for the one that copies.
    """
    place = _place(study) if training is not None else None
    if place is None or training is None:
        yield {}
        return
    source, target = study.preprocessed, place / study.config.dataset
    plans = read_json(source / f"{training[0]}.json", expected="nnU-Net's plans")
    data = str(resolve_configuration(plans, training[1])["data_identifier"])
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = Record(place / "copying")
        with lock.alone(lambda _: tell(f"waiting for another job that copies to {place}")):
            _copy_small_files(source, target)
            complete = all(_copy_folder(source / name, target, tell) for name in (data, "gt_segmentations"))
    except OSError as error:
        tell(f"nothing is copied to {place} ({error.strerror}): the shared folder is used")
        complete = False
    yield {"nnUNet_preprocessed": str(place)} if complete else {}


def _place(study: Study) -> Path | None:
    """Of this study's data; ``$TMPDIR`` and the like mean what they do on the node.

    Raises:
        InputError: where such a variable is not set there.
    """
    if study.config.scratch is None:
        return None
    scratch = os.path.expanduser(os.path.expandvars(study.config.scratch))
    if "$" in scratch:
        raise InputError(
            f"scratch in {study.folder / 'config.yaml'} is {study.config.scratch}, but {scratch} has a variable that "
            "is not set on this node; name a folder that is there on all nodes, or null."
        )
    key = hashlib.blake2b(str(study.preprocessed).encode(), digest_size=6).hexdigest()
    return Path(scratch).absolute() / f"maskmed_{key}"


def _copy_small_files(source: Path, target: Path) -> None:
    """Plans, splits and the like, which are renamed into their place: others may be reading them."""
    target.mkdir(exist_ok=True)
    for file in source.glob("[!.]*.json"):
        write_atomically(target / file.name, functools.partial(shutil.copy2, file))


def _copy_folder(source: Path, target: Path, tell: Callable[[str], object]) -> bool:
    """Copy a folder, unless it is there, made from the files that are in `source` now; False where it has no room."""
    state = {"files": folder_state([source])}
    note = target / f"{source.name}{COPIED}"
    if read_optional_object(note) == state:
        return True
    size = sum(int(str(file[1])) for file in state["files"] if len(file) > 1)
    note.unlink(missing_ok=True)
    for old in (target / source.name, target / f".{source.name}.partial"):
        shutil.rmtree(old, ignore_errors=True)
    if shutil.disk_usage(target).free < SPARE * size:
        tell(f"{target} has no room for {size / 1e9:.1f} GB: the shared folder is used")
        return False
    shutil.copytree(source, target / f".{source.name}.partial")
    os.replace(target / f".{source.name}.partial", target / source.name)
    write_json(note, state)
    tell(f"{source} was copied to {target} ({size / 1e9:.1f} GB)")
    return True
