"""nnU-Net's three folders, and which data set in them a number or name means."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

from maskmed_nnu.nnunet.preflight.faults import Fault, named

VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def environment_faults(*, reads: str, writes: str | None = None) -> Iterator[Fault]:
    """``reads`` and ``writes`` name the variables of the folders that a command needs."""
    for variable in filter(None, (reads, writes)):
        value = os.environ.get(variable)
        if not value:
            yield Fault(variable, "is not set", f"export {variable}=FOLDER")
        elif variable == writes:
            yield from writable_faults(Path(value), variable)
        elif not Path(value).is_dir():
            what = "is a file" if Path(value).exists() else "does not exist"
            yield Fault(variable, f"{value} {what}", "set the variable to the folder of the data sets")


def writable_faults(folder: Path, where: str) -> Iterator[Fault]:
    """Whether files can be made in ``folder``, which may be missing yet; nothing is written."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not existing.is_dir():
        yield Fault(where, f"{existing} is not a folder", "name a folder, or move that file away")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield Fault(
            where, f"no permission to write into {existing}", "name another folder, or ask its owner for permission"
        )


def folder_of(variable: str) -> Path | None:
    """The existing folder that an environment variable names."""
    value = os.environ.get(variable)
    return Path(value) if value and Path(value).is_dir() else None


def find_data_set(data_set: str, *, inside: str) -> str | None:
    """The folder that a number or name means inside one of nnU-Net's; None where there is none, or several."""
    parent = folder_of(inside)
    if parent is None or not (data_set.isdigit() or data_set.startswith("Dataset")):
        return None
    pattern = f"Dataset{int(data_set):03d}*" if data_set.isdigit() else glob.escape(data_set)
    found = [path.name for path in parent.glob(pattern) if path.is_dir()]
    return found[0] if len(found) == 1 else None


def data_set_faults(data_set: str, *, inside: str, option: str) -> list[Fault]:
    """Why nnU-Net would not find a data set, looked up as it does: by a name, or by a number in all its folders."""
    if not (data_set.isdigit() or data_set.startswith("Dataset")):
        what = f"{data_set} is neither the number nor the name of a data set"
        return [Fault(option, what, "name it as in 10 or Dataset010_NAME")]
    start = f"Dataset{int(data_set):03d}" if data_set.isdigit() else data_set
    found = _everywhere(start) if data_set.isdigit() else {}
    if len(found) > 1:
        places = " and ".join(f"{name} (in {', '.join(variables)})" for name, variables in found.items())
        cure = "rename or remove all but one; a data set must have the same name in all three folders"
        return [Fault(option, f"{len(found)} data sets have the number {data_set}: {places}", cure)]
    parent = folder_of(inside)
    if parent is None or find_data_set(data_set, inside=inside) is not None:
        return []
    what = f"there is no {start}{'_…' if data_set.isdigit() else ''} in {inside}={parent}"
    if found and inside in MADE_BY:
        return [Fault(option, f"{what}, only in {named(next(iter(found.values())))}", MADE_BY[inside])]
    others = sorted(path.name for path in parent.iterdir() if path.is_dir() and path.name.lower().startswith("dataset"))
    near = [name for name in others if data_set.isdigit() and _number(name) == int(data_set)]
    if near:
        cure = f"rename {near[0]}: names are as in {start}_NAME, with three digits"
    else:
        cure = (
            f"take one of the existing ones, {named(others)}"
            if others
            else MADE_BY.get(inside, "put the data set there")
        )
    return [Fault(option, what, cure)]


MADE_BY = {
    "nnUNet_preprocessed": "run nnUNetv2_plan_and_preprocess first",
    "nnUNet_results": "train a model with nnUNetv2_train first",
}


def _everywhere(start: str) -> dict[str, list[str]]:
    """Data sets whose names begin so, and the variables of the folders that have them."""
    found: dict[str, list[str]] = {}
    for variable in VARIABLES:
        folder = folder_of(variable)
        for path in sorted(folder.glob(f"{start}*")) if folder is not None else ():
            if path.is_dir():
                found.setdefault(path.name, []).append(variable)
    return found


def _number(name: str) -> int | None:
    match = re.match(r"dataset_?0*(\d+)(?!\d)", name, re.IGNORECASE)
    return int(match[1]) if match else None
