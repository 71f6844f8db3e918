"""Sets of tensor names that can be united (Tarjan's union-find with path halving)."""

from __future__ import annotations

from collections.abc import Iterable


class DisjointSets:
    """Starts with each name in a set of its own."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self._parent

    def find(self, name: str) -> str:
        """The name that stands for the set which `name` is in."""
        parent = self._parent
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def unite(self, names: Iterable[str]) -> None:
        """Make one set of the sets that the names are in; the first one stands for it."""
        first, *others = [self.find(name) for name in names] or [""]
        for other in others:
            self._parent[other] = first

    def members(self) -> dict[str, list[str]]:
        """By the name that stands for it, the names of each set in order."""
        sets: dict[str, list[str]] = {}
        for name in self._parent:
            sets.setdefault(self.find(name), []).append(name)
        return sets
