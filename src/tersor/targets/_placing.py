"""What placing on any target needs: an operator's row, a model's bytes, and what a file leaves open."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tersor.formats import tflite
from tersor.ir.graph import Graph, Model
from tersor.ir.outline import filled
from tersor.ir.placement import OpPlacement
from tersor.ir.work import macs


def placed(
    graph: Graph,
    place: int,
    on: str,
    status: str,
    reason: str | None = None,
    rule: str | None = None,
    remedy: str | None = None,
) -> OpPlacement:
    """Where an operator runs, with what is known of it."""
    op = graph.ops[place]
    constants = sum(graph.tensors[name].byte_size for name in op.present_inputs if graph.tensors[name].is_constant)
    work = macs(graph, op)
    return OpPlacement(place, op.label, op.name, on, status, reason, rule, remedy, work, constants, op.kind)


@contextmanager
def file_of(model: Model) -> Iterator[Path]:
    """The model's file: its own, or a temporary one as it would be written, with a hole for what is an outline."""
    if model.source:
        yield Path(model.source)
        return
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        path = Path(folder) / "model.tflite"
        tflite.write_hollow(model, path)
        yield path


def size_of(model: Model) -> int:
    """Bytes of the model's file; of one that there is not yet, about."""
    if model.source:
        return Path(model.source).stat().st_size
    return sum(tensor.byte_size for graph in model.graphs for tensor in graph.tensors.values() if tensor.is_constant)


def content_of(model: Model) -> bytes:
    """The bytes of the model's file; where an outline is, zeros."""
    return Path(model.source).read_bytes() if model.source else tflite.write_bytes(filled(model))


def open_inputs(
    graph: Graph, consequence: str = "judged with the sizes that the file states; fix them first"
) -> Iterator[str]:
    """A sentence for each input with open sizes besides its batch, which says what follows from it."""
    for name in graph.inputs:
        shape = graph.tensors[name].open_shape
        if shape is not None and any(size < 0 for size in shape[1:]):
            sizes = ",".join("?" if size < 0 else str(size) for size in shape)
            yield f"input {name} is [{sizes}]: {consequence}"
