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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep

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

    told = set()

    def hand_on(number: int) -> None:
        for process in multiprocessing.active_children():
            if process.pid is not None and process.pid not in told:
                told.add(process.pid)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        # a process that is just being started is not among them yet
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda *_: hand_on(number))
            signal.setitimer(signal.ITIMER_REAL, TELL_AGAIN)

    try:
        with noted(hand_on):
            try:
                yield
            finally:
                if hasattr(signal, "setitimer"):
                    signal.setitimer(signal.ITIMER_REAL, 0)
    except ProcessExitedException as error:
        if error.exit_code > 128:
            raise Interrupted(error.exit_code - 128, None) from None
        if -error.exit_code in SIGNALS:
            raise Interrupted(-error.exit_code) from None
        if error.exit_code == 1:
            raise SystemExit(1) from None
        raise


def write_at_once() -> None:
    """Each line that this process prints, and those that it starts, is in the log at once, also in a file."""
    os.environ["PYTHONUNBUFFERED"] = "1"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
