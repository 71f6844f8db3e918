"""`Model` -> bytes of a `.tflite` file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from tersor.errors import ModelError, OutputError
from tersor.formats.tflite.attachments import attachments_bytes
from tersor.formats.tflite.schema import IDENTIFIER, classes, code_of, codes_of, raw, thaw
from tersor.ir.check import check_model
from tersor.ir.graph import Array, Graph, Model, Op, Record, Tensor
from tersor.ir.outline import has_outlines, is_outline, outline
from tersor.ir.quant import PerGroup

ALIGNMENT = 16
"""Bytes to which constants are aligned in the file (`force_align` of `Buffer.data` in the schema)."""

EXTERNAL_ABOVE = 1_900_000_000
"""Bytes of constants from which they are put behind the flatbuffer, whose own offsets are signed 32 bit."""


_PER_TENSOR = 2048
"""Bytes for a tensor's name, shape and scales and for its operator: 88 in a float ResNet152, more with many scales."""


def write(model: Model, path: str | Path) -> None:
    """Write a file in place (see `stages.save` for a safe replacement). Raises OutputError."""
    try:
        with Path(path).open("wb") as file:
            for chunk in chunks(model):
                file.write(chunk)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_hollow(model: Model, path: Path) -> None:
    """Write a file whose outlines are one hole that takes no disk: for whoever looks at operators, types and shapes."""
    check_model(model)
    packer = _Packer(model)
    start = _aligned(packer.room)
    while len(flatbuffer := packer.flatbuffer(external_from=start)) > start:
        start *= 2
    with path.open("wb") as file:
        file.write(flatbuffer)
        file.seek(start)
        for chunk in packer.external_chunks():
            file.write(chunk)
        file.truncate(file.tell() + max((data.nbytes for data in packer.outlines), default=0))


def write_bytes(model: Model) -> bytes:
    """The whole file in memory."""
    return b"".join(bytes(chunk) for chunk in chunks(model))


def chunks(model: Model, external_above: int = EXTERNAL_ABOVE) -> Iterator[bytes | bytearray | memoryview]:
    """The file piece by piece: the flatbuffer, the constants that do not fit in it, the attached files.

    Raises ModelError for a model of which some weights were not read.
    """
    check_model(model)
    if has_outlines(model):
        raise ModelError(f"{model.source or 'the model'}: large weights were not read: it is for forecasts only")
    position = 0
    for chunk in _model_chunks(_Packer(model), external_above):
        yield chunk
        position += len(chunk)
    if model.attachments:
        yield attachments_bytes(model.attachments, position)


def _model_chunks(packer: _Packer, external_above: int) -> Iterator[bytes | bytearray | memoryview]:
    if packer.constant_bytes <= external_above:
        yield packer.flatbuffer()
        return
    size = len(packer.flatbuffer(external_from=1 << 40))
    start = _aligned(size)
    yield packer.flatbuffer(external_from=start)
    yield bytes(start - size)
    yield from packer.external_chunks()


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Byte vectors (which hold the constants) start at multiples of `ALIGNMENT`; equal number vectors are written once.

    Sharing matters: the zero points of per-channel weights are long vectors of nothing but zeros.
    """

    def __init__(self, room: int) -> None:
        super().__init__(room)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802 (the name is the library's)
        if x.dtype != np.uint8:
            key = (x.dtype.str, x.tobytes())
            if key not in self._written:
                self._written[key] = int(super().CreateNumpyVector(x))
            return self._written[key]
        self.StartVector(1, x.size, ALIGNMENT)
        self.head -= x.size
        self.Bytes[self.head : self.head + x.size] = np.ascontiguousarray(x).data
        self.vectorNumElems = x.size
        return int(self.EndVector())


class _Packer:
    """Turns names into the file's indices."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._buffers: list[Array | None] = [None]
        self._buffer_of: dict[tuple[int, int], int] = {}
        self._codes: dict[tuple[str, str | None, int], int] = {}
        self._graphs = [self._graph(graph) for graph in model.graphs]
        self._metadata = [(name, self._add_buffer(np.frombuffer(data, np.uint8))) for name, data in model.metadata]

    @property
    def constant_bytes(self) -> int:
        return sum(data.nbytes for data in self._buffers if data is not None)

    @property
    def room(self) -> int:
        """Bytes that suffice for all but the constants."""
        return (1 << 16) + _PER_TENSOR * sum(len(graph.tensors) for graph in self._model.graphs)

    @property
    def outlines(self) -> list[Array]:
        return [data for data in self._buffers if data is not None and is_outline(data)]

    def flatbuffer(self, external_from: int | None = None) -> memoryview:
        """The flatbuffer; with `external_from`, constants are references to the bytes from there on."""
        table = classes().ModelT()
        table.version = self._model.schema_version
        table.description = raw(self._model.description)
        table.subgraphs = self._graphs
        table.operatorCodes = [self._operator_code(*key) for key in self._codes]
        table.buffers = self._buffer_tables(external_from)
        table.metadata = []
        for name, index in self._metadata:
            entry = classes().MetadataT()
            entry.name, entry.buffer = raw(name), index
            table.metadata.append(entry)
        table.signatureDefs = [self._signature(signature) for signature in self._model.signatures]
        _apply_leftovers(table, self._model.extra)
        # a builder that runs out of room doubles it, constants and all
        builder = _Builder(self.room + (self.constant_bytes if external_from is None else 0))
        builder.Finish(table.Pack(builder), IDENTIFIER)
        return memoryview(builder.Bytes)[builder.Head() :]  # `Output` would copy it

    def external_chunks(self) -> Iterator[memoryview | bytes]:
        """What lies behind the flatbuffer, but for outlines."""
        for data in self._buffers:
            if data is not None and data.nbytes and not is_outline(data):
                yield np.ascontiguousarray(data).data.cast("B")
                yield bytes(_aligned(data.nbytes) - data.nbytes)

    def _buffer_tables(self, external_from: int | None) -> list[Any]:
        tables = []
        position = external_from or 0
        hole = position + sum(
            _aligned(data.nbytes) for data in self._buffers if data is not None and not is_outline(data)
        )
        for data in self._buffers:
            table = classes().BufferT()
            if data is not None and data.nbytes and external_from is not None:
                table.offset, table.size = hole if is_outline(data) else position, data.nbytes
                position += 0 if is_outline(data) else _aligned(data.nbytes)
            elif data is not None:
                table.data = data
            tables.append(table)
        return tables

    def _add_buffer(self, data: Array) -> int:
        flat = (
            outline((data.nbytes,), np.uint8)
            if is_outline(data)
            else np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        )
        key = (flat.__array_interface__["data"][0], flat.nbytes)
        if flat.nbytes == 0 or key not in self._buffer_of:
            self._buffer_of[key] = len(self._buffers)
            self._buffers.append(flat)
        return self._buffer_of[key]

    def _operator_code(self, kind: str, custom_code: str | None, version: int) -> Any:
        table = classes().OperatorCodeT()
        table.builtinCode = codes_of("BuiltinOperator")[kind]
        table.deprecatedBuiltinCode = min(table.builtinCode, 127)
        table.version = version
        table.customCode = None if custom_code is None else raw(custom_code)
        return table

    def _signature(self, signature: Any) -> Any:
        index = {name: number for number, name in enumerate(self._model.graphs[signature.graph].tensors)}

        def maps(pairs: tuple[tuple[str, str], ...]) -> list[Any]:
            tables = []
            for name, tensor in pairs:
                table = classes().TensorMapT()
                table.name, table.tensorIndex = raw(name), index[tensor]
                tables.append(table)
            return tables

        table = classes().SignatureDefT()
        table.signatureKey = raw(signature.key)
        table.subgraphIndex = signature.graph
        table.inputs, table.outputs = maps(signature.inputs), maps(signature.outputs)
        return table

    def _graph(self, graph: Graph) -> Any:
        index = {name: number for number, name in enumerate(graph.tensors)}
        table = classes().SubGraphT()
        table.name = raw(graph.name)
        table.tensors = [self._tensor(tensor, index) for tensor in graph.tensors.values()]
        table.operators = [self._op(op, index) for op in graph.ops]
        table.inputs = _vector(index[name] for name in graph.inputs)
        table.outputs = _vector(index[name] for name in graph.outputs)
        _apply_leftovers(table, graph.extra)
        return table

    def _op(self, op: Op, index: dict[str, int]) -> Any:
        table = classes().OperatorT()
        table.opcodeIndex = self._codes.setdefault((op.kind, op.custom_code, op.version), len(self._codes))
        table.inputs = _vector(-1 if name is None else index[name] for name in op.inputs)
        table.outputs = _vector(index[name] for name in op.outputs)
        for options in (op.options, None if op.extra is None else op.extra.get("second_options")):
            if options is None:
                continue
            if options.type in codes_of("BuiltinOptions"):
                table.builtinOptionsType = codes_of("BuiltinOptions")[options.type]
                table.builtinOptions = thaw(options)
            else:
                table.builtinOptions2Type = codes_of("BuiltinOptions2")[options.type]
                table.builtinOptions2 = thaw(options)
        if op.custom_options is not None:
            table.customOptions = np.frombuffer(op.custom_options, np.uint8)
        if op.intermediates:
            table.intermediates = _vector(-1 if name is None else index[name] for name in op.intermediates)
        _apply_leftovers(table, op.extra, skip=("second_options",))
        return table

    def _tensor(self, tensor: Tensor, index: dict[str, int]) -> Any:
        table = classes().TensorT()
        table.name = raw(tensor.name)
        table.shape = _vector(tensor.shape)
        table.type = code_of(tensor.dtype)
        table.isVariable = tensor.is_variable
        table.shapeSignature = None if tensor.open_shape is None else _vector(tensor.open_shape)
        table.sparsity = thaw(tensor.sparsity)
        table.quantization = _quantization(tensor, index)
        if tensor.data is not None:
            table.buffer = self._add_buffer(tensor.data)
        _apply_leftovers(table, tensor.extra, skip=("quantization_details",))
        return table


def _quantization(tensor: Tensor, index: dict[str, int]) -> Any:
    details = None if tensor.extra is None else tensor.extra.get("quantization_details")
    if tensor.quant is None and tensor.recorded_range is None and details is None:
        return None
    table = classes().QuantizationParametersT()
    if tensor.recorded_range is not None:
        table.min, table.max = (np.array(values, np.float32) for values in tensor.recorded_range)
    if tensor.quant is not None:
        params = tensor.quant
        table.quantizedDimension = params.axis or 0
        if isinstance(params.granularity, PerGroup):
            group = params.granularity
            details = Record(
                "BlockwiseQuantization",
                (
                    ("scales", group.scales_tensor),
                    ("zero_points", group.zero_points_tensor),
                    ("block_size", group.size),
                ),
            )
        else:
            table.scale = np.array(params.scales, np.float32)
            table.zeroPoint = np.array(params.zero_points, np.int64)
    if isinstance(details, Record):
        references = {key: details.get(key) for key, _ in details.fields if key in ("scales", "zero_points")}
        details = details.with_fields(**{key: -1 if name is None else index[name] for key, name in references.items()})
        table.detailsType = codes_of("QuantizationDetails")[details.type]
        table.details = thaw(details)
    return table


def _apply_leftovers(table: Any, extra: Record | None, skip: tuple[str, ...] = ()) -> None:
    if extra is None:
        return
    for key, value in extra.fields:
        if key not in skip:
            head, *rest = key.split("_")
            setattr(table, head + "".join(part.capitalize() for part in rest), thaw(value))


def _vector(numbers: Iterable[int]) -> Array:
    return np.array(list(numbers), np.int32)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
