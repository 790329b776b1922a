"""Stock commands that are interrupted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maskmed_nnu import stock_command


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
