"""Where the arithmetic of integer kernels ends: by how far a quotient is shifted, how far a table is off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from math import erf

import numpy as np

from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams
from tersor.numerics.fixed_functions import reciprocal, sign_bits
from tersor.numerics.fixed_point import quantize_multiplier

TABLE_STEPS = 512
"""Steps of the tables that int16 kernels interpolate in (`LUTPopulate`, `common.h`)."""

_TABLES: Mapping[str, Callable[[Array], Array]] = {
    "EXP": np.exp,
    "LOG": np.log,
    "RSQRT": lambda values: 1 / np.sqrt(values),
    "GELU": lambda values: values / 2 * (1 + np.vectorize(erf)(values / math.sqrt(2))),
}
"""What the int16 tables hold."""

_BETWEEN = 8
"""Points between two of a table at which it is held against the function."""


def quotient_shift(over: int, over_scale: float, under: QuantParams, result: QuantParams, most: int = 0) -> int:
    """By how many bits DIV shifts a quotient to the right, of either sign (`DivElementwise`, `reference/div.h`).

    Args:
        over: the magnitude of the numerator, in steps from its zero point.
        over_scale: its step.
        under: the divisor's parameters.
        result: the quotient's.
        most: the divisor's magnitude in steps; by default the largest that its type holds.
    """
    most = most or max(abs(bound - under.zero_point) for bound in under.dtype.integer_range)
    factor = quantize_multiplier(np.float32(over_scale) / (np.float32(under.scale) * np.float32(result.scale)))
    _, halvings = reciprocal(np.array(most), 31)
    return int(sign_bits(np.array(-over)) + halvings - factor.shift)


def table_error(kind: str, bounds: tuple[float, float], read: QuantParams, result: QuantParams) -> tuple[float, float]:
    """How far an int16 table is off for values within bounds, and the largest magnitude of the results there.

    Points at which the function has no value, or one that the result does not hold, saturate.
    """
    lowest, highest = read.dtype.integer_range
    points = np.linspace(lowest, highest + 1, TABLE_STEPS + 1) * read.scale
    between = np.linspace(*bounds, _BETWEEN * TABLE_STEPS + 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        table, wanted = _TABLES[kind](points), _TABLES[kind](between)
    table = np.clip(np.where(np.isnan(table), 0.0, table), *result.real_range)
    is_known = np.isfinite(wanted)
    wanted = np.clip(wanted[is_known], *result.real_range)
    error = np.abs(np.interp(between[is_known], points, table) - wanted)
    return float(error.max(initial=0.0)), float(np.abs(wanted).max(initial=0.0))
