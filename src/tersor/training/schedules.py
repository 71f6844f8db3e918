"""When weights become zeros, in steps of training (batches), the first of which is number 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from tersor.errors import RecipeError

FREQUENCY = 100
"""Steps between two choices of what goes (Zhu and Gupta 2017, arXiv 1710.01878, section 3: 100 to 1000)."""


@dataclass(frozen=True)
class Constant:
    """The whole sparsity at once.

    Attributes:
        begin: the step at which weights go.
        end: the last step at which they are chosen anew; None to choose once.
        frequency: steps between two choices.
    """

    begin: int = 0
    end: int | None = None
    frequency: int = FREQUENCY

    def __post_init__(self) -> None:
        _require_steps(self.begin, self.last, self.frequency)

    @property
    def last(self) -> int:
        """The step at which the sparsity is reached and weights are chosen for the last time."""
        return max(self.begin, 1) if self.end is None else self.end

    def sparsity(self, step: Any, wanted: float) -> Any:  # noqa: ARG002 (of both schedules)
        """The share of zeros at a step, given the one that is wanted in the end."""
        return ops.convert_to_tensor(wanted, "float32")

    def is_due(self, step: Any) -> Any:
        """Whether weights are chosen at a step, as a boolean tensor."""
        return _is_due(step, self.begin, self.last, self.frequency)


@dataclass(frozen=True)
class PolynomialDecay:
    """From an initial sparsity to the wanted one, fast at first (Zhu and Gupta 2017, equation 1).

    Attributes:
        begin: the step at which the first weights go.
        end: the step at which the sparsity is reached; what went then stays away.
        initial: the sparsity to begin with.
        power: of the polynomial.
        frequency: steps between two choices.
    """

    begin: int
    end: int
    initial: float = 0.0
    power: float = 3.0
    frequency: int = FREQUENCY

    def __post_init__(self) -> None:
        _require_steps(self.begin, self.end, self.frequency)
        if not 0.0 <= self.initial < 1.0:
            raise RecipeError(f"initial is {self.initial}: it must be a share of zeros, 0.0 or more and below 1.0")
        if self.power <= 0:
            raise RecipeError(f"power is {self.power}: it must be above 0")

    @property
    def last(self) -> int:
        """See `Constant`."""
        return self.end

    def sparsity(self, step: Any, wanted: float) -> Any:
        """See `Constant`."""
        first = max(self.begin, 1)
        left = 1.0 - (ops.cast(step, "float32") - first) / max(self.end - first, 1)
        return wanted + (min(self.initial, wanted) - wanted) * ops.clip(left, 0.0, 1.0) ** self.power

    def is_due(self, step: Any) -> Any:
        """See `Constant`."""
        return _is_due(step, self.begin, self.end, self.frequency)


Schedule = Constant | PolynomialDecay


def _is_due(step: Any, begin: int, last: int, frequency: int) -> Any:
    first = max(begin, 1)
    turn = ops.logical_or(ops.equal((step - first) % frequency, 0), ops.equal(step, last))
    return ops.logical_and(turn, ops.logical_and(step >= first, step <= last))


def _require_steps(begin: int, last: int, frequency: int) -> None:
    if begin < 0:
        raise RecipeError(f"begin is {begin}: it must be a step, 0 or more")
    if last < max(begin, 1):
        raise RecipeError(f"end is {last}: it must be a step, and not before begin ({begin})")
    if frequency < 1:
        raise RecipeError(f"frequency is {frequency}: it must be a number of steps, 1 or more")
