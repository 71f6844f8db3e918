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

    def up_to(self, name: str) -> None:
        """Run everything before an operator, and keep no more than what is read from there on."""
        stop = self._places[name]
        ops = self._graph.ops[self._done : stop]
        self._done = max(stop, self._done)
        if not ops:
            return
        outputs = [item for op in ops for item in op.outputs if self._last.get(item, -1) >= stop]
        if outputs:
            piece = self._graph.subgraph(ops, outputs)
            changed = [self._tensors[item] for item in piece.tensors if item in self._tensors]
            content = tflite.write_bytes(Model((piece.edit(tensors=changed),)))
            keys = [self.key(item) for item in piece.inputs]
            self._store.advance(content, keys, [self.key(item) for item in outputs], self._threads)
        self._kept.update(outputs)
        gone = [item for item in self._kept if self._last.get(item, -1) < stop]
        self._store.drop([self.key(item) for item in gone])
        self._kept.difference_update(gone)
