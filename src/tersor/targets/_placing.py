"""What placing on any target needs: an operator's row, a model's bytes, and what a file leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tersor.formats import tflite
from tersor.ir.graph import Graph, Model
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


def content_of(model: Model) -> bytes:
    """The model's file: its own, or one as it would be written."""
    return Path(model.source).read_bytes() if model.source else tflite.write_bytes(model)


def open_inputs(graph: Graph) -> Iterator[str]:
    """For each input with open sizes besides its batch: with which sizes it is judged."""
    for name in graph.inputs:
        shape = graph.tensors[name].open_shape
        if shape is not None and any(size < 0 for size in shape[1:]):
            sizes = ",".join("?" if size < 0 else str(size) for size in shape)
            yield f"input {name} is [{sizes}]: judged with the sizes that the file states; fix them first"
