"""The one definition of quantization: ``real = scale * (q - zero_point)``."""

from __future__ import annotations

from dataclasses import dataclass

from tersor.ir.dtypes import DType


@dataclass(frozen=True, slots=True)
class PerTensor:
    """One scale and zero point for all values."""


@dataclass(frozen=True, slots=True)
class PerChannel:
    """One scale and zero point for each index along ``axis``."""

    axis: int


@dataclass(frozen=True, slots=True)
class PerGroup:
    """One scale for each run of ``size`` values along ``axis`` (block-wise quantization).

    The scales and zero points are values of constant tensors of the same graph, named here, because a
    large model has too many of them for the file's own list.
    """

    axis: int
    size: int
    scales_tensor: str
    zero_points_tensor: str | None = None


Granularity = PerTensor | PerChannel | PerGroup


@dataclass(frozen=True, slots=True)
class QuantParams:
    """How integers stand for real numbers: ``real = scale * (q - zero_point)``.

    Attributes:
        scales: one positive float32 value for a tensor, or one per channel; empty for `PerGroup`.
        zero_points: as many integers as scales.
        dtype: the stored integer type.
        granularity: what shares a scale.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    dtype: DType
    granularity: Granularity = PerTensor()

    @property
    def scale(self) -> float:
        """The only scale. Raises ValueError if there are several."""
        (scale,) = self.scales
        return scale

    @property
    def zero_point(self) -> int:
        """The only zero point. Raises ValueError if there are several."""
        (zero_point,) = self.zero_points
        return zero_point

    @property
    def axis(self) -> int | None:
        """The channel or group axis; None for a whole tensor."""
        return None if isinstance(self.granularity, PerTensor) else self.granularity.axis

    @property
    def real_range(self) -> tuple[float, float]:
        """The smallest and largest real number that can be stored (over all channels)."""
        low, high = self.dtype.integer_range
        pairs = list(zip(self.scales, self.zero_points, strict=True))
        return min(s * (low - z) for s, z in pairs), max(s * (high - z) for s, z in pairs)

    def __str__(self) -> str:
        match self.granularity:
            case PerGroup(axis, size, scales):
                return f"{self.dtype} per group of {size} along axis {axis}, scales in {scales}"
            case PerChannel(axis):
                low, high = min(self.scales), max(self.scales)
                return f"{self.dtype} per channel (axis {axis}, {len(self.scales)} scales {low:.4g}..{high:.4g})"
            case PerTensor():
                return f"{self.dtype} scale {self.scale:.6g} zero point {self.zero_point}"
