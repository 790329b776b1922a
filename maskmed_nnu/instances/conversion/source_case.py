"""A case of a source: the files that it is made from, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from maskmed_nnu.instances.conversion.source_images import SourceImage
from maskmed_nnu.instances.instance_map import InstanceMap

MAX_KEPT_ID = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class SourceCase:
    """One image to be: the name its source gives it, its picture, and every file it is made from.

    ``channels`` are the files of its other channels, where each has its own.
    """

    name: str
    image: Path
    files: tuple[Path, ...]
    channels: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Annotations:
    """What a case holds; `refused` has a clause per object left out; `highest` is the highest id of its file, where
    that has any; beyond `MAX_KEPT_ID` the objects are renumbered.
    """

    image: SourceImage
    objects: InstanceMap
    refused: list[str] = field(default_factory=list)
    clipped: int = 0
    highest: int = 0

    @property
    def kept_ids(self) -> bool:
        """Whether the objects have the ids of their file."""
        return 0 < self.highest <= MAX_KEPT_ID


class Source(Protocol):
    """A source of cases. `read` raises `InputError` where a file of the case is broken.

    ``classes`` are those of the objects, none of a semantic source; ``channel_names`` what the source calls the
    channels, empty where it does not.
    """

    classes: dict[str, int]
    channel_names: list[str]
    notes: list[str]
    cases: list[SourceCase]

    def read(self, case: SourceCase) -> Annotations: ...
