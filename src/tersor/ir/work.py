"""What operators have to compute."""

from __future__ import annotations

from tersor.ir.graph import Graph, Op


def macs(graph: Graph, op: Op) -> int:
    """Multiply-accumulate operations of one run of an operator; 0 for kinds that do not multiply and add."""
    if not op.outputs:
        return 0
    result = graph.tensors[op.outputs[0]]
    match op.kind:
        case "CONV_2D" | "CONV_3D":
            weights = graph.operand(op, 1)
            axis = 0 if op.kind == "CONV_2D" else -1
            return 0 if weights is None else result.elements * weights.elements // max(1, weights.shape[axis])
        case "DEPTHWISE_CONV_2D":
            weights = graph.operand(op, 1)
            return 0 if weights is None else result.elements * weights.shape[1] * weights.shape[2]
        case "TRANSPOSE_CONV":
            weights, data = graph.operand(op, 1), graph.operand(op, 2)
            if weights is None or data is None:
                return 0
            return data.elements * weights.elements // max(1, weights.shape[3])
        case "FULLY_CONNECTED":
            weights = graph.operand(op, 1)
            return 0 if weights is None or len(weights.shape) != 2 else result.elements * weights.shape[1]
        case "BATCH_MATMUL":
            left = graph.operand(op, 0)
            if left is None or not left.shape:
                return 0
            return result.elements * left.shape[-2 if op.option("adj_x") else -1]
        case "UNIDIRECTIONAL_SEQUENCE_LSTM" | "SVDF":
            return _recurrent(graph, op)
    return 0


_RECURRENT_WEIGHTS = {"UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 12), 16), "SVDF": (1, 2)}


def _recurrent(graph: Graph, op: Op) -> int:
    """Each weight is used once in a step of a sample."""
    data = graph.operand(op, 0)
    weights = [graph.operand(op, index) for index in _RECURRENT_WEIGHTS[op.kind]]
    steps = 0 if data is None or not data.shape else data.elements // max(1, data.shape[-1])
    return steps * sum(item.elements for item in weights if item is not None)
