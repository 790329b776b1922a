"""An image that cannot be predicted costs a sentence; the others are predicted. So do both commands that predict."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.machine_errors import explain
from maskmed_nnu.nnunet.inference.prediction_records import withdraw_case

OF_ONE_FILE = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EFBIG)
"""Errors that prevent one output; a full disk prevents all."""


class FailedCases:
    """``reasons``: why images could not be predicted, by their names; ``total``: how many there are with the others.
    ``source`` is the folder, or the image, that they come from."""

    def __init__(self, source: Path | None = None) -> None:
        self.source = source
        self.reasons: dict[str, str] = {}
        self.total = 0

    @contextmanager
    def noted(self, name: str, folder: Path) -> Iterator[None]:
        """Within, what goes wrong with the image ``name``, which is predicted into ``folder``, becomes its reason.

        Raises:
            InputError: where the source is gone.
            Exception: where it is no matter of one image, so that the others would fail as well.
        """
        try:
            yield
        except Exception as error:
            reason = reason_of(error)
            if reason is None:
                raise
            self.add(name, folder, reason)

    def add(self, name: str, folder: Path, reason: str) -> None:
        """Note it.

        Raises:
            InputError: where the source is gone, which is the reason then.
        """
        if self.source is not None and not self.source.exists():
            raise InputError(
                f"{self.source} or its disk is gone; run the same command once it is back, to continue."
            ) from None
        self.reasons[name] = reason
        withdraw_case(folder, name)


def reason_of(error: Exception) -> str | None:
    """Why this image could not be predicted, in one line; None where the reason is the machine.

    What nobody has foreseen is told with its traceback.
    """
    if isinstance(error, InputError):
        return str(error).replace("\n", " ")
    if isinstance(error, MemoryError):
        return explain(error)
    if isinstance(error, OSError):
        return explain(error) if error.errno in OF_ONE_FILE else None
    if isinstance(error, RuntimeError) and "CUDA" in str(error):  # after which the device answers nothing
        return None
    traceback.print_exception(error)
    said = next(iter(str(error).strip().splitlines()), "no reason given")
    return f"{type(error).__name__}: {said} (unexpected; the traceback is printed above, please report it)."


def failure_lines(reasons: Mapping[str, str]) -> list[str]:
    """A line for each image, in the order of their names."""
    return [f"{name}: {reasons[name]}" for name in sorted(reasons)]


def refuse_failed(reasons: Mapping[str, str], total: int) -> None:
    """End a command whose `failure_lines` were printed.

    Raises:
        InputError: where there are any.
    """
    if reasons:
        raise InputError(
            f"{len(reasons)} of {total} images could not be predicted; the reason for each is printed above."
        )
