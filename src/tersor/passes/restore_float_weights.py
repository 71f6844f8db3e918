"""``DEQUANTIZE(c16) -> c32``, ``DENSIFY(sparse c) -> c``: weights that were stored small become float32 again.

Files with float16 or sparse weights restore them by operators before use. For calibration and quantization such a
model is the float model it was made from, so these operators are carried out once, here. Values are unchanged: every
float16 is a float32. A constant that another operator reads in its small form is kept as well. Constants quantized to
integers stay: their float values are lost.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Tensor
from tersor.numerics.sparse import densify


def apply(graph: Graph) -> Graph:
    """The graph with such operators carried out; the same object if there are none."""
    restored: dict[str, Tensor] = {}
    removed: dict[str, tuple[()]] = {}
    for op in graph.ops:
        if op.kind not in ("DEQUANTIZE", "DENSIFY") or len(op.inputs) != 1 or op.inputs[0] is None:
            continue
        source = restored.get(op.inputs[0]) or graph.tensors[op.inputs[0]]
        if not source.is_constant or source.dtype not in (DType.FLOAT16, DType.FLOAT32):
            continue
        if op.outputs[0] in graph.outputs:
            continue
        dense = densify(source)
        assert dense.data is not None
        values = dense.data.astype(graph.tensors[op.outputs[0]].dtype.numpy)
        result = replace(graph.tensors[op.outputs[0]], shape=dense.shape, open_shape=None)
        restored[op.outputs[0]] = result.with_data(np.asarray(values, order="C"))
        removed[op.name] = ()
    if not removed:
        return graph
    return graph.edit(replace_ops=removed, tensors=restored.values())
