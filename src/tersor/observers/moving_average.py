"""The average over the samples of each sample's smallest and largest value.

The exponential moving average of quantization-aware training (Jacob et al. 2018, arXiv 1712.05877, section 3.1) depends
on the order of the samples: the last ones count most. Its expectation over all orders is the plain mean, which is what
this observer keeps. An outlier in one sample of a hundred moves the range by a hundredth; in return about half of the
samples are clipped, so it suits activations with rare spikes and harms those whose extremes carry the answer (logits).
"""

from __future__ import annotations

from tersor.ir.dtypes import DType
from tersor.observers._extremes import ExtremesAlone, Pair


class Observer(ExtremesAlone):
    """See the module; the contract is in `observers/_contract.py`."""

    __slots__ = ()

    def range(self, dtype: DType) -> Pair:
        return self.extremes.means

    def method(self, dtype: DType) -> str:
        return "moving_average"
