"""The one way to give the values of a label map another type: a value that does not fit is refused, never wrapped."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.array_types import Integers

MAX_ID = 2**32 - 1  # of uint32, the widest integers that label files hold
_Number = TypeVar("_Number", bound=np.generic)


def whole_numbers(values: NDArray[Any], name: object) -> Integers:
    """``values`` of a file, of any type, as integers from 0 to `MAX_ID`; a type of integers is kept.

    Raises:
        InputError: fractions, NaN, negative values, numbers beyond 32 bits, and floats so high that they may have been
            rounded. The sentence begins with ``name``, the file.
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    integers = values.dtype.kind in "iu"
    try:
        check_values(np.array([values.min(), values.max()]) if integers and values.size else np.unique(values))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return values.astype(values.dtype.newbyteorder("=") if integers else np.int64, copy=False)


def cast(values: NDArray[Any], kind: type[_Number], name: object = "The label map") -> NDArray[_Number]:
    """``values`` in the type ``kind`` of integers or floats, each unchanged.

    >>> cast(np.array([3, 70_000]), np.int32)
    array([    3, 70000], dtype=int32)

    Raises:
        InputError: where one does not fit. The sentence begins with ``name``, the file where it is known.
    """
    if values.dtype.kind == "f":
        bad = values[~np.isfinite(values) | (values != np.floor(values))]
        if bad.size:
            raise InputError(f"{name} holds {bad.flat[0]!s}; labels are whole numbers, so save it as integers.")
    lowest, highest = int(values.min(initial=0)), int(values.max(initial=0))  # of Python, which do not wrap
    if np.issubdtype(kind, np.integer):
        limits: Any = np.iinfo(kind)
        low, high = int(limits.min), int(limits.max)
    else:
        exact: Any = np.finfo(np.dtype(kind).name)
        high = 2 ** (exact.nmant + 1)
        low = -high
    if lowest < low or highest > high:
        raise InputError(
            f"{name} holds {lowest if lowest < low else highest}, but {np.dtype(kind).name} holds values from {low} to "
            f"{high} here; renumber its values."
        )
    return values.astype(kind, copy=False)


def check_values(values: NDArray[Any]) -> None:
    """Check the distinct values of a label map, ``values [N]`` in rising order.

    Raises
    ------
    InputError
        For fractions, NaN, infinite or negative values, and numbers that are too large; the message names one of them.
    """
    if values.dtype.kind == "f":
        bad = values[~np.isfinite(values) | (values != np.floor(values))]
        if len(bad):
            only_rounding = np.allclose(bad, np.rint(bad), rtol=0, atol=1e-3)
            cure = (
                "round them (numpy.rint)"
                if only_rounding
                else "go back to the ids before they were resampled, scaled or made probabilities"
            )
            raise InputError(
                f"The mask holds {bad[0]!s}{and_more(bad)}; ids are whole numbers, so {cure}, and save them as an "
                "integer type."
            )
        exact = 2.0 ** (np.finfo(values.dtype).nmant + 1)
        if len(values) and values[-1] >= exact:
            raise InputError(
                f"The mask holds {values[-1]:.0f} in {values.dtype}, which tells ids apart only below {exact:.0f}; "
                "save it as uint32."
            )
    elif values.dtype.kind not in "iub":
        raise InputError(
            f"The mask holds values of type {values.dtype}; ids are whole numbers, so save it as an integer type."
        )
    if len(values) and values[0] < 0:
        raise InputError(
            f"The mask holds the negative value {int(values[0])}; labels are positive and the background is 0, so look "
            "for ids that wrapped in a signed type, and give a void a number of its own, such as 255; save it as "
            "uint16 or uint32."
        )
    if len(values) and int(values[-1]) > MAX_ID:
        raise InputError(
            f"The mask holds the id {int(values[-1])}; ids must fit in 32 bits (up to {MAX_ID}), so renumber them."
        )


def and_more(indices: NDArray[Any]) -> str:
    """How many there are beside the first, in brackets."""
    return f" (and {len(indices) - 1} more)" if len(indices) > 1 else ""
