"""Parts of arrays that are larger than memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

VOXELS = 2**24
"""In memory at a time."""


def blocks_of(shape: Sequence[int], edges: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Parts of ``edges`` that cover an array, row by row; the last ones are smaller.

    >>> [block[0] for block in blocks_of([5], [2])]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    starts = [range(0, length, edge) for length, edge in zip(shape, edges, strict=True)]
    for place in itertools.product(*starts):
        yield tuple(
            slice(start, min(start + edge, length)) for start, edge, length in zip(place, edges, shape, strict=True)
        )


def format_block(block: Sequence[slice]) -> str:
    """
    >>> format_block([slice(0, 1), slice(0, 512)])
    '0:1 × 0:512'
    """
    return " × ".join(f"{part.start}:{part.stop}" for part in block)


def block_edges(shape: Sequence[int], chunks: Sequence[int], voxels: int = VOXELS) -> list[int]:
    """Multiples of ``chunks`` that hold about as many ``voxels``, one chunk at least.

    >>> block_edges([1, 9000, 9000], [1, 1000, 1000], 4_000_000)
    [1, 2000, 2000]
    """
    along = [n > chunk for n, chunk in zip(shape, chunks, strict=True)]
    size = math.prod(min(n, chunk) for n, chunk in zip(shape, chunks, strict=True))
    times = max(int((voxels / size) ** (1 / max(sum(along), 1)) + 1e-9), 1)
    return [chunk * (times if more else 1) for chunk, more in zip(chunks, along, strict=True)]
