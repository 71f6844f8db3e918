"""What is done to raw values before the model sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tersor.errors import DataError, RecipeError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import asymmetric_params, offset_of, quantize

EPSILON = 1e-6
"""Added to the standard deviation of a sample, so that one of a single colour divides by something (as MLTK does)."""


@dataclass(frozen=True)
class Preprocess:
    """Normalization: ``x * rescale`` or ``(x - mean) / std``; with neither, values stay as they are.

    Attributes:
        rescale: factor, or None.
        mean: one value, or one per channel (the last axis).
        std: likewise.
        samplewise: whether each sample, after it was rescaled, loses its own mean and is divided by its own standard
            deviation, plus `EPSILON`.

    Raises RecipeError for mean and std with another of these, and for what is not a finite number.
    """

    rescale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    samplewise: bool = False

    def __post_init__(self) -> None:
        if self.rescale is not None and (self.mean or self.std):
            raise RecipeError("give either --rescale or --mean and --std, not both")
        if self.samplewise and (self.mean or self.std):
            raise RecipeError("--samplewise takes the mean and std of each sample: leave --mean and --std out")
        if not all(math.isfinite(value) for value in (self.rescale or 0.0, *self.mean, *self.std)):
            raise RecipeError(f"--rescale, --mean and --std are finite numbers, not {self}")
        if any(value == 0 for value in self.std):
            raise RecipeError("--std is 0: it divides")
        if self.rescale == 0:
            raise RecipeError("--rescale is 0: every sample would be the same")

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are."""
        return self.rescale is None and not self.mean and not self.std and not self.samplewise

    def foldable(self) -> tuple[float, float] | None:
        """The range of an 8-bit input that takes raw bytes as they are: its integers are the bytes, less 128 for int8.

        None where no scale does that exactly, as with a mean between two integers, or one scale per channel.
        """
        if self.samplewise:
            return None
        values = self._of_bytes()
        bounds = float(values.min()), float(values.max())
        table = self.table(asymmetric_params(*bounds, DType.INT8))
        return bounds if offset_of(table) == DType.INT8.integer_range[0] else None

    def table(self, params: QuantParams) -> Array:
        """The integers [256, channels] that an input with these parameters takes for each byte, channels as given."""
        return quantize(self._of_bytes(), params)

    def _of_bytes(self) -> Array:
        channels = max(len(self.mean), len(self.std), 1)
        return self.apply(np.broadcast_to(np.arange(256, dtype=np.float32)[:, np.newaxis], (256, channels)))

    def apply(self, values: Array) -> Array:
        """Normalize one sample, channels last. Returns float32 (or `values` itself if nothing is to be done)."""
        if self.is_identity:
            return values
        if self.samplewise:
            return _standardized(
                np.asarray(values, np.float32) * np.float32(1 if self.rescale is None else self.rescale)
            )
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
        if self.samplewise:
            return (
                f"(x - mean of x) / std of x, sample by sample{'' if self.rescale is None else f', of {self._scaled}'}"
            )
        if self.rescale is not None:
            return self._scaled
        return f"(x - {_joined(self.mean or (0.0,))}) / {_joined(self.std or (1.0,))}"

    @property
    def _scaled(self) -> str:
        return f"x * {self.rescale:g}"


def _standardized(values: Array) -> Array:
    """Less their mean, over their standard deviation; both in float64, so that the order of the sums tells nothing."""
    mean = np.mean(values, dtype=np.float64)
    deviation = np.sqrt(np.mean((values - mean) ** 2, dtype=np.float64))
    return np.asarray((values - mean) / (deviation + EPSILON), np.float32)


def _joined(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
