"""Functions of 16-bit values: 513 points of a table, and straight lines between them.

The table of a function is made from float32 results at each point and half-way to the next, so that the lines' largest
error is halved (`LUTPopulateInt16` and `LUTLookup`, `common.h`). LOGISTIC and TANH share a table of their own
(`sigmoid_table_uint16`, `common.h`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tersor.ir.graph import Array
from tersor.numerics.fixed_functions import logistic_16, tanh_16
from tersor.numerics.fixed_point import round_away
from tersor.runtimes.reference.call import Call

_STEPS = 512

_LOW, _HIGH = -(1 << 15), (1 << 15) - 1

Function = Callable[[Array], Array]
Scale = tuple[float | np.floating[Any], int]
"""A scale and a zero point."""


def table_of(function: Function, of: Scale, to: Scale, real: type[np.floating[Any]] = np.float32) -> Array:
    """The 513 points.

    Args:
        function: takes and returns `real` numbers.
        of: of the argument.
        to: of the result.
        real: the floating-point type that all is computed in.
    """
    low, high = (real(of[0]) * real(edge - of[1]) for edge in (_LOW, _HIGH))
    least, most = (real(to[0]) * real(edge - to[1]) for edge in (_LOW, _HIGH))
    step, per_unit = (high - low) / real(_STEPS), real(1 << 16) / (most - least)
    places = np.arange(_STEPS, dtype=real)
    here = function(low + places * step) * per_unit
    middle = function(low + places * step + step / real(2)) * per_unit
    ahead = function(low + (places + real(1)) * step) * per_unit
    points = round_away(here)
    bias = round_away((round_away((ahead + points) / real(2)) - round_away(middle)) / real(2))
    last = round_away(function(np.array([high], real)) * per_unit)
    found: Array = np.clip(np.concatenate([points - bias, last]), _LOW, _HIGH).astype(np.int64)
    return found


def between(values: Array, table: Array) -> Array:
    """Values of 16 bits through a table; what leaves 16 bits wraps."""
    place, offset = 256 + (values >> 7), values & 0x7F
    slope = (table[place + 1] - table[place]).astype(np.int16).astype(np.int64)
    found: Array = (table[place] + ((slope * offset + 64) >> 7)).astype(np.int16)
    return found


def through_table(call: Call, function: Function) -> Array:
    """A function of one 16-bit operand."""
    of, to = (call.scale(0), call.quant(0).zero_point), (call.result_scale(), call.result_quant().zero_point)
    return between(call.value(0).astype(np.int64), table_of(function, of, to))


def logistic(call: Call) -> Array:
    """LOGISTIC of 16 bits; builtin has a series for the scale 1 / 4096."""
    power = _power_of_scale(call)
    if power == 0 and call.kernels != "micro":
        return logistic_16(call.value(0).astype(np.int64)).astype(np.int16)
    return sigmoid_at(_argument(call, power if power == 0 else None)).astype(np.int16)


def tanh(call: Call) -> Array:
    """TANH of 16 bits; builtin has a series for the scales 1 / 4096 and 1 / 2048."""
    power = _power_of_scale(call)
    if power in (0, 1) and call.kernels != "micro":
        values = np.clip(call.value(0).astype(np.int64) << power, _LOW, _HIGH)
        return tanh_16(values).astype(np.int16)
    return tanh_at(_argument(call, power if power in (0, 1) else None)).astype(np.int16)


def sigmoid_at(values: Array) -> Array:
    """Sigmoid in steps of 1 / 32768 (`reference/integer_ops/logistic.h`) of numbers in steps of 1 / 12288."""
    table, size = _sigmoid(), np.abs(values)
    place = np.minimum(size >> 9, 254)
    line = (table[place] << 9) + (size & 0x1FF) * (table[place + 1] - table[place])
    found = np.where(size >> 9 >= 255, 0x7FFF << 10, line)
    return np.where(values >= 0, found + (1 << 9), (1 << 25) - found + (1 << 9) - 1) >> 10


def tanh_at(values: Array) -> Array:
    """Tanh in steps of 1 / 32768 (`reference/integer_ops/tanh.h`) of numbers in steps of 1 / 12288."""
    table, size = _sigmoid(), np.abs(values)
    place = np.minimum(size >> 8, 254)
    line = (table[place] << 8) + (size & 0xFF) * (table[place + 1] - table[place])
    found = np.where(size >> 8 >= 255, 0xFFFF << 8, line)
    return np.where(values >= 0, found - (1 << 23) + (1 << 7), -found + (1 << 23) + (1 << 7) - 1) >> 8


def _power_of_scale(call: Call) -> int | None:
    """N where the operand's scale is 2**(n - 12), nearly (`CheckedLog2`, `quantization_util.cc`)."""
    power = float(np.log2(call.scale(0)))
    return round(power) + 12 if abs(power - round(power)) < 1e-3 else None


def _argument(call: Call, power: int | None) -> Array:
    """The operand in steps of 1 / 12288."""
    if power is not None:
        return call.value(0).astype(np.int64) * (3 << power)
    multiplier, shift = float(call.scale(0)) * 4096.0 * 3.0, 0
    while multiplier <= 32767 / 2 and shift <= 30:
        multiplier, shift = multiplier * 2, shift + 1
    return (call.value(0).astype(np.int64) * int(multiplier) + ((1 << shift) >> 1)) >> shift


@cache
def _sigmoid() -> Array:
    """65536 sigmoid(i / 24), rounded, with some entries one higher, as the kernels have them."""
    table = np.rint(65536 / (1 + np.exp(-np.arange(256) / 24))).astype(np.int64)
    table[list(_ONE_HIGHER)] += 1
    return table


# fmt: off
_ONE_HIGHER: tuple[int, ...] = (
    4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41, 43, 44, 45, 46,
    49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255,
)
# fmt: on
