"""``DEPTH_TO_SPACE(x)`` -> ``TRANSPOSE_CONV(x; W)`` with a kernel and a stride of one block, and weights 0 and 1.

Each block of the result reads one place of ``x``, and ``W[c, i, j, (i b + j) C + c] = 1`` picks the channel that goes
to row i and column j: no sum has more than one part. It costs C b^2 multiplications per value in place of none. Refused
where the weights would be more than a million.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, rewritten
from tersor.passes._match import is_float

_MOST_WEIGHTS = 1 << 20


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it becomes a transposed convolution."""
    if op.kind != "DEPTH_TO_SPACE" or op.inputs[0] is None or not is_float(graph, op.outputs[0]):
        return "it is no DEPTH_TO_SPACE of floats"
    block, channels = int(op.option("block_size", 1)), graph.tensors[op.outputs[0]].shape[-1]
    weights = (channels * block * block) ** 2
    return None if weights <= _MOST_WEIGHTS else f"it would need {weights:,} weights"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators formed anew, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    result = draft.graph.tensors[op.outputs[0]].shape
    block, channels = int(op.option("block_size", 1)), result[-1]
    weights = np.zeros((channels, block, block, block, block, channels), np.float32)
    channel, row, column = np.indices((channels, block, block))
    weights[channel, row, column, row, column, channel] = 1
    kernel = draft.constant("kernel", weights.reshape(channels, block, block, -1))
    size = draft.constant("size", list(result))
    draft.end("TRANSPOSE_CONV", [size, kernel, op.inputs[0]], {"padding": 1, "stride_w": block, "stride_h": block})
