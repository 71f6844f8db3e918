"""What calibration saw of a model's activations, as a value."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Tensor
from tersor.observers._contract import Observer


@dataclass(frozen=True)
class Statistics:
    """What calibration saw.

    Attributes:
        observers: of each activation.
        samples: how many there were.
        outputs: what the model answered to the first samples, as many as were asked for.
        means: for each of the first samples, as many as were asked for, the mean of ``W x + b`` over all positions,
            [channels], by layer; without layers whose mean the runtime cannot show.
    """

    observers: Mapping[str, Observer]
    samples: int
    outputs: Sequence[Sequence[Array]] = ()
    means: Mapping[str, Sequence[Array]] = field(default_factory=dict)
    _ranges: dict[tuple[frozenset[str], DType], tuple[float, float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def range(self, name: str, dtype: DType = DType.INT8) -> tuple[float, float]:
        """The range to represent for one activation by an integer type. Raises KeyError if it was not observed."""
        return self.range_of([name], dtype)

    def seen(self, name: str) -> tuple[float, float]:
        """The smallest and the largest value of one activation, whether 0 lies between or not. Raises KeyError."""
        return self.observers[name].extremes.bounds

    def range_of(self, names: Iterable[str], dtype: DType = DType.INT8) -> tuple[float, float]:
        """The range to represent for activations that share a scale. Raises KeyError if one was not observed.

        Observers that clip decide on all values together; ranges that cover what was seen are united.
        """
        key = frozenset(names), dtype
        if key not in self._ranges:
            observers = [self.observers[name] for name in sorted(key[0])]
            counting = [observer for observer in observers if not observer.extremes_suffice]
            if len(counting) > 1:
                observers = [observer for observer in observers if observer.extremes_suffice] + [_together(counting)]
            ranges = [observer.range(dtype) for observer in observers]
            self._ranges[key] = min(low for low, _ in ranges), max(high for _, high in ranges)
        return self._ranges[key]


def _together(observers: Iterable[Observer]) -> Observer:
    first, *others = observers
    total = copy.deepcopy(first)
    for other in others:
        total.merge(other)
    return total


def is_vector(tensor: Tensor) -> bool:
    """Whether a sample has one value per channel, and no positions to repeat it.

    In such (logits, pooled features, embeddings) each value is a feature of its own, and the largest one of a sample
    its answer.
    """
    return math.prod(tensor.shape[1:-1]) == 1
