"""Which weights of a layer are zeros while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from keras import ops

from tersor.ir.graph import Array
from tersor.training.operators.weights import inputs_before_outputs
from tersor.training.patterns import UNSTRUCTURED, Block, Pattern, pattern_of
from tersor.training.schedules import Constant, PolynomialDecay, Schedule


@dataclass(frozen=True)
class Masking:
    """What becomes of one layer's weights.

    Attributes:
        sparsity: the share of zeros in the end.
        pattern: which weights go together.
        schedule: when they go; None for weights that were zeros from the beginning and stay so.
    """

    sparsity: float
    pattern: Pattern = UNSTRUCTURED
    schedule: Schedule | None = None

    def to_config(self) -> dict[str, Any]:
        """For JSON."""
        block = [self.pattern.outputs, self.pattern.inputs] if isinstance(self.pattern, Block) else None
        return {
            "sparsity": self.sparsity,
            "pattern": "block" if block else str(self.pattern),
            "block": block,
            "schedule": None if self.schedule is None else schedule_to_config(self.schedule),
        }

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Masking:
        """The way back."""
        block, schedule = config["block"], config["schedule"]
        return cls(
            float(config["sparsity"]),
            pattern_of(config["pattern"], None if block is None else (block[0], block[1])),
            None if schedule is None else schedule_of_config(schedule),
        )


@dataclass(frozen=True)
class Mask:
    """A masking as one layer carries it out.

    Attributes:
        how: what becomes of the weights.
        kind: the layer's operator.
        step: the number of the training step; the first is 1.
    """

    how: Masking
    kind: str
    step: Callable[[], Any]

    def first(self, kernel: Array) -> Array:
        """What stays before anything is trained, in the shape of the kernel."""
        return np.ones(kernel.shape, bool) if self.how.schedule is not None else kernel != 0

    def updated(self, kept: Any, importance: Callable[[], Any]) -> Any:
        """What stays from this step on.

        Args:
            kept: what stayed until now; True for weights that stay.
            importance: how much each weight matters, asked for only if it is time to choose.
        """
        schedule = self.how.schedule
        kept = ops.convert_to_tensor(kept)
        if schedule is None:
            return kept
        step = self.step()

        def chosen() -> Any:
            scores = inputs_before_outputs(self.kind, importance())
            share = schedule.sparsity(step, self.how.sparsity)
            return inputs_before_outputs(self.kind, self.how.pattern.mask(scores, share))

        return ops.cond(schedule.is_due(step), chosen, lambda: kept)


SCHEDULES: Mapping[str, type[Schedule]] = {"constant": Constant, "polynomial_decay": PolynomialDecay}
"""Schedules by the names that recipes call them."""


def schedule_to_config(schedule: Schedule) -> dict[str, Any]:
    """For JSON."""
    kind = next(name for name, own in SCHEDULES.items() if isinstance(schedule, own))
    return {"kind": kind, **asdict(schedule)}


def schedule_of_config(config: Mapping[str, Any]) -> Schedule:
    """The way back."""
    return SCHEDULES[config["kind"]](**{key: value for key, value in config.items() if key != "kind"})
