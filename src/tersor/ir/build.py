"""Builds graphs by hand, for tests and for passes that make whole graphs.

b = Builder("net")
x = b.input("x", [1, 8, 8, 4])
y = b.op("CONV_2D", [x, b.constant("w", weights), b.constant("b", bias)], [1, 8, 8, 6], {"stride_w": 1, "stride_h": 1})
model = b.model([y])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from tersor.ir.check import check_model
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Record, Tensor
from tersor.ir.normal import Normal
from tersor.ir.outline import is_outline

_WITHOUT_OPTIONS = frozenset(
    {
        "BROADCAST_ARGS",
        "CEIL",
        "ELU",
        "EMBEDDING_LOOKUP",
        "FLOOR",
        "LOG",
        "LOGISTIC",
        "PRELU",
        "RELU",
        "RELU6",
        "RELU_0_TO_1",
        "RELU_N1_TO_1",
        "ROUND",
        "RSQRT",
        "SIN",
        "SQRT",
        "TANH",
    }
)
"""Builtin operators that have no options table."""

_OPTIONS = {
    "ATAN2": "ATan2Options",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "BATCH_TO_SPACE_ND": "BatchToSpaceNDOptions",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "BidirectionalSequenceLSTMOptions",
    "BIDIRECTIONAL_SEQUENCE_RNN": "BidirectionalSequenceRNNOptions",
    "CONV_2D": "Conv2DOptions",
    "CONV_3D": "Conv3DOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "LSTM": "LSTMOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "PADV2": "PadV2Options",
    "REDUCE_ALL": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "RNN": "RNNOptions",
    "SPACE_TO_BATCH_ND": "SpaceToBatchNDOptions",
    "SUM": "ReducerOptions",
    "SVDF": "SVDFOptions",
    "TOPK_V2": "TopKV2Options",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
}
"""Names of options tables that do not follow from the operator's name (`schema.fbs`, `union BuiltinOptions`)."""

_DTYPES = {
    np.dtype(dtype.numpy): dtype
    for dtype in (
        DType.FLOAT32,
        DType.FLOAT16,
        DType.INT8,
        DType.INT16,
        DType.INT32,
        DType.INT64,
        DType.UINT8,
        DType.BOOL,
    )
}


class Builder:
    """Collects tensors and operators in the order in which they are named; `model` makes them a model.

    Args:
        name: the graph's name.
    """

    def __init__(self, name: str = "main") -> None:
        self._name = name
        self._tensors: dict[str, Tensor] = {}
        self._ops: list[Op] = []
        self._inputs: list[str] = []

    def input(self, name: str, shape: Sequence[int], dtype: DType = DType.FLOAT32) -> str:
        """Add a graph input. Returns its name."""
        self._inputs.append(self._add(Tensor(self._fresh(name), tuple(shape), dtype)))
        return self._inputs[-1]

    def constant(self, name: str, values: Any) -> str:
        """Add a constant of the type and shape of `values` (Python floats: float32, ints: int32). Returns its name."""
        array = values if isinstance(values, np.ndarray) and is_outline(values) else np.array(values)
        if not isinstance(values, np.ndarray | np.generic):
            array = array.astype({"f": np.float32, "i": np.int32}.get(array.dtype.kind, array.dtype))
        return self._add(Tensor(self._fresh(name), array.shape, _DTYPES[array.dtype]).with_data(array))

    def variable(self, name: str, shape: Sequence[int], dtype: DType = DType.FLOAT32) -> str:
        """Add state that a recurrent operator keeps between runs. Returns its name."""
        return self._add(Tensor(self._fresh(name), tuple(shape), dtype, is_variable=True))

    def op(
        self,
        kind: str,
        inputs: Sequence[str | None],
        shape: Sequence[int],
        options: Mapping[str, Any] | Record | None = None,
        *,
        dtype: DType = DType.FLOAT32,
        version: int = 1,
        name: str = "",
    ) -> str:
        """Add an operator with one result of that shape and type. Returns the result's name; see `op_with`."""
        return self.op_with(kind, inputs, [(shape, dtype)], options, version=version, name=name)[0]

    def op_with(
        self,
        kind: str,
        inputs: Sequence[str | None],
        results: Sequence[tuple[Sequence[int], DType]],
        options: Mapping[str, Any] | Record | None = None,
        *,
        version: int = 1,
        name: str = "",
    ) -> tuple[str, ...]:
        """Add an operator.

        Args:
            kind: the builtin operator's name.
            inputs: tensor names, None for an operand that is left out.
            results: shape and type of each result.
            options: fields of the options table; those not given keep the schema's defaults, which for strides and
                softmax's beta are 0. A `Record` names its table itself.
            version: the operator version.
            name: the name of the operator and its first result; by default the kind in small letters.

        Returns:
            The names of the results.
        """
        wish = name or kind.lower()
        outputs = tuple(
            self._add(Tensor(self._fresh(wish if number == 0 else f"{wish}:{number}"), tuple(shape), dtype))
            for number, (shape, dtype) in enumerate(results)
        )
        self._ops.append(Op(outputs[0], kind, tuple(inputs), outputs, options=_options(kind, options), version=version))
        return outputs

    def model(self, outputs: Sequence[str]) -> Model:
        """The model with these graph outputs. Raises GraphError if it breaks an invariant."""
        model = Model((Graph(self._name, self._tensors, tuple(self._ops), tuple(self._inputs), tuple(outputs)),))
        check_model(model)
        return model

    def note(self, name: str, normal: Normal) -> None:
        """State how the channels of a value that was added spread."""
        self._tensors[name] = replace(self._tensors[name], normal=normal)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that was added."""
        return self._tensors[name].shape

    def dtype_of(self, name: str) -> DType:
        """The element type of a tensor that was added."""
        return self._tensors[name].dtype

    def _add(self, tensor: Tensor) -> str:
        self._tensors[tensor.name] = tensor
        return tensor.name

    def _fresh(self, wish: str) -> str:
        name, number = wish, 2
        while name in self._tensors:
            name, number = f"{wish}_{number}", number + 1
        return name


@cache
def options_type(kind: str) -> str | None:
    """The name of a builtin operator's options table, None if it has none."""
    if kind in _WITHOUT_OPTIONS:
        return None
    return _OPTIONS.get(kind) or "".join(part.capitalize() for part in kind.split("_")) + "Options"


def _options(kind: str, given: Mapping[str, Any] | Record | None) -> Record | None:
    if isinstance(given, Record):
        return given
    table = options_type(kind)
    return None if table is None else Record(table, tuple((given or {}).items()))
