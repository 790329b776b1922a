"""What a suite declares: cases, each of several methods that do the same work."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.harness.cost import Cost


class MissingError(Exception):
    """A peer that cannot be measured here; the sentence says why, and what would help."""


@dataclass(frozen=True)
class Run:
    """A method that is ready: ``call`` does the work once."""

    call: Callable[[], Any] | None
    """None where the machine cannot hold it; then only its ``cost`` is told."""
    parameters: int | None = None
    cost: Cost | None = None
    """What was counted already, e.g. on tensors without data; else one call is counted."""
    counted: bool = True
    """False for work outside torch, whose operators nobody sees."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What else to tell of it."""


@dataclass(frozen=True)
class Method:
    """One row of a table. ``prepare`` builds it, once and only on demand, or raises `MissingError`."""

    name: str
    prepare: Callable[[], Run]


@dataclass(frozen=True)
class Case:
    """Methods beside their ``peer``, the name of one of them (None: nothing to compare)."""

    title: str
    methods: Sequence[Method]
    peer: str | None = None
    unit: str = "step"
    items: int = 1
    """How many of the units one call works on."""
    repeats: int = 5
    warm_up: int = 1
    """Calls before the repeats, beside the one that is counted."""
    clock: Literal["busy", "wall"] = "busy"
    """What ratios are of: time of the processors, on a GPU of the GPU; or time that passes."""
    check: Callable[[dict[str, Any]], None] | None = None
    """Given what each method's last call returned; raises AssertionError where they disagree."""


Builder = Callable[[argparse.Namespace], Case]
