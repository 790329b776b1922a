"""How a long call tells whoever waits how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Progress(NamedTuple):
    """A stage ("reading"), how many are done, how many there are, and which one comes next, where that is known."""

    stage: str
    done: int
    total: int
    name: str = ""


Report = Callable[[Progress], object]
"""What the caller of a long function gives it."""


def counted(items: Sequence[T], stage: str, report: Report | None) -> Iterator[T]:
    """The items, with a call of `report` before each and after the last; none where there are no items.

    >>> list(counted("ab", "reading", lambda now: print(*now[:3])))
    reading 0 2
    reading 1 2
    reading 2 2
    ['a', 'b']
    >>> list(counted("", "reading", print))
    []
    """
    for done, item in enumerate(items):
        if report is not None:
            report(Progress(stage, done, len(items)))
        yield item
    if report is not None and items:
        report(Progress(stage, len(items), len(items)))
