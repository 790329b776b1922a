"""Files in which other tools open a prediction, each kind by its name and by the ending of its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskmed_nnu.api.saving import WRITTEN, write_labels
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances import tool_files as written
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input

if TYPE_CHECKING:
    from maskmed_nnu.api.prediction import Prediction


@dataclass(frozen=True)
class ToolFile:
    """A kind of file: how names of such files end, and in which folder a folder of predictions has them."""

    ending: str
    folder: str
    write: Callable[[Path, Prediction], None]


TOOL_FILES = {
    "geojson": ToolFile(".geojson", "geojson", lambda path, found: written.write_geojson(path, found._findings)),
    "rois": ToolFile(".zip", "rois", lambda path, found: written.write_rois(path, found._findings)),
    "seg.nrrd": ToolFile(".seg.nrrd", "slicer", lambda path, found: written.write_segmentation(path, found._findings)),
    "itksnap": ToolFile(".txt", "itksnap", lambda path, found: written.write_label_descriptions(path, found._findings)),
    "tif": ToolFile(".tif", "tif", write_labels),
}
"""By their names in `Model.predict_folder` and ``maskmed predict --write``."""


def tool_files(names: Sequence[str]) -> list[ToolFile]:
    """The kinds of these names, each once.

    Raises:
        InputError: where there is no such kind.
    """
    unknown = [name for name in names if name not in TOOL_FILES]
    if isinstance(names, str) or unknown:
        what = names if isinstance(names, str) else unknown[0]
        raise InputError(f"{what!r} is not a kind of file to write; give a list of some of {', '.join(TOOL_FILES)}.")
    return [TOOL_FILES[name] for name in dict.fromkeys(names)]


def tool_file_of(path: Path) -> ToolFile | None:
    """The kind of file that ``path`` names by its ending; None for others.

    >>> tool_file_of(Path("a.SEG.NRRD")).folder, tool_file_of(Path("a.nrrd"))
    ('slicer', None)
    """
    return next((kind for kind in TOOL_FILES.values() if path.name.lower().endswith(kind.ending)), None)


def save(path: Path, prediction: Prediction) -> None:
    """Write a label map, or a file for another tool, where a user says.

    Raises:
        InputError: where the format cannot hold what was found, or it would go over the input.
    """
    tool_file = tool_file_of(path)
    if tool_file is None and formats.ending(path) not in WRITTEN:
        others = ", ".join(kind.ending for kind in TOOL_FILES.values() if kind.ending not in WRITTEN)
        raise InputError(
            f"{path} has no file ending of a label map; legal are {', '.join(WRITTEN)}, and for other tools {others}."
        )
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} for {path.name}; make it, or name another.")
    refuse_output_over_input([path], prediction._image.files, advice="name another file")
    refuse_image_folder(path.parent)
    (write_labels if tool_file is None else tool_file.write)(path, prediction)
