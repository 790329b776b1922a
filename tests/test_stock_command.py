"""Stock commands that are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskmed_nnu import stock_command
from maskmed_nnu.signals import Interrupted, raising


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "print(1)"])
def test_an_interruption_of_this_process_alone_ends_the_command_too(monkeypatch, code):
    processes, stock = [], subprocess.Popen.wait

    def wait(process, timeout=None):
        if not processes:
            processes.append(process)
            raise KeyboardInterrupt
        return stock(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    monkeypatch.setattr(stock_command, "PATIENCE", 0.3)
    with pytest.raises(KeyboardInterrupt):
        stock_command.run_command([Path(sys.executable).name, "-c", code], write=lambda chunk: None)
    assert stock(processes[0], 5) is not None


def test_a_signal_is_handed_on_and_the_command_ends_its_work():
    """It has longer than a Ctrl-C is waited for, since it writes a checkpoint."""
    code = (
        "import os, signal, sys, time\n"
        "def end(number, frame):\n"
        "    time.sleep(0.3); print('saved', number, flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGUSR1, end)\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    said: list[bytes] = []

    def write(chunk: bytes) -> None:
        said.append(chunk)
        if len(said) == 1:
            os.kill(os.getpid(), signal.SIGUSR1)

    with pytest.raises(Interrupted), raising():
        stock_command.run_command([Path(sys.executable).name, "-c", code], write=write)
    # the signal may come before the end of the first line
    assert b"".join(b"".join(said).split()) == b"readysaved" + str(int(signal.SIGUSR1)).encode()
