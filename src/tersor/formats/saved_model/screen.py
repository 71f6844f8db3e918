"""Refuses graphs that reach for files, for Python or for other machines. Runs in the child, before anything else.

A SavedModel is a program: loading one runs its initializers, and converting one may run whatever does not depend on an
input. TensorFlow's operators for files and processes are therefore looked for in the bytes, by name, in every graph and
function. What TensorFlow declares as stateful is refused unless it is known to stay inside the model; what it declares
as stateless is let through unless its name is one of those below. Functions for checkpoints are let be where only the
SavedModel's own saver reaches them: restoring is what loading means, and saving is never asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tersor.errors import UnsupportedError

_REACHES_OUT = re.compile(
    r"File|Py.*Func|Dataset|^_?Debug|^Copy(Host)?$|Reader|^ImmutableConst$|^GenerateVocabRemapping$|^LoadAndRemap"
    r"|Checkpoint|^Save|^Restore|Snapshot|Rpc|Remote|^_?(Host)?(Send|Recv)|^(Decode|Encode)Proto|TfLite|Library"
)
"""Names of operators, stateless ones among them, that read or write files, run Python or talk to other machines."""

_STAYS_INSIDE = re.compile(
    r"^(Assert|(Resource|Assign|Lookup|Random|Stateful|Stateless|TensorArray|Stack|CudnnRNN|CheckNumerics|Rng|Var)\w*"
    r"|ReadVariableOp|Variable(V2|Shape)?|TemporaryVariable|DestroyResourceOp|DisableCopyOnRead|If|While|Case"
    r"|(Parameterized)?TruncatedNormal|Multinomial|NonDeterministicInts|\w+CandidateSampler"
    r"|SampleDistortedBoundingBox(V2)?|(Anonymous)?(Mutable)?(Dense)?HashTable\w*|InitializeTable(V2)?|GuaranteeConst"
    r"|\w*Queue(Enqueue|Dequeue|Close|Size|IsClosed)?\w*|Empty|DeepCopy|XlaCallModule|Timestamp|Print)$"
)
"""Stateful operators whose state is the model's own: variables, tables, random numbers, control flow."""

_STREAMS = (b"", b"stderr", b"stdout", b"log(info)", b"log(warning)", b"log(error)")
_SAVING = frozenset({"SaveV2", "Save", "SaveSlices", "MergeV2Checkpoints", "ShardedFilename"})
_RESTORING = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
_INITIALIZERS = ("saved_model_main_op", "legacy_init_op", "saved_model_init_op", "main_op", "table_initializer")

OpDef = Callable[[str], Any]
"""The definition of an operator by its name, None for one that TensorFlow does not have."""


def refuse_meta_graph(meta_graph: Any, definition: OpDef) -> None:
    """Raise UnsupportedError if a graph of a SavedModel (a `MetaGraphDef`) reaches outside of the model."""
    graph = _Reach(meta_graph.graph_def)
    saver = meta_graph.saver_def
    saving = graph.reached([_node(saver.save_tensor_name)], set())
    restoring = graph.reached([_node(saver.restore_op_name)], set())
    entries = [_node(tensor.name) for item in meta_graph.signature_def.values() for tensor in item.outputs.values()]
    for name, collection in meta_graph.collection_def.items():
        if name in _INITIALIZERS:
            entries += [_node(item) for item in collection.node_list.value]
    entries += [f"{name}()" for name in _functions_of_objects(meta_graph.object_graph_def)]
    own = (saving | restoring).__contains__
    rest = graph.reached([name for name in graph.names if not own(name)] + entries, set())
    found = [
        *graph.reaching_out(rest, definition, frozenset()),
        *graph.reaching_out(restoring - rest, definition, _RESTORING),
        *graph.reaching_out(saving - rest - restoring, definition, _SAVING),
    ]
    _refuse(found)


def _functions_of_objects(objects: Any) -> Iterator[str]:
    """The functions that loading may call, or a caller."""
    yield from objects.concrete_functions
    for item in objects.nodes:
        yield from item.function.concrete_functions
        yield item.bare_concrete_function.concrete_function_name


def refuse_graph(graph_def: Any, definition: OpDef) -> None:
    """Raise UnsupportedError if a frozen graph (a `GraphDef`) reaches outside of the model."""
    graph = _Reach(graph_def)
    _refuse(list(graph.reaching_out(set(graph.names), definition, frozenset())))


def refuse_operators(kinds: Mapping[str, int]) -> None:
    """Raise UnsupportedError if operators of a `.tflite` file, by name, may reach outside of the model.

    Printing is among them: where to, only the operator's attributes say.
    """
    found = [f"{kind} x{count}" for kind, count in kinds.items() if _REACHES_OUT.search(kind) or "Print" in kind]
    if found:
        raise UnsupportedError(
            f"holds TensorFlow ops that reach for files, Python or other machines ({', '.join(found)}): it is not run"
        )


def _refuse(found: list[str]) -> None:
    if found:
        kinds = ", ".join(f"{kind} x{found.count(kind)}" for kind in sorted(set(found)))
        raise UnsupportedError(
            f"the model reaches for files, Python or other machines ({kinds}), so converting it could run code of "
            "its author's: it is not loaded; if you trust them, give --trust-code"
        )


class _Reach:
    """Which nodes and functions of a graph lead to which; functions are named `name()`."""

    def __init__(self, graph_def: Any) -> None:
        self._functions = {item.signature.name for item in graph_def.library.function}
        self._nodes: dict[str, list[Any]] = {}
        for node in graph_def.node:  # a name that stands there twice must not hide one of its nodes
            self._nodes.setdefault(node.name, []).append(node)
        for item in graph_def.library.function:
            self._nodes.setdefault(f"{item.signature.name}()", []).extend(item.node_def)
        self.names = list(self._nodes)

    def reached(self, names: Iterable[str], seen: set[str]) -> set[str]:
        """Those names, what they read, and the functions they call, all the way down."""
        waiting = [name for name in names if name in self._nodes]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            for node in self._nodes[name]:
                read = [] if name.endswith("()") else [_node(item) for item in node.input]
                waiting += [item for item in (*read, *self._called(node)) if item in self._nodes]
        return seen

    def reaching_out(self, names: Iterable[str], definition: OpDef, allowed: frozenset[str]) -> Iterator[str]:
        """The operators among those that are not to be run."""
        for name in names:
            for node in self._nodes[name]:
                is_call = node.op in self._functions and definition(node.op) is None
                if not is_call and node.op not in allowed and _reaches_out(node, definition):
                    yield str(node.op)

    def _called(self, node: Any) -> list[str]:
        called = [node.op] if node.op in self._functions else []
        called += [name for value in node.attr.values() for name in _functions_in(value)]
        return [f"{name}()" for name in called]


def _functions_in(value: Any) -> Iterator[str]:
    """The functions that an attribute names, also as arguments of functions."""
    for item in (value.func, *value.list.func):
        if item.name:
            yield item.name
            for inner in item.attr.values():
                yield from _functions_in(inner)


def _reaches_out(node: Any, definition: OpDef) -> bool:
    kind = str(node.op)
    if kind == "PrintV2":
        stream = bytes(node.attr["output_stream"].s) if "output_stream" in node.attr else b""
        return stream not in _STREAMS
    if _REACHES_OUT.search(kind):
        return kind != "ShardedFilename"
    found = definition(kind)
    return found is not None and bool(found.is_stateful) and not _STAYS_INSIDE.match(kind)


def _node(tensor: str) -> str:
    """The node that a tensor's name, or a control input's, belongs to."""
    return tensor.removeprefix("^").partition(":")[0]
