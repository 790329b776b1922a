"""Groups of detections that are one object, grown pair by pair."""

from __future__ import annotations

from collections.abc import Iterable


class DetectionGroups:
    """Disjoint sets over ``N`` detections that know the sources (tiles or views) of each."""

    def __init__(self, sources: Iterable[int], complete: Iterable[bool] | None = None) -> None:
        self.sources = [{source} for source in sources]
        self.complete = [False] * len(self.sources) if complete is None else list(complete)
        """Whether a group holds a detection that is known to be whole."""
        self._parent = list(range(len(self.sources)))

    def find(self, i: int) -> int:
        """The representative of ``i``'s group; `sources` and `complete` are those of the group there."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Make one group of two."""
        i, j = sorted((self.find(i), self.find(j)))
        if i != j:
            self._parent[j] = i
            self.sources[i] |= self.sources[j]
            self.complete[i] |= self.complete[j]

    def have_common_source(self, i: int, j: int) -> bool:
        """Whether both groups have a detection of one source, which takes them for two objects."""
        return not self.sources[self.find(i)].isdisjoint(self.sources[self.find(j)])

    def members(self) -> list[list[int]]:
        """The groups, in order of their first member."""
        groups: dict[int, list[int]] = {}
        for i in range(len(self._parent)):
            groups.setdefault(self.find(i), []).append(i)
        return list(groups.values())
