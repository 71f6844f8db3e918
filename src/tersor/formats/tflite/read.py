"""Bytes of a `.tflite` file -> `Model`."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tersor.errors import FormatError, GraphError
from tersor.formats.tflite.attachments import read_attachments
from tersor.formats.tflite.schema import IDENTIFIER, classes, dtype_of, freeze, names_of, text
from tersor.ir.check import check_model
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op, Record, Signature, Tensor
from tersor.ir.quant import Granularity, PerChannel, PerGroup, PerTensor, QuantParams

EXTENSIONS = (".tflite", ".lite", ".litert")

_MAP_ABOVE = 64 << 20
"""Bytes from which a file is mapped and not read: its pages then need not fit in memory."""

_DAMAGE = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
)
"""What the generated reader raises on bytes that are not what they should be."""


def read(path: str | Path) -> Model:
    """Read a file. Raises FormatError if it is not a whole, well-formed `.tflite` model."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            content: Any = file.read() if size < _MAP_ABOVE else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return read_bytes(content, source=str(path))


def read_bytes(content: bytes | bytearray | memoryview | mmap.mmap, source: str = "<bytes>") -> Model:
    """Read a model from memory; its constants are views of `content`. Raises FormatError."""
    if len(content) < 8 or bytes(content[4:8]) != IDENTIFIER:
        raise FormatError(f"{source}: not a .tflite model{_what_it_is(bytes(content[:8]))}")
    try:
        table = classes().ModelT.InitFromPackedBuf(content, 0)
        model = _Reader(table, content, source).model()
    except _DAMAGE as error:
        detail = f"{type(error).__name__}: {error}".strip().rstrip(":")
        raise FormatError(f"{source}: the .tflite file is truncated or corrupted ({detail})") from error
    try:
        check_model(model)
    except GraphError as error:
        raise FormatError(f"{source}: the .tflite file is inconsistent: {error}") from error
    return model


def _what_it_is(head: bytes) -> str:
    if not head:
        return ": the file is empty"
    if head.startswith(b"PK\x03\x04"):
        return "; it is a zip archive (a .keras file, a .task bundle?)"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "; it is an HDF5 file (a Keras .h5 model?)"
    return " (the identifier TFL3 is missing at byte 4)"


class _Reader:
    """Resolves the file's indices into names."""

    def __init__(self, table: Any, content: Any, source: str) -> None:
        self._table = table
        self._content = content
        self._source = source
        self._codes = table.operatorCodes or []

    def model(self) -> Model:
        table = self._table
        graphs = tuple(self._graph(item) for item in table.subgraphs or [])
        extra = {
            key: frozen
            for key in ("external_buffer_groups", "external_buffers")
            if (frozen := freeze(getattr(table, _camel(key)))) is not None
        }
        return Model(
            graphs=graphs,
            description=text(table.description),
            signatures=tuple(self._signature(item, graphs) for item in table.signatureDefs or []),
            metadata=tuple((text(item.name), self._metadata(item.buffer)) for item in table.metadata or []),
            schema_version=table.version,
            attachments=read_attachments(self._content),
            extra=Record("Model", tuple(extra.items())) if extra else None,
            source=self._source,
        )

    def _signature(self, table: Any, graphs: tuple[Graph, ...]) -> Signature:
        names = list(graphs[table.subgraphIndex].tensors)

        def pairs(maps: Any) -> tuple[tuple[str, str], ...]:
            return tuple((text(item.name), names[item.tensorIndex]) for item in maps or [])

        return Signature(text(table.signatureKey), pairs(table.inputs), pairs(table.outputs), table.subgraphIndex)

    def _metadata(self, buffer: int) -> bytes:
        data = self._buffer(buffer)
        return b"" if data is None else data.tobytes()

    def _buffer(self, index: int) -> Array | None:
        table = self._table.buffers[index]
        if table.offset > 1:
            if table.offset + table.size > len(self._content):
                raise ValueError(f"buffer {index} ends at byte {table.offset + table.size} of {len(self._content)}")
            return np.frombuffer(self._content, np.uint8, table.size, table.offset)
        if table.data is None or len(table.data) == 0:
            return None
        return np.asarray(table.data, np.uint8)

    def _graph(self, table: Any) -> Graph:
        names = _unique_names([text(tensor.name) for tensor in table.tensors or []])
        tensors = [self._tensor(item, name, names) for item, name in zip(table.tensors or [], names, strict=True)]
        ops: list[Op] = []
        taken: set[str] = set()
        for item in table.operators or []:
            op = self._op(item, names, taken)
            taken.add(op.name)
            ops.append(op)
        inputs = tuple(_pick(names, index) for index in _ints(table.inputs))
        computed = {*inputs, *(name for op in ops for name in op.outputs)}
        return Graph(
            name=text(table.name),
            tensors={t.name: t if t.name in computed else _empty_constant(t) for t in tensors},
            ops=tuple(ops),
            inputs=inputs,
            outputs=tuple(_pick(names, index) for index in _ints(table.outputs)),
            extra=_leftovers("SubGraph", table, {"debug_metadata_index": -1}),
        )

    def _op(self, table: Any, names: list[str], taken: set[str]) -> Op:
        code = self._codes[table.opcodeIndex]
        kind = names_of("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]
        outputs = tuple(_pick(names, index) for index in _ints(table.outputs))
        wish = outputs[0] if outputs else kind
        name, number = wish, 2
        while name in taken:
            name, number = f"{wish}_{number}", number + 1
        custom = table.customOptions
        custom_options = None if custom is None else bytes(np.asarray(custom, np.uint8))
        if table.largeCustomOptionsOffset > 1:
            start = table.largeCustomOptionsOffset
            custom_options = bytes(self._content[start : start + table.largeCustomOptionsSize])
        defaults = {
            "mutating_variable_inputs": None,
            "debug_metadata_index": -1,
            "custom_options_format": 0,
        }
        options, second = freeze(table.builtinOptions), freeze(table.builtinOptions2)
        extra = _leftovers("Operator", table, defaults)
        if options is not None and second is not None:
            extra = (extra or Record("Operator")).with_fields(second_options=second)
        return Op(
            name=name,
            kind=kind,
            inputs=tuple(None if index == -1 else _pick(names, index) for index in _ints(table.inputs)),
            outputs=outputs,
            options=second if options is None else options,
            version=code.version,
            custom_code=text(code.customCode) if kind == "CUSTOM" else None,
            custom_options=custom_options,
            intermediates=tuple(None if index == -1 else _pick(names, index) for index in _ints(table.intermediates)),
            extra=extra,
        )

    def _tensor(self, table: Any, name: str, names: list[str]) -> Tensor:
        shape = tuple(_ints(table.shape))
        if any(size < 0 for size in shape):
            raise ValueError(f"tensor {name!r} has the negative size {min(shape)}")
        dtype = dtype_of(table.type)
        open_shape = tuple(_ints(table.shapeSignature))
        quant, recorded_range, details = _quantization(table.quantization, dtype, len(shape), names)
        extra = _leftovers("Tensor", table, {"has_rank": False, "variant_tensors": None, "external_buffer": 0})
        if details is not None:
            extra = (extra or Record("Tensor")).with_fields(quantization_details=details)
        raw = self._buffer(table.buffer)
        sparsity = freeze(table.sparsity)
        data = None if raw is None else _typed(raw, name, dtype, shape, sparse=sparsity is not None)
        return Tensor(
            name=name,
            shape=shape,
            dtype=dtype,
            data=data,
            quant=quant,
            open_shape=open_shape if -1 in open_shape else None,
            is_variable=bool(table.isVariable),
            sparsity=sparsity,
            recorded_range=recorded_range,
            extra=extra,
        )


def _empty_constant(tensor: Tensor) -> Tensor:
    """A value without elements that nothing computes is a constant, though a file stores no bytes of it."""
    if tensor.is_constant or tensor.is_variable or 0 not in tensor.shape or tensor.dtype.bits is None:
        return tensor
    return tensor.with_data(np.empty(0 if tensor.dtype.is_packed else tensor.shape, tensor.dtype.numpy))


def _typed(raw: Array, name: str, dtype: DType, shape: tuple[int, ...], *, sparse: bool) -> Array:
    """The bytes of a constant as an array of its type and shape, without a copy."""
    data = raw
    if not (sparse or dtype.is_packed or dtype.bits is None):
        expected = dtype.byte_size(int(np.prod(shape, dtype=np.int64)))
        if raw.nbytes != expected:
            raise ValueError(f"constant {name!r} has {raw.nbytes} bytes where {dtype}{list(shape)} needs {expected}")
        data = raw.view(dtype.numpy).reshape(shape)
    data.flags.writeable = False
    return data


def _quantization(
    table: Any, dtype: DType, rank: int, names: list[str]
) -> tuple[QuantParams | None, tuple[tuple[float, ...], tuple[float, ...]] | None, Record | None]:
    if table is None:
        return None, None, None
    lows, highs = _floats(table.min), _floats(table.max)
    recorded_range = (lows, highs) if lows or highs else None
    details = freeze(table.details)
    if isinstance(details, Record):
        references = {key: details.get(key) for key in ("scales", "zero_points") if details.get(key) is not None}
        details = details.with_fields(**{key: names[i] if i >= 0 else None for key, i in references.items()})
    if isinstance(details, Record) and details.type == "BlockwiseQuantization" and not details.get("block_shape"):
        group = PerGroup(
            axis=table.quantizedDimension,
            size=details.get("block_size"),
            scales_tensor=details.get("scales"),
            zero_points_tensor=details.get("zero_points") if table.details.zeroPoints > 0 else None,
        )
        return QuantParams((), (), dtype, group), recorded_range, None
    scales, zero_points = _floats(table.scale), tuple(_ints(table.zeroPoint))
    if not scales:
        return None, recorded_range, details
    if len(zero_points) != len(scales):
        zero_points = (zero_points * len(scales))[: len(scales)] if len(zero_points) == 1 else (0,) * len(scales)
    granularity: Granularity = PerTensor()
    if len(scales) > 1 or (table.quantizedDimension and rank > table.quantizedDimension):
        granularity = PerChannel(table.quantizedDimension)
    return QuantParams(scales, zero_points, dtype, granularity), recorded_range, details


def _leftovers(kind: str, table: Any, defaults: dict[str, Any]) -> Record | None:
    """The fields that tersor has no use for, where they differ from the schema's defaults."""
    found = {}
    for key, default in defaults.items():
        value = freeze(getattr(table, _camel(key)))
        if value != default and value != ():
            found[key] = value
    return Record(kind, tuple(found.items())) if found else None


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _unique_names(names: list[str]) -> list[str]:
    """Names by which tensors can be told apart: repeated ones get a number, missing ones are made."""
    taken = set(names)
    seen: set[str] = set()
    unique = []
    for index, name in enumerate(names):
        chosen, number = name or f"tensor_{index}", 2
        while chosen in seen or (chosen != name and chosen in taken):
            chosen, number = f"{name or f'tensor_{index}'}#{number}", number + 1
        seen.add(chosen)
        unique.append(chosen)
    return unique


def _pick(names: list[str], index: int) -> str:
    if index < 0:
        raise ValueError(f"tensor index {index}")
    return names[index]


def _ints(vector: Any) -> list[int]:
    return [] if vector is None else [int(item) for item in vector]


def _floats(vector: Any) -> tuple[float, ...]:
    return () if vector is None else tuple(float(item) for item in vector)
