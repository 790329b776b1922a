"""Where a model that is handed on may be written, and what writing it needs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.nnunet.inference.model_source import ModelSource
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input


def need_packages(what: str, *names: str) -> None:
    """Refuse to go on without packages of the extra ``export``.

    Raises:
        InputError: names those that are missing.
    """
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        raise InputError(
            f"{what} needs {format_list(missing)}, which is not installed; install it with pip install "
            "'maskmed-nnu[export]'."
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a name with a dot, the first part
        return False


def check_output(path: Path, model: ModelSource, *, ending: str, kind: str, is_ours: Callable[[Path], bool]) -> None:
    """Refuse a file that is no place for a model; ``is_ours`` says whether one that exists may be replaced.

    Raises:
        InputError: says why, and what to name instead.
    """
    if path.suffix.lower() != ending:
        raise InputError(f"{path} does not end with {ending}; name the {kind} {path.stem}{ending}.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path.absolute().parent} is not a folder; make it, or name another file.")
    refuse_output_over_input([path], [model.path], advice="name another file")
    if model.path in path.resolve().parents:
        raise InputError(f"{path} is in the folder of the model; name a file elsewhere.")
    refuse_image_folder(path.parent)
    if path.exists() and not (path.is_file() and is_ours(path)):
        article = "an" if kind[0] in "AEIOaeio" else "a"
        raise InputError(f"{path} exists and is not {article} {kind}, so it is not replaced; name another file.")
