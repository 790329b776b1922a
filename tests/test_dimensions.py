"""Coordinates of flat positions, against numpy."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

from maskmed_nnu import dimensions


@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 5), (1, 6, 2)])
def test_coordinates_are_numpys_with_x_first(shape):
    index = torch.arange(int(np.prod(shape)))
    expected = np.unravel_index(index.numpy(), shape)[::-1]
    for ours, theirs in zip(dimensions.unravel(index, shape), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_example():
    assert doctest.testmod(dimensions).failed == 0 and doctest.testmod(dimensions).attempted > 0
