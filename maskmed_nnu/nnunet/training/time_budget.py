"""A training that is given minutes instead of epochs."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

FIRST_EPOCH_ITERATIONS = 10
"""Iterations of the first epoch, in which the machine's speed is measured."""
FIRST_VALIDATION_ITERATIONS, MAX_VALIDATION_ITERATIONS = 2, 8
VALIDATION_SHARE = 0.15
"""Of the time, at most; at least one iteration each epoch."""


class TimeBudget:
    """Divides ``seconds`` among epochs, their validations included.

    Times are read at the start of each epoch, at the end of its iterations and at the start of the next. An epoch has
    ``validation_iterations`` iterations of validation, which do not change after the first epoch, so
    that scores can be compared.

    >>> now = iter([0, 5, 10, 10, 30]).__next__
    >>> budget = TimeBudget(seconds=100, clock=now)
    >>> budget.start_epoch(epochs_left=10), budget.validation_iterations  # at 0
    (10, 2)
    >>> budget.end_iterations(10)  # at 5; at 10 the two end, of 2.5 each, and (100 - 10) / 9 - 2.5 = 7.5 are left
    >>> budget.start_epoch(epochs_left=9), budget.validation_iterations  # of half a second each
    (15, 1)
    >>> budget.share()
    0.1
    >>> budget.elapsed()
    30.0
    """

    def __init__(self, *, seconds: float, used: float = 0.0, clock: Callable[[], float] = monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self._zero: float | None = None
        self._used = used
        self._epoch_start = self._iterations_end = 0.0
        self._per_iteration: float | None = None
        self.validation_iterations, self._measured = FIRST_VALIDATION_ITERATIONS, False

    def start_epoch(self, *, epochs_left: int) -> int:
        """Number of iterations of the epoch that starts now."""
        now = self.clock()
        if self._zero is None:
            self._zero = now - self._used
        iterations = FIRST_EPOCH_ITERATIONS
        if self._per_iteration is not None:
            epoch = (self.seconds - (now - self._zero)) / epochs_left
            validation = (now - self._iterations_end) / self.validation_iterations
            if not self._measured:
                allowed = int(VALIDATION_SHARE * epoch / max(validation, 1e-9))
                self.validation_iterations, self._measured = min(max(allowed, 1), MAX_VALIDATION_ITERATIONS), True
            seconds = epoch - self.validation_iterations * validation
            iterations = max(1, round(seconds / self._per_iteration))
        self._epoch_start = now
        return iterations

    def end_iterations(self, iterations: int) -> None:
        """After so many of them in this run; none where it goes on after the last one of an epoch."""
        self._iterations_end = self.clock()
        if iterations:
            self._per_iteration = (self._iterations_end - self._epoch_start) / iterations

    def elapsed(self) -> float:
        """Seconds spent, those before a resume included."""
        return self._used if self._zero is None else self.clock() - self._zero

    def share(self) -> float:
        """Part of the budget that is spent, at most 1."""
        return min(self.elapsed() / self.seconds, 1.0)
