"""The operator table: what LiteRT's integer kernels demand of each operator. One row per operator, facts only.

Sources: the LiteRT 8-bit quantization specification; the kernels and the version table of LiteRT 2.3
(`tflite/kernels`, `tflite/tools/versioning/op_version.cc`); every row is run on the real kernels by
`tests/test_ops.py`. Operators without a row stay in float.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from tersor.ir.dtypes import DType
from tersor.ir.graph import Op

DATA = "data"
"""A value that is quantized like an activation (it may be a constant)."""

WEIGHT = "weight"
"""A constant that is multiplied with a value: symmetric, per channel where `weight_axis` says so."""

WEIGHT16 = "weight16"
"""A constant that is multiplied with 16-bit state: 16 bits and symmetric in integer kernels, int8 in hybrid ones."""

NORM = "norm"
"""Coefficients of layer normalization: 16 bits and symmetric in integer kernels, float in hybrid ones."""

STATE = "state"
"""A variable tensor that persists between runs; integer in integer kernels, float in hybrid ones."""

BIAS = "bias"
"""A constant that is added to products: scale = input scale x weight scale, zero point 0."""

INTEGER, BOOL = "integer", "bool"
"""Shapes, axes, indices, conditions: never quantized."""

ANY = "any"
"""A value of which only the shape is used."""

FREE = "free"
"""Each value has its own range."""

SAME = "same"
"""All data operands and results share scale and zero point: the kernel moves or compares integers."""

SAME_INPUTS = "same_inputs"
"""The data operands share scale and zero point."""

FIXED = "fixed"
"""The result's parameters are a constant of the kernel."""

Range = tuple[float, float]

ALL: Range = (-math.inf, math.inf)

CLAMPS: Mapping[int, Range] = MappingProxyType({0: ALL, 1: (0.0, math.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)})
"""Where fused activation functions end, by their codes in `schema.fbs`: none, RELU, RELU_N1_TO_1, RELU6."""

BELOW, ABOVE = "below", "above"


@dataclass(frozen=True)
class OpSpec:
    """One row.

    Attributes:
        operands: the role of each operand, separated by blanks; a final `data*` stands for any number.
        results: likewise.
        scale: which values must share parameters: FREE, SAME, SAME_INPUTS or FIXED.
        int8: operator version that has int8 activations, None if no kernel does.
        int16: operator version that has int16 activations (zero point 0), None if no kernel does.
        weight_axis: the axis along which weights may have a scale per channel; None for one scale.
        int4: operator version that takes 4-bit weights with int8 activations, None if no kernel does.
        int2: likewise for 2-bit weights.
        dynamic: operator version of the hybrid kernel (float activations, int8 weights), None if there is none.
        dynamic_operand: the constant that the hybrid kernel takes in int8 where no operand is a WEIGHT.
        fixed: for FIXED, (scale, zero point) per activation type.
        needs_bias: the kernel refuses to run without a bias.
        grid: the int8 kernel compares real values rounded to multiples of this.
        multiplier_limit: largest input scale (x weight scale) / output scale that all kernel sets take; nothing is lost
            by a wider output, whose steps are small beside those of the input still.
        int16_multiplier_limit: likewise of the int16 kernel.
        width: bits that kernels keep of a result before they clip it; None where it never leaves the result's range.
        int8_width: likewise of the int8 kernel, where those are fewer.
        rectified: the int8 kernel does ReLU by saturation, so the lowest integer of its result must stand for 0.
        zero_refused: the operand whose values must not round to zero, or the kernel fails while it runs.
        quotient_bits: a quotient is shifted to the right by at most so many bits; beyond, the answer is nonsense.
        reduces_several: over a single value the kernel does not rescale.
        int16_table: the int16 kernel interpolates between 513 results, spread evenly over all that its operand can be.
        clips_as_read: a kernel set clips in its operand's parameters, so the result must have the same.
        scale_limit: largest scale of the operand per activation type: beyond, kernels overflow.
        int16_share: the int16 kernel counts each value, however small, as at least this share of the largest.
        int8_upscaling: operator version for int8 where the product of the input scales reaches the output scale.
        saturates: the operand's values beyond these bounds are to the operator as the bounds are, in float too.
        saturates_rounded: likewise where the result is rounded to its fixed parameters, per activation type.
        averages: for SAME, results are averages of values and not values themselves.
        limited: for SAME, the end at which a constant operand bounds the result, BELOW or ABOVE.
        signs: of a sum of operands, the sign of each.
    """

    operands: str
    results: str = DATA
    scale: str = FREE
    int8: int | None = None
    int16: int | None = None
    weight_axis: int | None = None
    int4: int | None = None
    int2: int | None = None
    dynamic: int | None = None
    dynamic_operand: int | None = None
    fixed: Mapping[DType, tuple[float, int]] = field(default_factory=dict)
    needs_bias: bool = False
    grid: float | None = None
    zero_refused: int | None = None
    multiplier_limit: float | None = None
    int16_multiplier_limit: float | None = None
    width: int | None = None
    int8_width: int | None = None
    rectified: bool = False
    quotient_bits: int | None = None
    reduces_several: bool = False
    int16_table: bool = False
    clips_as_read: bool = False
    scale_limit: Mapping[DType, float] = field(default_factory=dict)
    int16_share: float | None = None
    int8_upscaling: int | None = None
    saturates: Range = ALL
    saturates_rounded: Mapping[DType, Range] = field(default_factory=dict)
    averages: bool = False
    limited: str | None = None
    signs: tuple[int, ...] = ()

    @cached_property
    def _operand_roles(self) -> tuple[str, ...]:
        return _roles(self.operands)

    @cached_property
    def _result_roles(self) -> tuple[str, ...]:
        return _roles(self.results)

    def operand_role(self, index: int) -> str:
        """The role of operand `index`."""
        return self._operand_roles[min(index, len(self._operand_roles) - 1)]

    def result_role(self, index: int) -> str:
        """The role of result `index`."""
        return self._result_roles[min(index, len(self._result_roles) - 1)]

    def operand_index(self, role: str) -> int | None:
        """The place of the first operand of that role."""
        roles = self._operand_roles[:-1]
        return roles.index(role) if role in roles else None

    def multiplies_up_to(self, activations: DType) -> float | None:
        """The largest input scale / output scale for an activation type; None if any is taken."""
        return self.int16_multiplier_limit if activations is DType.INT16 else self.multiplier_limit

    def keeps_bits(self, activations: DType) -> int | None:
        """How many bits kernels keep of a result before they clip it, for an activation type."""
        return self.int8_width if self.int8_width is not None and activations is DType.INT8 else self.width

    @property
    def is_recurrent(self) -> bool:
        """Whether the operator keeps state in a variable tensor."""
        return STATE in self._operand_roles

    def version(self, activations: DType, weights: DType = DType.INT8) -> int | None:
        """The operator version for a type of activations and of weights, None if no kernel takes them."""
        if weights in (DType.INT4, DType.INT2):
            few = self.int4 if weights is DType.INT4 else self.int2
            return few if activations is DType.INT8 else None
        return {DType.INT8: self.int8, DType.INT16: self.int16}.get(activations)


class GateOperands(NamedTuple):
    """Where the constants of one LSTM gate are among the operands; None for what it does not have."""

    input: int
    recurrent: int
    peephole: int | None
    bias: int
    norm: int


LSTM_GATES: Mapping[str, GateOperands] = MappingProxyType(
    {
        "input": GateOperands(1, 5, 9, 12, 20),
        "forget": GateOperands(2, 6, 10, 13, 21),
        "cell": GateOperands(3, 7, None, 14, 22),
        "output": GateOperands(4, 8, 11, 15, 23),
    }
)
"""Operands of UNIDIRECTIONAL_SEQUENCE_LSTM by gate, in the order of its intermediates 0 to 3 (`lstm_shared.h`)."""

LSTM_PROJECTION, LSTM_PROJECTION_BIAS, LSTM_OUTPUT_STATE, LSTM_CELL_STATE = 16, 17, 18, 19
LSTM_HIDDEN = 4
"""The intermediate that is projected to the output."""


LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operators that multiply windows of their input with constant weights."""


class LayerOperands(NamedTuple):
    """Where the operands of one of these are."""

    data: int
    weights: int
    bias: int


BIAS_VERSION: Mapping[str, int] = MappingProxyType({"TRANSPOSE_CONV": 3})
"""Versions from which on operators of these kinds have a bias (`op_version.cc`)."""


@cache
def layer_operands(kind: str) -> LayerOperands:
    """The operands of a kind of `LAYERS`."""
    data, weights, bias = (OPS[kind].operand_index(role) for role in (DATA, WEIGHT, BIAS))
    assert data is not None
    assert weights is not None
    assert bias is not None
    return LayerOperands(data, weights, bias)


def step_limit(op: Op, dtype: DType) -> float:
    """The largest step of an operand that an operator's integer kernels can do with; a softmax scales it by beta."""
    return OPS[op.kind].scale_limit.get(dtype, math.inf) / (op.option("beta", 1.0) or 1.0)


def _roles(stated: str) -> tuple[str, ...]:
    """The roles of operands or results, and last that of all that follow."""
    rest = DATA if stated.endswith("*") else INTEGER
    return (*stated.replace("*", "").split(), rest)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


_UNIT = MappingProxyType({DType.INT8: (1 / 256, -128), DType.INT16: (1 / 32768, 0)})
"""[0, 1): softmax and logistic."""

_SIGNED_UNIT = MappingProxyType({DType.INT8: (1 / 128, 0), DType.INT16: (1 / 32768, 0)})
"""[-1, 1): tanh and L2 normalization."""

_LOGISTIC_ENDS = MappingProxyType(
    {dtype: (_logit(step / 2), _logit(1 - 1.5 * step)) for dtype, (step, _) in _UNIT.items()}
)
"""Where it comes within half a step of the smallest and of the largest result: 0 and 1 less a step."""

_TANH_ENDS = MappingProxyType(
    {dtype: (math.atanh(-1 + step / 2), math.atanh(1 - 1.5 * step)) for dtype, (step, _) in _SIGNED_UNIT.items()}
)
"""Likewise; int16 has no -1, and reaches it a little later."""

_TRUTH = MappingProxyType({DType.INT8: (1.0, 0), DType.INT16: (1.0, 0)})
"""0 and 1."""

_LOG_UNIT = MappingProxyType({DType.INT8: (16 / 256, 127)})
"""[-16, 0]: logarithms of probabilities."""

_LAYER_LIMITS: dict[str, Any] = {"multiplier_limit": 255, "width": 32}

_SUM_LIMITS: dict[str, Any] = {"multiplier_limit": 2.0**18, "int16_multiplier_limit": 2.0**13}
"""ADD and SUB abort when 2 x input scale / (2**20 x output scale) reaches 1; the int16 kernels, of 2**15 instead."""

_COMPARISON: dict[str, Any] = {
    "results": "bool",
    "scale": SAME_INPUTS,
    "grid": 1 / 256,
    "scale_limit": MappingProxyType({DType.INT8: 1 - 2**-20}),
}
"""Kernels of 8 bits take scales for smaller than one: of others, builtin answers nonsense, and micro aborts."""

_UP_TO_4 = MappingProxyType({DType.INT8: 4.0, DType.INT16: 4.0})
_INT16_UP_TO_4 = MappingProxyType({DType.INT16: 4.0})
"""Beyond, all int16 kernels answer nonsense, for their fixed point overflows; micro's int8 kernels are up to 3 steps
off, and answer nonsense from 8 on."""

OPS: Mapping[str, OpSpec] = MappingProxyType(
    {
        # Products with constant weights
        "CONV_2D": OpSpec(
            "data weight bias", int8=3, int16=1, weight_axis=0, int4=7, dynamic=5, needs_bias=True, **_LAYER_LIMITS
        ),
        "DEPTHWISE_CONV_2D": OpSpec(
            "data weight bias", int8=3, int16=1, weight_axis=3, int4=7, dynamic=6, needs_bias=True, **_LAYER_LIMITS
        ),
        "TRANSPOSE_CONV": OpSpec(
            "integer weight data bias", int8=3, int16=3, weight_axis=0, dynamic=2, needs_bias=True, **_LAYER_LIMITS
        ),
        "FULLY_CONNECTED": OpSpec(
            "data weight bias", int8=4, int16=1, weight_axis=0, int4=10, int2=14, dynamic=12, **_LAYER_LIMITS
        ),
        "EMBEDDING_LOOKUP": OpSpec("integer data", scale=SAME, int8=1, weight_axis=0, dynamic=4, dynamic_operand=1),
        "BATCH_MATMUL": OpSpec("data data", int8=2, int16=3, dynamic=4, dynamic_operand=1),
        # Recurrent layers; no int16 kernel is registered
        "UNIDIRECTIONAL_SEQUENCE_LSTM": OpSpec(
            "data weight weight weight weight weight weight weight weight weight16 weight16 weight16 "
            "bias bias bias bias weight bias state state norm norm norm norm",
            int8=1,
            dynamic=3,
        ),
        "SVDF": OpSpec("data weight weight16 bias state", int8=3, dynamic=4, rectified=True),
        # Arithmetic
        "ADD": OpSpec("data data", int8=2, int16=3, signs=(1, 1), width=32, int8_width=16, **_SUM_LIMITS),
        "SUB": OpSpec("data data", int8=2, int16=5, signs=(1, -1), width=32, **_SUM_LIMITS),
        "MUL": OpSpec("data data", int8=2, int16=4, int8_upscaling=3, width=32, int8_width=16),
        # quotients beyond 28 bits would have to be shifted to the left, which its kernel takes for the right
        "DIV": OpSpec("data data", int8=1, int16=1, zero_refused=1, quotient_bits=31, width=28),
        "SQUARED_DIFFERENCE": OpSpec("data data", int8=2),
        "MAXIMUM": OpSpec("data data", scale=SAME, int8=2, int16=4, limited=BELOW),
        "MINIMUM": OpSpec("data data", scale=SAME, int8=2, int16=4, limited=ABOVE),
        "ABS": OpSpec("data", int8=2, int16=3),
        "EXP": OpSpec("data", int8=2, int16=2, int16_table=True),
        "LOG": OpSpec("data", int8=2, int16=2, int16_table=True),
        "SQRT": OpSpec("data", int8=2, int16=2),
        "RSQRT": OpSpec("data", int8=2, int16=3, zero_refused=0, int16_table=True),
        # Activations
        "RELU": OpSpec("data", int8=2, int16=3, saturates=(0, math.inf), width=32),
        "RELU6": OpSpec("data", int8=2, int16=3, saturates=(0, 6), clips_as_read=True, width=32),
        "RELU_N1_TO_1": OpSpec("data", int8=1, saturates=(-1, 1), width=32),
        "RELU_0_TO_1": OpSpec("data", int8=1, saturates=(0, 1), width=32),
        "LEAKY_RELU": OpSpec("data", int8=1, int16=2, width=32),
        "PRELU": OpSpec("data data", int8=1, width=32),
        "ELU": OpSpec("data", int8=1),
        "GELU": OpSpec("data", int8=2, int16=1, int16_table=True),
        "HARD_SWISH": OpSpec("data", int8=1, multiplier_limit=127, saturates=(-3, math.inf)),
        "LOGISTIC": OpSpec(
            "data", scale=FIXED, int8=2, int16=3, fixed=_UNIT, saturates_rounded=_LOGISTIC_ENDS, scale_limit=_UP_TO_4
        ),
        "TANH": OpSpec(
            "data", scale=FIXED, int8=2, int16=3, fixed=_SIGNED_UNIT, saturates_rounded=_TANH_ENDS, scale_limit=_UP_TO_4
        ),
        # exp(-10) and all below it is 1 of 32767 in the table of `reference/softmax.h`
        "SOFTMAX": OpSpec(
            "data", scale=FIXED, int8=2, int16=3, fixed=_UNIT, int16_share=1 / 32767, scale_limit=_INT16_UP_TO_4
        ),
        "LOG_SOFTMAX": OpSpec("data", scale=FIXED, int8=2, fixed=_LOG_UNIT),
        "L2_NORMALIZATION": OpSpec("data", scale=FIXED, int8=2, fixed=_SIGNED_UNIT),
        # Pooling and reductions
        "AVERAGE_POOL_2D": OpSpec("data", scale=SAME, int8=2, int16=3, averages=True),
        "MAX_POOL_2D": OpSpec("data", scale=SAME, int8=2, int16=3),
        "MEAN": OpSpec("data integer", int8=2, int16=3),
        "SUM": OpSpec("data integer", int8=2, int16=1),
        "REDUCE_PROD": OpSpec("data integer", int8=2, int16=2, reduces_several=True),
        "REDUCE_MAX": OpSpec("data integer", scale=SAME, int8=2, int16=3),
        "REDUCE_MIN": OpSpec("data integer", scale=SAME, int8=2, int16=3),
        "ARG_MAX": OpSpec("data integer", results="integer", int8=2),
        "ARG_MIN": OpSpec("data integer", results="integer", int8=2),
        "TOPK_V2": OpSpec("data integer", results="data integer", scale=SAME, int8=2, int16=3),
        # Comparisons and selection
        # EQUAL and NOT_EQUAL have int16 kernels too, but on the grid of 1/256, which is coarser than int16 values are
        "EQUAL": OpSpec("data data", int8=2, **_COMPARISON),
        "NOT_EQUAL": OpSpec("data data", int8=2, **_COMPARISON),
        "GREATER": OpSpec("data data", int8=2, int16=1, **_COMPARISON),
        "GREATER_EQUAL": OpSpec("data data", int8=2, int16=3, **_COMPARISON),
        "LESS": OpSpec("data data", int8=2, int16=3, **_COMPARISON),
        "LESS_EQUAL": OpSpec("data data", int8=2, int16=1, **_COMPARISON),
        # of numbers, CAST has no integer kernel that looks at scales
        "CAST": OpSpec("bool", scale=FIXED, int8=3, int16=1, fixed=_TRUTH),
        "SELECT": OpSpec("bool data data", scale=SAME, int8=1, int16=1),
        "SELECT_V2": OpSpec("bool data data", scale=SAME, int8=1, int16=1),
        # Moving values
        "BATCH_TO_SPACE_ND": OpSpec("data integer integer", scale=SAME, int8=2, int16=4),
        "BROADCAST_TO": OpSpec("data integer", scale=SAME, int8=3, int16=3),
        "CONCATENATION": OpSpec("data*", scale=SAME, int8=2, int16=3),
        "DEPTH_TO_SPACE": OpSpec("data", scale=SAME, int8=2),
        "DYNAMIC_UPDATE_SLICE": OpSpec("data data integer", scale=SAME, int8=1, int16=4),
        "EXPAND_DIMS": OpSpec("data integer", scale=SAME, int8=1, int16=1),
        "FILL": OpSpec("integer data", scale=SAME, int8=3, int16=3),
        "GATHER": OpSpec("data integer", scale=SAME, int8=2, int16=4),
        "GATHER_ND": OpSpec("data integer", scale=SAME, int8=1, int16=3),
        "MATRIX_SET_DIAG": OpSpec("data data", scale=SAME, int8=1, int16=1),
        "MIRROR_PAD": OpSpec("data integer", scale=SAME, int8=2, int16=3),
        "ONE_HOT": OpSpec("integer integer data data", scale=SAME, int8=1),
        "PACK": OpSpec("data*", scale=SAME, int8=2, int16=3),
        "PAD": OpSpec("data integer", scale=SAME, int8=2, int16=3),
        "PADV2": OpSpec("data integer data", scale=SAME, int8=2, int16=3),
        "RESHAPE": OpSpec("data integer", scale=SAME, int8=1, int16=1),
        "RESIZE_BILINEAR": OpSpec("data integer", scale=SAME, int8=2, int16=4, averages=True),
        "RESIZE_NEAREST_NEIGHBOR": OpSpec("data integer", scale=SAME, int8=2, int16=4),
        "REVERSE_SEQUENCE": OpSpec("data integer", scale=SAME, int16=1),
        "REVERSE_V2": OpSpec("data integer", scale=SAME, int8=3, int16=1),
        "SLICE": OpSpec("data integer integer", scale=SAME, int8=2, int16=4),
        "SPACE_TO_BATCH_ND": OpSpec("data integer integer", scale=SAME, int8=2, int16=4),
        "SPACE_TO_DEPTH": OpSpec("data", scale=SAME, int8=2),
        "SPARSE_TO_DENSE": OpSpec("integer integer data data", scale=SAME, int8=3),
        "SPLIT": OpSpec("integer data", results="data*", scale=SAME, int8=2, int16=4),
        "SPLIT_V": OpSpec("data integer integer", results="data*", scale=SAME, int8=2, int16=1),
        "SQUEEZE": OpSpec("data", scale=SAME, int8=1, int16=1),
        "STRIDED_SLICE": OpSpec("data integer integer integer", scale=SAME, int8=2, int16=1),
        "TILE": OpSpec("data integer", scale=SAME, int8=3, int16=1),
        "TRANSPOSE": OpSpec("data integer", scale=SAME, int8=2, int16=5),
        "UNPACK": OpSpec("data", results="data*", scale=SAME, int8=2, int16=4),
        # Questions about a shape
        "SHAPE": OpSpec("any", results="integer", int8=1, int16=1),
        "RANK": OpSpec("any", results="integer", int8=1, int16=1),
    }
)
