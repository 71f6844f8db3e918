"""One network, run piece by piece over all samples at once."""

from __future__ import annotations

from collections.abc import Mapping

from tersor.formats import tflite
from tersor.ir.graph import Array, Graph, Model, Op, Tensor
from tersor.ir.quant import QuantParams
from tersor.runtimes.store import Store


def bytes_per_sample(graph: Graph) -> int:
    """The most that has to be kept of one sample between two operators: float values, and integers of a byte beside."""
    last = _last_uses(graph)
    alive, most = sum(graph.tensors[name].elements for name in graph.inputs), 0
    for place, op in enumerate(graph.ops):
        alive += sum(graph.tensors[name].elements for name in op.outputs)
        most = max(most, alive)
        gone = (name for name in dict.fromkeys((*op.present_inputs, *op.outputs)) if last.get(name, place) == place)
        alive -= sum(graph.tensors[name].elements for name in gone if not graph.tensors[name].is_constant)
    return 5 * most


def _last_uses(graph: Graph) -> dict[str, int]:
    """For each value that is read, the place of the last operator that does."""
    return {name: place for place, op in enumerate(graph.ops) for name in op.present_inputs}


class Walk:
    """Runs the operators of a graph in order, as far as it is asked to.

    Args:
        graph: what to run; one graph without control flow.
        store: where its values are kept.
        prefix: of its values' names there.
        inputs: the graph's inputs, in each sample.
        threads: samples to run at the same time.
    """

    def __init__(
        self, graph: Graph, store: Store, prefix: str, inputs: Mapping[str, list[Array]], threads: int
    ) -> None:
        self._graph = graph
        self._store = store
        self._prefix = prefix
        self._threads = threads
        self._places = {op.name: place for place, op in enumerate(graph.ops)}
        self._last = _last_uses(graph)
        self._done = 0
        self._kept = set(inputs)
        self._tensors: dict[str, Tensor] = {}
        self._prepared: dict[tuple[int, int], tuple[Graph, bytearray]] = {}
        store.put({f"{prefix}{name}": values for name, values in inputs.items()})

    def op(self, name: str) -> Op:
        """An operator of the graph."""
        return self._graph.ops[self._places[name]]

    def key(self, name: str) -> str:
        """Where a value is kept."""
        return f"{self._prefix}{name}"

    def params(self, name: str) -> QuantParams | None:
        """The numbers of a value."""
        return self._graph.tensors[name].quant

    def set_constant(self, tensor: Tensor) -> None:
        """A constant to go on with, in place of the graph's of that name."""
        self._tensors[tensor.name] = tensor

    def prepare(self, name: str) -> None:
        """Write already what `up_to` this operator will run: constants may change until then."""
        stop = self._places[name]
        if (piece := self._piece(stop)) is not None:
            self._prepared = {(self._done, stop): (piece, bytearray(tflite.write_bytes(Model((piece,)))))}

    def up_to(self, name: str) -> None:
        """Run everything before an operator, and keep no more than what is read from there on."""
        stop = self._places[name]
        if stop <= self._done:
            return
        piece, written = self._prepared.pop((self._done, stop), (None, bytearray()))
        piece = piece or self._piece(stop)
        self._done = stop
        if piece is not None:
            keys = [self.key(item) for item in piece.inputs]
            content = self._with_constants(piece, written)
            self._store.advance(content, keys, [self.key(item) for item in piece.outputs], self._threads)
            self._kept.update(piece.outputs)
        gone = [item for item in self._kept if self._last.get(item, -1) < stop]
        self._store.drop([self.key(item) for item in gone])
        self._kept.difference_update(gone)

    def _piece(self, stop: int) -> Graph | None:
        """What is to be run before an operator; None if nothing is read from there on."""
        ops = self._graph.ops[self._done : stop]
        outputs = [item for op in ops for item in op.outputs if self._last.get(item, -1) >= stop]
        return self._graph.subgraph(ops, outputs) if outputs else None

    def _with_constants(self, piece: Graph, written: bytearray) -> bytes:
        """A piece as a file with the constants as they are now; `written` is one with those of the graph, or empty."""
        changed = [self._tensors[item] for item in piece.tensors if item in self._tensors]
        alike = all(_numbers(item) == _numbers(piece.tensors[item.name]) for item in changed)
        if written and alike and tflite.set_constants(written, changed):
            return bytes(written)
        return tflite.write_bytes(Model((piece.edit(tensors=changed),)))


def _numbers(tensor: Tensor) -> object:
    """What of a constant is written beside its values."""
    return tensor.dtype, tensor.shape, tensor.quant
