"""How a conversion tells whoever waits how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Progress = Callable[[str, int, int], None]
"""Called with what is done ("reading"), how many are done, and how many there are."""
T = TypeVar("T")


def counted(items: Sequence[T], stage: str, progress: Progress | None) -> Iterator[T]:
    """The items, with a call of `progress` before each and after the last.

    >>> list(counted("ab", "reading", print))
    reading 0 2
    reading 1 2
    reading 2 2
    ['a', 'b']
    """
    for done, item in enumerate(items):
        if progress is not None:
            progress(stage, done, len(items))
        yield item
    if progress is not None:
        progress(stage, len(items), len(items))
