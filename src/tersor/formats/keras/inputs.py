"""Model inputs: the batch is fixed, and what else is open is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tersor.errors import FormatError, UnsupportedError
from tersor.formats.keras.call import ELEMENT_LIMIT
from tersor.formats.keras.config import Layer
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType

InputShapes = Mapping[str, tuple[int, ...]]

_DTYPES = {
    "float32": DType.FLOAT32,
    "float16": DType.FLOAT32,
    "bfloat16": DType.FLOAT32,
    "int32": DType.INT32,
    "int64": DType.INT32,
}
"""What an input becomes; models trained in mixed precision compute in float32 here."""


def emit_input(builder: Builder, layer: Layer, wanted: InputShapes, batch: int = 1) -> str:
    """Add the input of a layer, for `batch` samples. Raises UnsupportedError that asks for the sizes that are open."""
    stated = layer.config.get("batch_shape") or layer.config.get("batch_input_shape")
    if not isinstance(stated, list | tuple) or not all(_is_size(size) for size in stated):
        raise FormatError(f"input {layer.name!r} has the shape {stated!r}, which is none")
    shape = (batch, *_closed(layer.name, tuple(stated), wanted))
    dtype = layer.config.get("dtype") or "float32"
    name = dtype if isinstance(dtype, str) else str(dtype.get("config", {}).get("name"))
    name = name.removeprefix("mixed_")
    if name not in _DTYPES:
        raise UnsupportedError(f"input {layer.name!r} has the type {name}, which is not read (float32, int32)")
    return builder.input(layer.name, shape, _DTYPES[name])


def _closed(name: str, stated: tuple[int | None, ...], wanted: InputShapes) -> tuple[int, ...]:
    """The sizes behind the batch."""
    given = wanted.get(name) or wanted.get("")
    if given is None:
        sizes = stated[1:]
        if None in sizes:
            shown = ",".join("?" if size is None else str(size) for size in stated[1:])
            raise UnsupportedError(
                f"input {name!r} leaves sizes open: [{shown}]; a file for a device has fixed ones: give --input-shape, "
                f"for instance --input-shape {shown.replace('?', '224')}"
            )
        return tuple(int(size) for size in sizes if size is not None)
    fits = len(given) == len(stated) - 1 and all(b in (None, a) for a, b in zip(given, stated[1:], strict=True))
    if not fits:
        shown = ",".join("?" if size is None else str(size) for size in stated[1:])
        raise UnsupportedError(f"input {name!r} is [{shown}]; the shape {','.join(map(str, given))} does not fit it")
    return tuple(given)


def _is_size(size: Any) -> bool:
    return size is None or (isinstance(size, int) and not isinstance(size, bool) and 0 < size < ELEMENT_LIMIT)
