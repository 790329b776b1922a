"""Processes that load data: what they die of is told once, by the training."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.training.workers import end_workers, ending_with_the_training, next_batch, quiet_in_workers
from maskmed_nnu.signals import noted


class Cases:
    """A data set, and a loader of it."""

    def __init__(self) -> None:
        self.path = ""

    def set_thread_id(self, number: int) -> None:
        pass

    def load_case(self, name: str) -> dict[str, Any]:
        if self.path:
            with open(self.path):
                pass
        return {"name": name, "process": os.getpid()}

    def __next__(self) -> dict[str, Any]:
        return self.load_case("a")


@pytest.fixture
def cases() -> Cases:
    return quiet_in_workers(Cases())


@pytest.fixture
def loader(cases) -> Iterator[NonDetMultiThreadedAugmenter]:
    loader = NonDetMultiThreadedAugmenter(cases, None, 1, wait_time=0.002)
    with ending_with_the_training():
        yield loader
        end_workers(loader)


def test_what_a_worker_cannot_read_is_told_by_the_training_alone(cases, loader, capfd, tmp_path):
    cases.path = str(tmp_path / "gone.b2nd")
    with pytest.raises(FileNotFoundError, match=r"gone\.b2nd"):
        next_batch(loader)
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_is_killed_is_missed(loader, capfd):
    assert next_batch(loader)["process"] != os.getpid()
    os.kill(loader._processes[0].pid, signal.SIGKILL)
    with pytest.raises(InputError, match="was ended, most likely for lack of memory; set nnUNet_n_proc_DA to fewer"):
        for _ in range(1000):
            next_batch(loader)
    assert capfd.readouterr() == ("", "")


def test_none_is_left(cases):
    """Not even one whose loader nobody has: like the training, it only notes a signal."""
    with noted(), ending_with_the_training():
        loader = NonDetMultiThreadedAugmenter(cases, None, 1, wait_time=0.002)
        next_batch(loader)
        process = loader._processes[0]
        process.terminate()
        time.sleep(0.05)
        assert process.is_alive()
    assert not process.is_alive()


def test_other_failures_stay_what_they_are():
    class Broken:
        def __next__(self) -> None:
            raise RuntimeError("a shape")

    with pytest.raises(RuntimeError, match="a shape"):
        next_batch(Broken())
