"""C functions that fill a model's input from raw samples, as NumPy does it here.

Bytes go through a table, or are shifted where the input's scale allows it; so they need no floating point on the
device, and give the integers that NumPy gives. Other numbers are normalized in float32 and rounded, half to even, in
float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import offset_of

C_TYPES = {DType.INT8: "int8_t", DType.UINT8: "uint8_t", DType.INT16: "int16_t", DType.FLOAT32: "float"}
"""Types that an input filled by these functions may have."""

_PER_LINE = 16


@dataclass(frozen=True)
class Normalize:
    """What one function has to do.

    Attributes:
        name: of the functions, which end in `_bytes` and `_floats`.
        dtype: of the input, one of `C_TYPES`.
        params: of an integer input.
        elements: of one sample.
        rescale: factor, or None.
        mean: float32, one or one per channel (the innermost dimension); none for 0.
        std: likewise, none for 1.
        samplewise: see `data.preprocess`.
        epsilon: added to the standard deviation of a sample.
        table: for each byte the integers [256, channels]; None where there is no table: the input is float, samples
            decide, or bytes make no sense.
        takes_bytes: whether there is a function for bytes.
    """

    name: str
    dtype: DType
    params: QuantParams | None
    elements: int
    rescale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    samplewise: bool = False
    epsilon: float = 0.0
    table: Array | None = None
    takes_bytes: bool = True


def declarations(item: Normalize) -> list[str]:
    """The functions as a header declares them."""
    return [f"{_head(item, raw)};" for raw in _raw_types(item)]


def definitions(item: Normalize) -> list[str]:
    """The functions, and the tables that they read."""
    lines = [*_vectors(item)]
    needs_rounding = item.params is not None
    if needs_rounding:
        lines += _rounding(item)
    for raw in _raw_types(item):
        lines += _function(item, raw)
    return lines


def number(value: float) -> str:
    """A float32 as C writes it; nine digits tell every one of them."""
    text = f"{np.float32(value):.9g}"
    return f"{text if any(sign in text for sign in '.en') else text + '.0'}f"


def _raw_types(item: Normalize) -> tuple[str, ...]:
    return ("bytes", "floats") if item.takes_bytes else ("floats",)


def _head(item: Normalize, raw: str) -> str:
    kind = "uint8_t" if raw == "bytes" else "float"
    return f"void {item.name}_{raw}(const {kind} *raw, {C_TYPES[item.dtype]} *input)"


def _function(item: Normalize, raw: str) -> list[str]:
    lines = [f"{_head(item, raw)} {{"]
    if raw == "bytes" and item.table is not None:
        lines += _by_table(item, item.table)
    elif item.samplewise:
        lines += _by_moments(item, raw)
    else:
        lines += _loop(item, f"input[i] = {_rounded(item, _scaled(item, raw))};")
    return [*lines, "}", ""]


def _loop(item: Normalize, *body: str) -> list[str]:
    lines = ["    uint32_t i;", f"    for (i = 0; i < {item.elements}u; ++i) {{"]
    return [*lines, *(f"        {line}" for line in body), "    }"]


def _by_table(item: Normalize, table: Array) -> list[str]:
    offset = offset_of(table)
    kind = C_TYPES[item.dtype]
    if offset is not None:
        return _loop(item, f"input[i] = ({kind})((int)raw[i] + ({offset}));" if offset else "input[i] = raw[i];")
    channels = table.shape[1]
    place = "0" if channels == 1 else f"i % {channels}u"
    return _loop(item, f"input[i] = {item.name}_table[{place}][raw[i]];")


def _by_moments(item: Normalize, raw: str) -> list[str]:
    value = _scaled(item, raw)
    count = f"{item.elements}.0"
    loop = f"    for (i = 0; i < {item.elements}u; ++i) {{"
    return [
        "    uint32_t i;",
        "    double mean = 0.0, deviation = 0.0;",
        loop,
        f"        mean += (double)({value});",
        "    }",
        f"    mean /= {count};",
        loop,
        f"        const double distance = (double)({value}) - mean;",
        "        deviation += distance * distance;",
        "    }",
        f"    deviation = sqrt(deviation / {count}) + {item.epsilon!r};",
        loop,
        f"        input[i] = {_rounded(item, f'(float)(((double)({value}) - mean) / deviation)')};",
        "    }",
    ]


def _scaled(item: Normalize, raw: str) -> str:
    """A raw value as float32, normalized but for what a whole sample decides."""
    value = "(float)raw[i]" if raw == "bytes" else "raw[i]"
    if item.rescale is not None:
        return f"{value} * {number(item.rescale)}"
    if item.mean:
        value = f"({value} - {_of_channel(item, 'mean', item.mean)})"
    if item.std:
        value = f"{value} / {_of_channel(item, 'std', item.std)}"
    return value


def _of_channel(item: Normalize, what: str, values: tuple[float, ...]) -> str:
    return number(values[0]) if len(values) == 1 else f"{item.name}_{what}[i % {len(values)}u]"


def _rounded(item: Normalize, value: str) -> str:
    return value if item.params is None else f"{item.name}_rounded({value})"


def _rounding(item: Normalize) -> list[str]:
    """A function from a real number to an integer of the input."""
    assert item.params is not None
    low, high = item.dtype.integer_range
    kind = C_TYPES[item.dtype]
    return [
        f"static {kind} {item.name}_rounded(float value) {{",
        f"    const double place = rint((double)value / {item.params.scale!r}) + ({item.params.zero_point}.0);",
        f"    return ({kind})(place < {low}.0 ? {low}.0 : place > {high}.0 ? {high}.0 : place);",
        "}",
        "",
    ]


def _vectors(item: Normalize) -> list[str]:
    lines: list[str] = []
    for what, values in (("mean", item.mean), ("std", item.std)):
        if len(values) > 1:
            listed = ", ".join(number(value) for value in values)
            lines += [f"static const float {item.name}_{what}[{len(values)}] = {{{listed}}};", ""]
    if item.table is not None and offset_of(item.table) is None:
        channels = item.table.shape[1]
        lines.append(f"static const {C_TYPES[item.dtype]} {item.name}_table[{channels}][256] = {{")
        for channel in range(channels):
            lines += ["    {", *_rows(item.table[:, channel].tolist(), "        "), "    },"]
        lines += ["};", ""]
    return lines


def _rows(values: Sequence[int], indent: str) -> list[str]:
    starts = range(0, len(values), _PER_LINE)
    return [f"{indent}{', '.join(str(value) for value in values[start : start + _PER_LINE])}," for start in starts]
