"""Which observer an activation gets.

The child process imports this, and with it nothing of the stages.
"""

from __future__ import annotations

from dataclasses import dataclass

from tersor.observers import min_max
from tersor.observers._contract import Observer


@dataclass(frozen=True)
class Choice:
    """Makes the observer of an activation: one that clips only where it may."""

    wanted: type[Observer]
    may_clip: frozenset[str]

    def __call__(self, name: str) -> Observer:
        return self.wanted() if self.wanted.extremes_suffice or name in self.may_clip else min_max.Observer()
