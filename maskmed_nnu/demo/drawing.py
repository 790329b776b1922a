"""Folders of drawn images, drawn again where one of their files has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from maskmed_nnu.file_state import folder_state
from maskmed_nnu.json_file import read_json, write_json


def draw(
    folder: Path, write: Callable[..., None], *, tell: Callable[[str], object], made_from_it: Path | None = None
) -> Path:
    """What `write` draws into `folder`, unless it stands there as it was drawn; then `made_from_it` is removed."""
    state = folder.parent / f"{folder.name}.drawn.json"
    if state.is_file():
        if read_json(state, expected="the state of the generated files") == folder_state([folder]):
            return folder
        tell(f"\nFiles in {folder} have changed")
    tell(f"\nDrawing into {folder}")
    if made_from_it is not None:
        shutil.rmtree(made_from_it, ignore_errors=True)
    write(folder, report=tell)
    write_json(state, folder_state([folder]))
    return folder
