"""The processes that load and augment data: they end with the training, and what they die of is told once."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.training.job import WORKERS
from maskmed_nnu.signals import forks_end_with_this, forks_keep_handlers

GONE = "background workers are no longer alive"
"""What batchgenerators says of them."""
SECONDS = 10.0
"""In which a worker may finish the batch that it has begun."""
_stock: list[Callable[[threading.ExceptHookArgs], object]] = []


@contextmanager
def ending_with_the_training() -> Iterator[None]:
    """Processes that are started in between end with it, and die with this process, of whatever it dies."""
    before = set(multiprocessing.active_children())
    if threading.excepthook is not _without_workers:
        _stock.append(threading.excepthook)
        threading.excepthook = _without_workers
    try:
        with forks_end_with_this():
            yield
    finally:
        for process in set(multiprocessing.active_children()) - before:  # they were told, but let signals be
            process.kill()
            process.join()


def _without_workers(said: threading.ExceptHookArgs) -> None:
    """The thread that watches the workers dies of their end, later than they; the training finds out by itself."""
    if GONE not in str(said.exc_value):
        _stock[-1](said)


def next_batch(loader: Any) -> Any:
    """Of nnU-Net's loader, with workers or without.

    Raises
    ------
    InputError
        Where a worker died, and nothing that it has read is at fault.
    Exception
        What a worker met, from the same reading in this process.
    """
    try:
        return next(loader)
    except RuntimeError as error:
        if GONE not in str(error):
            raise
    next(loader.generator)
    raise InputError(
        "A process that loads and augments data was ended, most likely for lack of memory; set "
        f"{WORKERS} to fewer than {loader.num_processes}, or ask for more memory, and continue with --c."
    )


# a training that only notes a signal needs its workers until its step has ended
NonDetMultiThreadedAugmenter._start = forks_keep_handlers()(NonDetMultiThreadedAugmenter._start)


def quiet_in_workers(dataset: Any) -> Any:
    """The same data set, at whose failures a worker ends without a word: `next_batch` meets them, too."""
    dataset.load_case = functools.partial(_load_case, dataset.load_case, os.getpid())
    return dataset


def _load_case(load: Any, training: int, *args: Any, **kwargs: Any) -> Any:
    try:
        return load(*args, **kwargs)
    except Exception:
        if os.getpid() == training:
            raise
        raise KeyboardInterrupt from None  # at which a worker tells the others, and prints nothing


def end_workers(loader: Any) -> None:
    """Let those of nnU-Net's loader end."""
    if getattr(loader, "_processes", ()):
        loader._finish(timeout=SECONDS)
