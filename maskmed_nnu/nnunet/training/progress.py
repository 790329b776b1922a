"""Progress within an epoch, in lines that also read well in a log file."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


def duration(seconds: float) -> str:
    """
    >>> [duration(s) for s in (3.4, 75, 4000, 200000)]
    ['3 s', '1 min 15 s', '1 h 6 min', '55 h']
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 36000:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 3600} h"


class Progress:
    """One line at most every ``interval`` seconds while a loop of ``total`` iterations runs, ``done`` of which are."""

    def __init__(self, *, total: int, interval: float, done: int = 0, clock: Callable[[], float] = monotonic) -> None:
        self.total = total
        self.interval = interval
        self.clock = clock
        self.done = self.first = done
        self.start = self.last = clock()

    def advance(self, loss: float) -> str | None:
        """Count one iteration; the line to print, or None where it is not time yet or the loop is complete."""
        self.done += 1
        now = self.clock()
        if now - self.last < self.interval or self.done >= self.total:
            return None
        self.last = now
        per_iteration = (now - self.start) / (self.done - self.first)
        left = duration(per_iteration * (self.total - self.done))
        return f"iteration {self.done}/{self.total}, loss {loss:.4f}, {per_iteration:.2f} s each, {left} left"
