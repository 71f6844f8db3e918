"""What is done to raw values before the model sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tersor.errors import DataError, RecipeError
from tersor.ir.graph import Array


@dataclass(frozen=True)
class Preprocess:
    """Normalization: ``x * rescale`` or ``(x - mean) / std``; with neither, values stay as they are.

    Attributes:
        rescale: factor, or None.
        mean: one value, or one per channel (the last axis).
        std: likewise.

    Raises RecipeError for both at once, and for what is not a finite number.
    """

    rescale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.rescale is not None and (self.mean or self.std):
            raise RecipeError("give either --rescale or --mean and --std, not both")
        if not all(math.isfinite(value) for value in (self.rescale or 0.0, *self.mean, *self.std)):
            raise RecipeError(f"--rescale, --mean and --std are finite numbers, not {self}")
        if any(value == 0 for value in self.std):
            raise RecipeError("--std is 0: it divides")

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are."""
        return self.rescale is None and not self.mean and not self.std

    def apply(self, values: Array) -> Array:
        """Normalize one sample, channels last. Returns float32 (or `values` itself if nothing is to be done)."""
        if self.is_identity:
            return values
        if self.rescale is not None:
            return np.asarray(values, np.float32) * np.float32(self.rescale)
        channels = values.shape[-1] if values.ndim else 1
        for name, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (0, 1, channels):
                raise DataError(f"--{name} has {len(given)} values, the data has {channels} channels")
        mean = np.asarray(self.mean or (0.0,), np.float32)
        std = np.asarray(self.std or (1.0,), np.float32)
        return np.asarray((np.asarray(values, np.float32) - mean) / std, np.float32)

    def __str__(self) -> str:
        if self.is_identity:
            return "as they are"
        if self.rescale is not None:
            return f"x * {self.rescale:g}"
        return f"(x - {_joined(self.mean or (0.0,))}) / {_joined(self.std or (1.0,))}"


def _joined(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
