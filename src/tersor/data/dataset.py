"""A set of samples that can be gone through again and again without being held in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace

from tersor.data.feed import Sample


@dataclass(frozen=True)
class Glimpse:
    """What is known of a sample without making it.

    Attributes:
        label: as in `Sample`.
        source: likewise.
        digest: computes a value that only samples of the same content share.
        sketch: finds a value, in much less time, that samples of the same content share, and hardly any others.
    """

    label: object
    source: str
    digest: Callable[[], bytes]
    sketch: Callable[[], bytes]


@dataclass(frozen=True)
class Dataset:
    """Samples that are made when they are drawn.

    Attributes:
        draw: gives an iterator over the samples of the given places, in that order (None: all).
        size: the number of samples, None where only going through them tells.
        classes: class names by index, where the data has them.
        what: the data in words, for tables and messages.
        chosen: the places that belong to this set, None for all.
        notes: what the user should know about how the data is read.
        bounds: the range that an input has to have for raw bytes to go in as they are, where the samples are bytes and
            there is one (`Preprocess.foldable`).
        peek: tells what is known of a place without making its sample, where the kind of data allows that.
    """

    draw: Callable[[Sequence[int] | None], Iterator[Sample]]
    size: int | None
    what: str
    classes: tuple[str, ...] = ()
    chosen: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    peek: Callable[[int], Glimpse] | None = None

    def __iter__(self) -> Iterator[Sample]:
        return self.draw(self.chosen)

    def __len__(self) -> int:
        if self.size is None:
            raise TypeError(f"{self.what}: the number of samples is not known beforehand")
        return self.size if self.chosen is None else len(self.chosen)

    def glimpses(self, most: int | None = None) -> Iterator[Glimpse]:
        """What is known of the samples without making them, of at most so many; nothing where that is not possible."""
        if self.peek is None or self.size is None:
            return
        chosen = self if most is None else self.spread(most)
        for place in chosen.chosen if chosen.chosen is not None else range(self.size):
            yield self.peek(place)

    def split(self, first: int, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two disjoint sets: at most `first` samples to tune on, and the others to report on.

        Samples are drawn at random with a fixed seed, so that data sorted by class is not cut by class. Data of unknown
        size is cut as it comes.
        """
        if self.size is None:
            return self._cut(0, first), self._cut(first, None)
        places = list(self.chosen if self.chosen is not None else range(self.size))
        random.Random(seed).shuffle(places)
        return replace(self, chosen=tuple(sorted(places[:first]))), replace(self, chosen=tuple(sorted(places[first:])))

    def spread(self, most: int) -> Dataset:
        """At most so many samples, evenly from the whole data; of data of unknown size, the first."""
        return self._cut(0, most) if self.size is None else self._divided(min(most, len(self)))[0]

    def interleaved(self, most: int) -> tuple[Dataset, Dataset]:
        """Two disjoint sets: at most `most` samples spread over the data, no more than half of it, and all others.

        Where there are no more than twice as many, every other sample is of the first set; so it is with data of
        unknown size until there are enough.
        """
        return self._alternating(most) if self.size is None else self._divided(min(most, len(self) // 2))

    def _divided(self, count: int) -> tuple[Dataset, Dataset]:
        """So many samples, evenly from the whole data, and the others."""
        places = self.chosen if self.chosen is not None else range(self.size or 0)
        taken = frozenset((2 * number + 1) * len(places) // (2 * count) for number in range(count))
        groups: tuple[list[int], list[int]] = [], []
        for number, place in enumerate(places):
            groups[number not in taken].append(place)
        return replace(self, chosen=tuple(groups[0])), replace(self, chosen=tuple(groups[1]))

    def _alternating(self, most: int) -> tuple[Dataset, Dataset]:
        from itertools import islice

        def first(places: Sequence[int] | None) -> Iterator[Sample]:
            return islice(self.draw(places), 1, 2 * most, 2)

        def others(places: Sequence[int] | None) -> Iterator[Sample]:
            return (item for number, item in enumerate(self.draw(places)) if number % 2 == 0 or number >= 2 * most)

        return replace(self, draw=first), replace(self, draw=others)

    def _cut(self, start: int, stop: int | None) -> Dataset:
        from itertools import islice

        return replace(self, draw=lambda places: islice(self.draw(places), start, stop))


def from_iterable(samples: Iterable[object], what: str = "samples") -> Dataset:
    """A data set over what can be iterated again: a list, an array along its first axis."""

    def draw(places: Sequence[int] | None) -> Iterator[Sample]:
        wanted = None if places is None else set(places)
        for number, item in enumerate(samples):
            if wanted is None or number in wanted:
                yield item if isinstance(item, Sample) else Sample(item, source=f"{what} {number}")

    size = len(samples) if isinstance(samples, Sized) else None
    return Dataset(draw, size, what)
