"""The benchmark of many classes, on a tiny volume."""

from __future__ import annotations

import pytest

from benchmarks import many_classes


@pytest.mark.parametrize("method", many_classes.RESAMPLING)
def test_both_ways_are_measured(method):
    sizes = {"shape": [20, 24, 30], "classes": 12, "patch": [16, 16, 16], "scale": 0.7, "threads": 1}
    row = many_classes.measure(method, **sizes)
    assert row["window"] > 0 and row["export"] > 0 and row["peak"] > 1e8
