"""Files that are complete under their name or not there at all, whatever ends the writing: a signal, a full disk."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskmed_nnu.signals import held_back

LITTLE_SPACE = 2**20  # bytes
PARTIAL = re.compile(r"\.\d+\.partial\.")
"""What stands before a file's name while it is written."""
LACKS_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


def remove_partial(files: Collection[Path]) -> None:
    """Remove what processes left behind that were killed while they wrote one of ``files``."""
    for folder in {path.parent for path in files}:
        for partial in folder.glob(".*.partial.*"):
            if partial.with_name(PARTIAL.sub("", partial.name)) in files:
                _remove(partial)


def write_atomically(
    path: Path, write_to: Callable[[Path], object], *, durable: bool = False, needed: int | None = None
) -> None:
    """Let ``write_to`` fill a file of another name (and the same ending) beside ``path``; rename it once complete.

    With ``durable`` it is on the disk before that: a machine that loses its power has the old file or the new one.
    ``needed`` is its size in bytes, where that is known before. Signals wait until the file is written.

    Raises:
        OSError: names ``path``. What the disk refuses is told as such, where libraries have no number or a
            `RuntimeError` for it.
    """
    with held_back(), _beside(path, needed) as partial:
        partial.open("wb").close()  # so that a folder that is missing or closed is told alike by every library
        write_to(partial)
        if durable:
            _flush(partial)
        os.replace(partial, path)
        if durable and os.name != "nt":
            _flush(path.parent)


@contextmanager
def files_atomically(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside ``path``, for this file and others that belong to it; what is in it at the end
    moves up.

    Raises:
        OSError: as `write_atomically`.
    """
    with _beside(path, None) as partial:
        partial.mkdir()
        yield partial
        with held_back():
            for file in sorted(partial.iterdir()):
                os.replace(file, path.with_name(file.name))


@contextmanager
def _beside(path: Path, needed: int | None) -> Iterator[Path]:
    """The name beside ``path`` that is gone at the end."""
    # a number by chance: processes on other machines, or in other containers, may have the same one
    partial = path.with_name(f".{secrets.randbelow(10**9)}.partial.{path.name}")
    try:
        yield partial
    except (OSError, RuntimeError) as error:
        number = _number(error) or _refusal(partial)
        if number is None:
            raise
        told = error if isinstance(error, OSError) and error.errno else OSError(number, os.strerror(number))
        if told.filename is None or str(told.filename) == str(partial):
            told.filename = str(path)
        elif Path(told.filename).parent == partial:
            told.filename = str(path.with_name(Path(told.filename).name))
        if number in LACKS_SPACE:
            sys.unraisablehook = _without_full_disks
            vars(told).update(needed=needed, written=_size(partial), intact=path.exists())
        if told is error:
            raise
        raise told from error
    finally:
        with suppress(OSError):  # on a disk that fails, the failure that came first is told
            _remove(partial)


def _without_full_disks(said: sys.UnraisableHookArgs) -> None:
    """What objects of libraries meet when they are thrown away and close their files: the failure is told already."""
    if not (isinstance(said.exc_value, OSError) and said.exc_value.errno in LACKS_SPACE):
        sys.__unraisablehook__(said)


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial)
    else:
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """To the disk; of a folder, the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that cannot
            raise
    finally:
        os.close(descriptor)


def _number(error: BaseException | None) -> int | None:
    """That of the first error of the system among ``error`` and what it came from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _refusal(partial: Path) -> int | None:
    """What the disk says to a little more, where a library did not tell why it stopped."""
    probe = partial / "probe" if partial.is_dir() else partial
    try:
        with probe.open("ab") as file:
            file.write(bytes(LITTLE_SPACE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno
    return None


def _size(partial: Path) -> int:
    """Bytes that found room."""
    with suppress(OSError):
        files: Iterable[Path] = partial.iterdir() if partial.is_dir() else [partial]
        return sum(file.stat().st_size for file in files)
    return 0
