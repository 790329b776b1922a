"""Signals that ask a process to end: a scheduler's before it kills, Ctrl-C, a terminal that closes.

A command ends with one sentence and status 128 + the signal's number, as shells tell it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = tuple(
    signal.Signals[name]
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")  # the last one is what Slurm's --signal=USR1@600 sends
    if name in signal.Signals.__members__
)
_PR_SET_PDEATHSIG = 1
Handlers = dict[signal.Signals, Any]
_contexts: list[Handlers] = []
"""The handlers before each of the contexts below that are open, the innermost last."""
_kept: list[bool] = []
"""As many as contexts of `forks_keep_handlers` are open."""


class Interrupted(SystemExit):
    """A signal ended the command: no failure, and nothing that an ``except Exception`` stops.

    ``number`` is the signal's, ``sentence`` what there is to say about it, None where it was said already.
    """

    def __init__(self, number: int, sentence: str | None = "") -> None:
        super().__init__(128 + number)
        self.number, self.sentence = number, sentence


class Request:
    """``number`` is that of the first signal that came, None before."""

    number: int | None = None


def name_of(number: int) -> str:
    """
    >>> name_of(15)
    'SIGTERM'
    """
    return signal.Signals(number).name


@contextmanager
def raising() -> Iterator[None]:
    """A signal raises `Interrupted` in the main thread; while what it began ends, only Ctrl-C does so again."""
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1 or number == signal.SIGINT:
            raise Interrupted(number)

    with _handled(stop):
        yield


@contextmanager
def noted(tell: Callable[[int], object] | None = None) -> Iterator[Request]:
    """Signals are written down, and the work decides when it ends; ``tell`` is called with each of them."""
    request = Request()

    def note(number: int, frame: FrameType | None) -> None:
        request.number = request.number or number
        if tell is not None:
            tell(number)

    with _handled(note):
        yield request


@contextmanager
def held_back() -> Iterator[None]:
    """Signals that come in between do afterwards what they would have done."""
    request = Request()
    try:
        with noted() as request:
            yield
    finally:
        if request.number is not None:
            signal.raise_signal(request.number)


def end_with_parent(number: int = getattr(signal, "SIGKILL", signal.SIGTERM)) -> None:
    """This process gets the signal when its parent dies, of whatever; on Linux alone."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


@contextmanager
def forks_end_with_this() -> Iterator[None]:
    """Processes that are forked in between die with this one, of whatever it dies: they know no other end."""
    _watched.append(True)
    try:
        yield
    finally:
        _watched.pop()


_watched: list[bool] = []


def _after_fork() -> None:
    if _watched:
        end_with_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def forks_keep_handlers() -> Iterator[None]:
    """Processes that are forked inside take signals as this one does: workers that it tells when to end.

    Other forked processes have the handlers from before all contexts of this module: a pool ends its processes by
    SIGTERM, and would wait for ever for those that only write it down.
    """
    _kept.append(True)
    try:
        yield
    finally:
        _kept.pop()


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """With ``handler`` for each signal that is not ignored, as after ``nohup``; a thread cannot have one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = (signal.SIG_IGN, None)
    before = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) not in ignored}
    _contexts.append(before)
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        try:
            _restore(before)
        finally:
            _contexts.pop()


def _restore(handlers: Handlers) -> None:
    for number, previous in handlers.items():
        signal.signal(number, previous)


class _Fork:
    """Signals wait while a process is forked, so that none of them meets the handlers of its parent in it."""

    mask: set[Any] | None = None

    def before(self) -> None:
        if _contexts and not _kept:
            self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def in_parent(self) -> None:
        if self.mask is not None:
            mask, self.mask = self.mask, None
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def in_child(self) -> None:
        _kept.clear()
        if self.mask is not None:
            for before in reversed(_contexts):
                _restore(before)
            self.in_parent()


if hasattr(os, "register_at_fork"):
    _fork = _Fork()
    os.register_at_fork(before=_fork.before, after_in_parent=_fork.in_parent, after_in_child=_fork.in_child)
