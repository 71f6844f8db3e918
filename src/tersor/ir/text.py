"""A graph as text that a person reads: one line per tensor that is given, one per operator."""

from __future__ import annotations

from tersor.ir.graph import Graph, Model, Op, Record, Tensor


def dump(model: Model) -> str:
    """The whole model, without the values of its constants."""
    parts = [f"model {model.description!r}"]
    parts += [f"metadata {name!r} {len(data)} bytes" for name, data in model.metadata]
    for signature in model.signatures:
        inputs = ", ".join(f"{name}={tensor}" for name, tensor in signature.inputs)
        outputs = ", ".join(f"{name}={tensor}" for name, tensor in signature.outputs)
        parts.append(f"signature {signature.key!r} graph {signature.graph} ({inputs}) -> ({outputs})")
    parts += [dump_graph(graph) for graph in model.graphs]
    return "\n".join(parts)


def dump_graph(graph: Graph) -> str:
    """One graph."""
    lines = [f"graph {graph.name!r}"]
    lines += [f"  input {_typed(graph.tensors[name])}" for name in graph.inputs]
    given = [t for t in graph.tensors.values() if t.is_constant or t.is_variable]
    lines += [f"  {'variable' if t.is_variable else 'constant'} {_typed(t)}" for t in given]
    lines += [f"  {_op(graph, op)}" for op in graph.ops]
    lines.append(f"  output {', '.join(graph.outputs)}")
    return "\n".join(lines)


def _op(graph: Graph, op: Op) -> str:
    results = ", ".join(_typed(graph.tensors[name]) for name in op.outputs)
    operands = ", ".join("-" if name is None else name for name in op.inputs)
    options = "" if op.options is None else " {" + ", ".join(f"{k}={_value(v)}" for k, v in op.options.fields) + "}"
    return f"{results or op.name} = {op.label} v{op.version} ({operands}){options}"


def _value(value: object) -> str:
    if isinstance(value, Record):
        return "{" + ", ".join(f"{k}={_value(v)}" for k, v in value.fields) + "}"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return str(value)


def _typed(tensor: Tensor) -> str:
    sizes = ",".join("?" if size < 0 else str(size) for size in tensor.open_shape or tensor.shape)
    quant = "" if tensor.quant is None else f" ({tensor.quant})"
    return f"{tensor.name}: {tensor.dtype}[{sizes}]{quant}"


def short(name: str) -> str:
    """A tensor name as a person reads it: converters join the names of all that they merged with semicolons."""
    first, semicolon, _ = name.partition(";")
    return f"{first};..." if semicolon else name
