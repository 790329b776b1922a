"""What nnU-Net writes in small is complete under its name or not there: JSON, pickles, copies.

nnU-Net opens a file under its name and fills it. A signal or a full disk then leaves half of a ``plans.json`` in the
place of a whole one, and with it a model that cannot be loaded.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically

WRITERS = ("save_json", "write_json", "write_pickle", "save_pickle")
"""Those of ``batchgenerators.utilities.file_and_folder_operations``: what is written, the file, options."""


def wrap_writers(module: Any) -> None:
    """Wrap ``WRITERS``, before nnU-Net's modules bind them."""
    wrapped = {stock: _whole(stock) for stock in (getattr(module, name) for name in WRITERS)}
    for name in WRITERS:
        setattr(module, name, wrapped[getattr(module, name)])


def _whole(stock: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(stock)
    def write(obj: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        write_atomically(Path(file), lambda partial: stock(obj, str(partial), *args, **kwargs))

    return write


@contextmanager
def whole_copies() -> Iterator[None]:
    """In between, ``shutil.copy`` and its kin copy a file whole or not at all.

    So does what nnU-Net copies label maps with, which takes half of one for a newer file and never copies it again.
    """
    stock = shutil.copyfile

    def copyfile(source: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("follow_symlinks", True) and Path(source).is_symlink():
            return stock(source, target, *args, **kwargs)  # a link is made at once
        write_atomically(Path(target), lambda partial: stock(source, partial, *args, **kwargs))
        return target

    with ExitStack() as undo:
        _replace(shutil, "copyfile", copyfile, undo)
        with suppress(ImportError):  # Python 3.12 has it no longer, setuptools has
            _replace(import_module("distutils.file_util"), "_copy_file_contents", copyfile, undo)
        yield


def _replace(module: Any, name: str, function: Any, undo: ExitStack) -> None:
    undo.callback(setattr, module, name, getattr(module, name))
    setattr(module, name, function)
