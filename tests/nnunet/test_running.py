"""What ends one of nnU-Net's commands is told in one sentence."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch.multiprocessing as mp
from torch.multiprocessing import ProcessExitedException

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet import running
from maskmed_nnu.nnunet.running import machine_errors_told, ranks_follow, running_ours, write_at_once
from maskmed_nnu.signals import Interrupted, noted


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left", "/x/plans.json"), "/x/plans.json cannot be used: the disk is full"),
        (FileNotFoundError(errno.ENOENT, "", "/x/a.b2nd"), "/x/a.b2nd cannot be used: it, or its folder"),
        (MemoryError(), "Memory is used up"),
        (RuntimeError("One or more background workers are no longer alive"), "A background process ended before"),
        (RuntimeError("Background workers died. Look"), "A background process ended before"),
        (RuntimeError("Some background worker is 6 feet under"), "most likely for lack of memory"),
    ],
)
def test_failures_of_the_machine(monkeypatch, error, said):
    monkeypatch.setattr(running, "GRACE", 0)
    with pytest.raises(InputError) as caught, machine_errors_told():
        raise error
    assert said in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ConnectionResetError(errno.ECONNRESET, "")])
def test_other_failures_are_no_sentence(error):
    with pytest.raises(type(error)), machine_errors_told():
        raise error


def test_a_signal_that_has_ended_a_worker_first_is_what_is_told(monkeypatch):
    monkeypatch.setattr(running, "sleep", lambda seconds: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted), running_ours():
        raise RuntimeError("One or more background workers are no longer alive")


def test_signals_reach_the_ranks_which_end_by_themselves():
    """The parent alone gets one."""
    with pytest.raises(Interrupted) as caught, ranks_follow():
        mp.start_processes(train_until_signal, (mp.get_context("fork").Barrier(2),), nprocs=2, start_method="fork")
    assert caught.value.code == 128 + signal.SIGUSR1
    assert caught.value.sentence is None  # a rank has said it


def test_signals_reach_a_rank_that_is_being_started(monkeypatch):
    """When the signal comes, the parent does not know the rank yet."""
    start = multiprocessing.context.ForkProcess._Popen

    def signal_in_between(process):
        child = start(process)
        signal.raise_signal(signal.SIGUSR1)
        return child

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "_Popen", staticmethod(signal_in_between))
    monkeypatch.setattr(running, "TELL_AGAIN", 1)  # the rank notes signals by then
    timer, handler = signal.getitimer(signal.ITIMER_REAL)[0], signal.getsignal(signal.SIGALRM)
    with pytest.raises(Interrupted) as caught, ranks_follow():
        mp.start_processes(train_until_signal, nprocs=1, start_method="fork")
    assert caught.value.code == 128 + signal.SIGUSR1
    assert signal.getsignal(signal.SIGALRM) == handler
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (timer > 0)


def test_a_rank_gets_every_signal():
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    rank = fork.Process(target=wait_for_two_signals, args=(ready,), daemon=True)
    with ranks_follow():
        rank.start()
        assert ready.wait(30)
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.raise_signal(number)
        rank.join(20)
    assert rank.exitcode == 0


def wait_for_two_signals(ready) -> None:
    seen: list[int] = []
    with noted(seen.append):
        ready.set()
        while len(seen) < 2:
            time.sleep(0.01)


def train_until_signal(rank: int, all_train=None) -> None:
    with noted() as request:
        if all_train is not None:
            all_train.wait()
            if rank == 0:
                os.kill(os.getppid(), signal.SIGUSR1)
        for _ in range(3000):
            if request.number is not None:
                raise Interrupted(request.number, None)
            time.sleep(0.01)


def test_a_rank_that_was_ended_before_it_trained_and_one_that_has_failed(monkeypatch):
    with pytest.raises(Interrupted) as caught, ranks_follow():
        raise ProcessExitedException("", 0, 7, exit_code=-signal.SIGTERM, signal_name="SIGTERM")
    assert caught.value.sentence == ""
    with pytest.raises(SystemExit) as failed, ranks_follow():
        raise ProcessExitedException("", 0, 7, exit_code=1)
    assert failed.value.code == 1
    with pytest.raises(ProcessExitedException), ranks_follow():
        raise ProcessExitedException("", 0, 7, exit_code=-signal.SIGSEGV, signal_name="SIGSEGV")


def test_a_log_in_a_file_is_never_late(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    with (tmp_path / "log.txt").open("wb") as file:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file))
        write_at_once()
        print("said")
        assert (tmp_path / "log.txt").read_text() == "said\n"
    assert os.environ["PYTHONUNBUFFERED"] == "1"
