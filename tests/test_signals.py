"""Signals end a command where it can end."""

from __future__ import annotations

import doctest
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext

import pytest

from maskmed_nnu import signals
from maskmed_nnu.signals import SIGNALS, Interrupted, forks_keep_handlers, held_back, noted, raising


@pytest.mark.parametrize("number", SIGNALS)
def test_each_ends_with_the_status_of_a_shell(number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught, raising():
        signal.raise_signal(number)
    assert isinstance(caught.value, Interrupted) and caught.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_what_the_first_one_began_is_not_stopped_by_a_second_one_but_by_ctrl_c():
    reached = []
    with pytest.raises(Interrupted) as caught, raising():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            reached.append("the end of the cleaning")
            signal.raise_signal(signal.SIGINT)
            reached.append("what hangs")
    assert reached == ["the end of the cleaning"] and caught.value.number == signal.SIGINT


def test_work_is_told_and_goes_on():
    told = []
    with noted(told.append) as request:
        assert request.number is None
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
    assert request.number == signal.SIGUSR1 and told == [signal.SIGUSR1, signal.SIGTERM]


def test_one_that_was_held_back_comes_afterwards_and_also_after_a_failure():
    reached = []
    with pytest.raises(Interrupted), raising(), held_back():
        signal.raise_signal(signal.SIGHUP)
        reached.append(1)
        raise ValueError
    assert reached == [1]


def test_what_is_ignored_stays_so_as_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raising():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_has_no_handlers():
    def run() -> None:
        with raising(), noted() as request, held_back():
            done.append(request.number)

    done: list[int | None] = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [None]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process of its parent's end")
def test_a_forked_process_ends_with_its_parent(checkout):
    """The child holds the pipe open for as long as it lives."""
    code = (
        "import os, time\n"
        "from maskmed_nnu.signals import forks_end_with_this\n"
        "with forks_end_with_this():\n"
        "    if os.fork() == 0:\n"
        "        os.write(1, b'ready')\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None and parent.stdout.read(5) == b"ready"
    parent.kill()
    assert parent.stdout.read() == b"" and parent.wait() == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
@pytest.mark.parametrize("keeps", [False, True])
def test_a_forked_process_ends_at_the_first_signal_unless_it_is_a_worker(keeps):
    """A pool ends its processes by SIGTERM and waits for them; workers finish what they do."""
    fork = multiprocessing.get_context("fork")
    runs, received = fork.Event(), fork.Event()
    with raising(), noted(lambda number: received.set()), forks_keep_handlers() if keeps else nullcontext():
        child = fork.Process(target=wait, args=(runs,), daemon=True)
        child.start()
        assert runs.wait(20)
        child.terminate()
        assert received.wait(20 if keeps else 0) == keeps
    if keeps:
        child.kill()
    child.join(20)
    assert child.exitcode == -(signal.SIGKILL if keeps else signal.SIGTERM)


def wait(runs) -> None:
    runs.set()
    time.sleep(60)


def test_the_example():
    assert doctest.testmod(signals).failed == 0
