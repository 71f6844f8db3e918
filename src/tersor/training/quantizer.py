"""The ranges of activations, as they become known in training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tersor.ops import ALL
from tersor.training.activation_quantizers import pact
from tersor.training.fake_quantization import activation_scale, fake_quantize, fake_quantize_fixed
from tersor.training.rounding import Value

_MOMENTUM = 0.99
"""Of the moving average; the first batches are averaged, so that none of them counts for more than its share."""

_SMALLEST = 1e-9
"""Ranges narrower than this are of values that are all 0."""


class Quantizer(keras.layers.Layer):  # type: ignore[misc]
    """What an activation is in integers, while the network trains.

    The range follows the extremes of the batches as an exponential moving average (Jacob et al. 2018, arXiv 1712.05877,
    section 3.1), or is learned by its gradient (LSQ, Esser et al. 2020, arXiv 1902.08153; LSQ+, Bhalgat et al. 2020,
    arXiv 2004.09576). Values that share a scale have the range of all of them.

    Args:
        name: unique in the network.
        how: the activation's numbers.
        of: the activation's name; None where the range is that of others.
        learned: whether the range is learned.
    """

    def __init__(self, name: str, how: Value, *, of: str | None, learned: bool = False) -> None:
        super().__init__(name=name, dtype="float32")  # whatever the network computes in
        self.of = of
        self._how = how
        self._learned = learned or how.pact
        self._sharing: Callable[[], Sequence[Quantizer]] = lambda: (self,)
        if how.fixed is not None or of is None:
            return
        low, high = (0.0, 0.0) if how.bounds is None else how.bounds
        ends = (("low", low, self._learned and how.bits == 8), ("high", high, self._learned))
        self.low, self.high = (self._scalar(*end) for end in ends)
        self.seen = self._scalar("seen", 0.0 if how.bounds is None else 1 / (1 - _MOMENTUM), False)

    def share(self, others: Sequence[Quantizer]) -> None:
        """Have the range of all of these."""
        held = tuple(others)
        self._sharing = lambda: held  # not as an attribute, which Keras would save as layers of this one

    def shared_with(self) -> tuple[Quantizer, ...]:
        """Whose ranges make up this one's."""
        return tuple(self._sharing())

    def bounds(self) -> tuple[float, float] | None:
        """The smallest and the largest number that is represented, as known so far; None if there is none.

        Of all that share the scale: a plan that saw a narrow range among wide ones might take it out of them again.
        """
        if self._how.fixed is not None:
            scale, zero_point = self._how.fixed
            q_low, q_high = self._how.dtype.integer_range
            return (q_low - zero_point) * scale, (q_high - zero_point) * scale
        if self.of is None or not float(ops.convert_to_numpy(self.seen)):
            return None
        low, high = (float(ops.convert_to_numpy(bound)) for bound in self._range())
        return min(low, high), max(low, high)

    def call(self, x: Any, training: bool = False) -> Any:
        """The value, rounded to its integers; in training not where a kernel fixes them, as for probabilities."""
        dtype = self._how.dtype
        if self._how.fixed is not None:
            return x if training else fake_quantize_fixed(x, *self._how.fixed, dtype)
        if training and self.of is not None and not self._learned:
            self._follow(x)
        low, high = self._range()
        if self._how.pact:
            return pact(x, ops.maximum(high, _SMALLEST), 2**self._how.bits - 1)
        if self._learned:
            count = math.prod(size or 1 for size in x.shape[1:]) * dtype.integer_range[1]
            low, high = (_with_gradient_by(bound, 1 / math.sqrt(count)) for bound in (low, high))
        return fake_quantize(x, low, high, dtype)

    def scale(self) -> Any:
        """As known so far."""
        return self._how.fixed[0] if self._how.fixed is not None else activation_scale(*self._range(), self._how.dtype)

    def compute_output_spec(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002 (Keras's)
        """That of the value itself."""
        return keras.KerasTensor(x.shape, x.dtype)

    def _range(self) -> tuple[Any, Any]:
        ranges = [item._own() for item in self._sharing()]
        low, high = ranges[0]
        for other_low, other_high in ranges[1:]:
            low, high = ops.minimum(low, other_low), ops.maximum(high, other_high)
        return low, high

    def _own(self) -> tuple[Any, Any]:
        low, high = ops.convert_to_tensor(self.low), ops.convert_to_tensor(self.high)
        if self._how.bits < 8:
            return -self._how.below * high, high
        if self._how.visible != ALL:
            low, high = (ops.clip(bound, *self._how.visible) for bound in (low, high))
        return low, high

    def _follow(self, x: Any) -> None:
        x = ops.stop_gradient(x)
        share = ops.maximum(1.0 - _MOMENTUM, 1.0 / (self.seen + 1.0))
        for variable, extreme in ((self.low, ops.min(x)), (self.high, ops.max(x))):
            variable.assign(variable + share * (ops.cast(extreme, "float32") - variable))
        self.seen.assign(self.seen + 1.0)

    def _scalar(self, name: str, value: float, trainable: bool) -> Any:
        start = keras.initializers.Constant(value)
        return self.add_weight(
            shape=(), initializer=start, trainable=trainable, name=name, dtype="float32", autocast=False
        )


def _with_gradient_by(value: Any, share: float) -> Any:
    """The value, with a gradient as large in proportion as those of weights (LSQ, section 2.2)."""
    return value * share + ops.stop_gradient(value * (1.0 - share))
