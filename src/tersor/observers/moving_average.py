"""The average over the samples of each sample's smallest and largest value.

The exponential moving average of quantization-aware training (Jacob et al. 2018, arXiv 1712.05877, section 3.1) depends
on the order of the samples: the last ones count most. Its expectation over all orders is the plain mean, which is what
this observer keeps. An outlier in one sample of a hundred moves the range by a hundredth; in return about half of the
samples are clipped, so it suits activations with rare spikes and harms those whose extremes carry the answer (logits).

The sums are integers in units of 2**-149, the smallest float32, so that they are exact and merging in any order gives
the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tersor.ir.graph import Array

_QUANTUM_EXPONENT = 149


@dataclass(slots=True)
class Observer:
    """See the module; the contract is in `observers/_contract.py`."""

    extremes_suffice: ClassVar[bool] = True

    samples: int = 0
    low_sum: int = 0
    high_sum: int = 0
    finite: bool = True

    def observe(self, values: Array) -> None:
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        self.samples += 1
        if not (math.isfinite(low) and math.isfinite(high)):
            self.finite = False
            return
        self.low_sum += int(math.ldexp(low, _QUANTUM_EXPONENT))
        self.high_sum += int(math.ldexp(high, _QUANTUM_EXPONENT))

    def merge(self, other: Observer) -> None:
        self.samples += other.samples
        self.low_sum += other.low_sum
        self.high_sum += other.high_sum
        self.finite = self.finite and other.finite

    def range(self) -> tuple[float, float]:
        if not self.samples:
            raise ValueError("nothing was observed")
        if not self.finite:
            return -math.inf, math.inf
        unit = self.samples << _QUANTUM_EXPONENT
        return self.low_sum / unit, self.high_sum / unit
