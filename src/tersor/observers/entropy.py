"""The range whose quantized values have the distribution that tells least from the original one.

Source: Migacz 2017, "8-bit inference with TensorRT" (NVIDIA, GTC): of 2048 bins the first n are quantized to the levels
of the integer type, what lies outside is added to the last, and the n with the smallest Kullback-Leibler divergence
ends the range. There ranges are symmetric, with 128 levels for magnitudes. Here a candidate is a bound on the
magnitude too, but it cuts only a side that reaches it, and all levels are spread over what remains: after a ReLU that
is 0..n with 256 levels. Zeros are not counted, since every candidate holds them exactly. With int16 there are more
levels than bins and the extremes are kept.

It looks at how often values occur and not at how large they are, and clips much of a long tail: good where the tail is
noise, bad where the tail is the answer (logits, detection scores, regressions).
"""

from __future__ import annotations

from tersor.ir.dtypes import DType
from tersor.numerics.clipping import least_divergence_range
from tersor.observers._counted import Counted
from tersor.observers._extremes import Pair


class Observer(Counted):
    """See the module; the contract is in `observers/_contract.py`."""

    __slots__ = ()

    def range(self, dtype: DType) -> Pair:
        return self.chosen_by(least_divergence_range, dtype)

    def method(self, dtype: DType) -> str:
        return "entropy"
