"""While one of nnU-Net's commands runs that is about something of ours: signals, failures of the machine, the log.

What ends it is told in one sentence, by `maskmed_nnu.nnunet.entry_points`.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import sleep
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.machine_errors import AGAIN, explain
from maskmed_nnu.nnunet.whole_files import whole_copies
from maskmed_nnu.signals import SIGNALS, Interrupted, forks_end_with_this, noted, raising

LOST_WORKER = ("background worker", "export worker died")
"""What nnU-Net speaks of where one of its processes is gone."""
GRACE = 0.5
"""Seconds in which the signal arrives that has ended a worker: a scheduler sends it to all processes of a job."""
TELL_AGAIN = 0.5
"""Seconds after which processes that were started in the meantime are told of a signal, too."""


@contextmanager
def running_ours(*, again: str = AGAIN) -> Iterator[None]:
    """``again`` is how the command goes on after a failure of the machine.

    Raises
    ------
    Interrupted
        At a signal.
    InputError
        At a failure of the machine.
    """
    write_at_once()
    # a signal to all processes of a job ends that one, too, and Python would tell it beside the sentence
    warnings.filterwarnings("ignore", "resource_tracker: process died unexpectedly")
    with raising(), forks_end_with_this(), whole_copies(), machine_errors_told(again=again):
        yield


@contextmanager
def machine_errors_told(*, again: str = AGAIN) -> Iterator[None]:
    """
    Raises
    ------
    InputError
        In the place of what the system refuses: a full disk, a missing permission, a folder that is gone.
    """
    try:
        yield
    except (OSError, MemoryError) as error:
        if isinstance(error, ConnectionError):  # between processes: no file, no disk
            raise
        if isinstance(error, OSError) and error.errno is None and str(error):  # nnU-Net's own words, not the system's
            raise InputError(str(error)) from None
        raise InputError(explain(error, again=again)) from None
    except RuntimeError as error:
        if not any(words in str(error).lower() for words in LOST_WORKER):
            raise
        sleep(GRACE)
        raise InputError(
            "A background process ended before its work was done: for the reason above, or where there is none, most "
            "likely for lack of memory; run the command again with fewer processes, or with more memory."
        ) from None


@contextmanager
def ranks_follow() -> Iterator[None]:
    """Signals are handed on to the processes of a training on several GPUs, which end by themselves.

    Raises
    ------
    Interrupted
        When they have ended.
    SystemExit
        With the status of the rank that failed, which has said why.
    """
    from torch.multiprocessing.spawn import ProcessExitedException

    told: set[int] = set()

    def tell(number: int) -> None:
        for process in multiprocessing.active_children():
            if process.pid is not None and process.pid not in told:
                told.add(process.pid)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    try:
        with _Alarm(tell) as alarm:

            def hand_on(number: int) -> None:
                told.clear()
                tell(number)
                alarm.repeat(number)  # a process that is just being started is not among the children yet

            with noted(hand_on):
                yield
    except ProcessExitedException as error:
        if error.exit_code > 128:
            raise Interrupted(error.exit_code - 128, None) from None
        if -error.exit_code in SIGNALS:
            raise Interrupted(-error.exit_code) from None
        if error.exit_code == 1:
            raise SystemExit(1) from None
        raise


class _Alarm:
    """Calls ``tell`` with a number every `TELL_AGAIN` seconds, from the first `repeat` to the end of the context.

    It does nothing where the system has no timers. Another timer is put back at the end.
    """

    def __init__(self, tell: Callable[[int], object]) -> None:
        self._tell = tell
        self._number, self._over = 0, False
        self._before: tuple[Any, tuple[float, float]] | None = None

    def __enter__(self) -> _Alarm:
        return self

    def repeat(self, number: int) -> None:
        self._number = number
        if not hasattr(signal, "setitimer") or self._over:
            return
        if self._before is None:
            self._before = signal.signal(signal.SIGALRM, self._rings), signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, TELL_AGAIN)

    def _rings(self, *_: object) -> None:
        if not self._over:
            self._tell(self._number)
            signal.setitimer(signal.ITIMER_REAL, TELL_AGAIN)

    def __exit__(self, *_: object) -> None:
        self._over = True
        if self._before is not None:
            handler, timer = self._before
            signal.setitimer(signal.ITIMER_REAL, *timer)
            signal.signal(signal.SIGALRM, handler if handler is not None else signal.SIG_DFL)


def write_at_once() -> None:
    """Each line that this process prints, and those that it starts, is in the log at once, also in a file."""
    os.environ["PYTHONUNBUFFERED"] = "1"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
