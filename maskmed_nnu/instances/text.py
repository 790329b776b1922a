"""Lists, numbers and shapes as sentences show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def format_list(values: Iterable[object], limit: int = 10) -> str:
    """
    >>> format_list("abcd", limit=2)
    'a, b and 2 more'
    """
    texts = [str(value) for value in values]
    return ", ".join(texts[:limit]) + (f" and {len(texts) - limit} more" if len(texts) > limit else "")


def count(number: int, noun: str) -> str:
    """
    >>> count(1, "file"), count(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def format_faults(faults: Sequence[str], limit: int = 20) -> str:
    """
    >>> format_faults(["a is missing", "b is empty", "c is empty"], limit=2)
    '3 faults:\\n- a is missing\\n- b is empty\\n- and 1 more'
    """
    more = [f"and {len(faults) - limit} more"] if len(faults) > limit else []
    return f"{count(len(faults), 'fault')}:" + "".join(f"\n- {fault}" for fault in [*faults[:limit], *more])


def format_shape(shape: Iterable[int]) -> str:
    """
    >>> format_shape((30, 20))
    '30 × 20'
    """
    return " × ".join(map(str, shape))
