"""SimpleITK, whose readers take turns in this process; the package imports it from here alone.

SimpleITK reads without Python's lock, but ITK's reader of NIfTI keeps the name of the last file in a variable that all
threads share. Two threads that read a header at the same moment end the process now and then ("double free",
SimpleITK#74).
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import SimpleITK as sitk

__all__ = ["sitk"]

_turn = threading.RLock()


def _in_turn(read: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(read)
    def read_in_turn(*args: Any, **kwargs: Any) -> Any:
        with _turn:
            return read(*args, **kwargs)

    return read_in_turn


def _take_turns(reader: Any) -> None:
    """So do nnU-Net's readers and `SimpleITK.ReadImage`, which use these classes."""
    for name in {"Execute", "ReadImageInformation"} & set(vars(reader)):
        setattr(reader, name, _in_turn(getattr(reader, name)))


_take_turns(sitk.ImageFileReader)
_take_turns(sitk.ImageSeriesReader)
if hasattr(os, "register_at_fork"):  # a forked process has no thread that would end its turn
    os.register_at_fork(before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_turn.release)
