"""The number of torch's threads, which nnU-Net changes while it predicts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.Lock()
_active: list[int] = []


@contextmanager
def thread_count_kept() -> Iterator[None]:
    """Afterwards the count is what it was before the first of all predictions that run side by side.

    nnU-Net sets it and back. It is one of the process, so of two threads the second would take for the old count what
    the first has set, and leave it behind.
    """
    with _LOCK:
        before = _active[0] if _active else torch.get_num_threads()
        _active.append(before)
    try:
        yield
    finally:
        with _LOCK:
            _active.pop()
            torch.set_num_threads(before)
