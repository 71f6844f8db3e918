"""Ranges end where readers of the values see no further, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from small_nets import conv, random, statistics, through_file
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.ir.plan import Plan
from tersor.numerics.affine import asymmetric_params, dequantize, quantize
from tersor.ops import ALL, OPS
from tersor.recipe import Rule, load_recipe
from tersor.runtimes.engine import Engine
from tersor.runtimes.litert import KERNEL_SETS
from tersor.stages.plan import plan
from tersor.stages.plan.cuts import as_seen, narrowed_to
from tersor.stages.quantize import quantize as to_model
from tersor.stages.visible import Visibility

SHAPE = (1, 4, 4, 4)
SATURATING = [kind for kind, spec in OPS.items() if spec.saturates != ALL or spec.saturates_rounded]
CASES = [
    (kind, recipe)
    for kind in SATURATING
    for recipe, dtype in (("int8", DType.INT8), ("int16x8", DType.INT16))
    if OPS[kind].version(dtype) is not None
]


class Net:
    """x [1,4,4,2] -> CONV_2D `it` -> what is added."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.it = conv(self.builder, self.builder.input("x", [1, 4, 4, 2]), 4, "it")

    def op(self, kind: str, *inputs: str, name: str = "", shape: tuple[int, ...] = SHAPE, **options: int) -> str:
        return self.builder.op(kind, inputs or (self.it,), shape, options, name=name or kind.lower())

    def constant(self, value: float) -> str:
        return self.builder.constant(f"c{value:g}", np.full(1, value, np.float32))

    def made(self, *outputs: str) -> Model:
        return through_file(self.builder.model(list(outputs)))


def planned(model: Model, recipe: str = "int8", **ranges: tuple[float, float]) -> Plan:
    known = dict.fromkeys((name for op in model.graph.ops for name in op.outputs), (-20.0, 9.0))
    return plan(model, load_recipe(recipe), statistics({**known, "x": (-1.0, 1.0), **ranges}))


def reach(made: Plan, name: str = "it") -> tuple[float, float]:
    params = made.tensors[name].params
    assert params is not None
    return params.real_range


def test_range_before_a_hard_swish_ends_at_minus_3_and_the_plan_says_why() -> None:
    net = Net()
    made = planned(net.made(net.op("HARD_SWISH")))
    assert reach(made) == pytest.approx((-3, 9), abs=12 / 255)
    assert reach(made)[0] <= -3
    assert "cut to -3.024..9, beyond which all is the same to HARD_SWISH" in made.tensors["it"].why


@pytest.mark.parametrize(("kind", "recipe"), CASES)
def test_result_of_a_value_beyond_is_that_of_the_bound(kind: str, recipe: str) -> None:
    """By the operator's definition, rounded as its result is; and the range holds the bounds."""
    functions: dict[str, Callable[[Array], Array]] = {
        "HARD_SWISH": lambda x: x * np.clip(x + 3, 0, 6) / 6,
        "RELU": lambda x: np.maximum(x, 0),
        "RELU6": lambda x: np.clip(x, 0, 6),
        "RELU_N1_TO_1": lambda x: np.clip(x, -1, 1),
        "RELU_0_TO_1": lambda x: np.clip(x, 0, 1),
        "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
        "TANH": lambda x: np.tanh(x),
    }
    net = Net()
    made = planned(net.made(net.op(kind)), recipe, it=(-40.0, 40.0))
    params = made.tensors["it"].params
    assert params is not None
    values = np.linspace(-40, 40, 4001)
    wanted, found = (functions[kind](item.astype(np.float64)) for item in (values, as_stored(values, made)))
    result = made.tensors[kind.lower()]
    slack = params.scale  # a value inside is rounded, as ever
    assert np.abs(wanted - found).max() <= slack * 1.1
    if OPS[kind].saturates_rounded and result.params is not None:
        ends = np.abs(values) > 12
        np.testing.assert_array_equal(quantize(wanted[ends], result.params), quantize(found[ends], result.params))
    else:
        low, high = OPS[kind].saturates
        ends = (values < low - 1) | (values > high + 1)
        assert np.abs(wanted - found)[ends].max() <= slack / 2


def as_stored(values: Array, made: Plan) -> Array:
    params = made.tensors["it"].params
    assert params is not None
    return dequantize(quantize(values, params), params)


def test_what_others_read_too_keeps_its_range() -> None:
    net = Net()
    other = net.op("MUL", net.it, net.it)
    assert reach(planned(net.made(net.op("HARD_SWISH"), other)))[0] < -19


def test_outputs_and_inputs_of_the_model_keep_their_range() -> None:
    net = Net()
    assert reach(planned(net.made(net.op("HARD_SWISH"), net.it)))[0] < -19
    builder = Builder()
    y = builder.op("HARD_SWISH", [builder.input("x", SHAPE)], SHAPE, name="y")
    assert reach(planned(through_file(builder.model([y])), x=(-9.0, 9.0)), "x")[0] < -8.9


def test_two_readers_see_what_either_does() -> None:
    net = Net()
    made = planned(net.made(net.op("HARD_SWISH"), net.op("RELU6"), net.op("LOGISTIC")))
    assert reach(made) == pytest.approx((-6.24, 9), abs=0.06)


def test_operators_that_move_or_compare_hand_on_what_is_seen() -> None:
    net = Net()
    flat = net.op("RESHAPE", net.it, net.builder.constant("shape", [1, 64]), name="flat", shape=(1, 64))
    made = planned(net.made(net.op("HARD_SWISH", flat, shape=(1, 64))))
    assert reach(made)[0] == pytest.approx(-3, abs=0.05)
    assert made.tensors["it"].params == made.tensors["flat"].params


@pytest.mark.parametrize(("kind", "lowest"), [("MAX_POOL_2D", 0), ("AVERAGE_POOL_2D", -20)])
def test_an_average_is_seen_of_values_beyond_what_is_seen_of_it(kind: str, lowest: float) -> None:
    net = Net()
    pooled = net.op(kind, stride_w=1, stride_h=1, filter_width=2, filter_height=2)
    assert reach(planned(net.made(net.op("RELU", pooled))))[0] == pytest.approx(lowest, abs=0.06)


def test_member_that_more_is_seen_of_keeps_the_group_as_wide_as_it_needs() -> None:
    net = Net()
    other = conv(net.builder, "x", 4, "other")
    both = net.op("CONCATENATION", net.it, other, name="both", shape=(1, 4, 4, 8), axis=3)
    outputs = [net.op("HARD_SWISH", both, shape=(1, 4, 4, 8)), net.op("ABS", other)]
    made = planned(net.made(*outputs), other=(-12.0, 8.0))
    assert reach(made, "both") == pytest.approx((-12, 9), abs=0.05)


@pytest.mark.parametrize(("kind", "bound", "expected"), [("MAXIMUM", -2.0, (-2, 9)), ("MINIMUM", 4.0, (-20, 4))])
def test_constant_of_an_extreme_bounds_what_is_seen(kind: str, bound: float, expected: tuple[float, float]) -> None:
    net = Net()
    y = net.op(kind, net.it, net.constant(bound), name="y")
    made = planned(net.made(net.op("ABS", y)), y=expected)
    assert reach(made) == pytest.approx(expected, abs=0.06)


def test_clip_by_two_constants() -> None:
    net = Net()
    low = net.op("MAXIMUM", net.it, net.constant(-2.0), name="low")
    high = net.op("MINIMUM", low, net.constant(4.0), name="high")
    made = planned(net.made(net.op("ABS", high)), low=(-2.0, 9.0), high=(-2.0, 4.0))
    assert reach(made) == pytest.approx((-2, 4), abs=0.03)


def test_sigmoid_in_float_sees_everything_and_a_hard_swish_in_float_does_not() -> None:
    for kind, lowest in (("LOGISTIC", -20), ("HARD_SWISH", -3)):
        net = Net()
        model = net.made(net.op(kind))
        rule = Rule((("compute", "float"), ("activations", "float32"), ("weights", "float32")), names=(kind.lower(),))
        ranges = statistics({"x": (-1.0, 1.0), "it": (-20.0, 9.0), kind.lower(): (-1.0, 9.0)})
        made = plan(model, replace(load_recipe("int8_float_io"), rules=(rule,)), ranges)
        assert made.ops[kind.lower()].compute == "float"
        assert reach(made)[0] == pytest.approx(lowest, abs=0.06)


@pytest.mark.parametrize("seen", [(-9.0, -5.0), (5.0, 9.0), (-9.0, 9.0), (-0.5, 0.5)])
def test_values_beyond_altogether_leave_a_range(seen: tuple[float, float]) -> None:
    net = Net()
    low, high = reach(planned(net.made(net.op("RELU_N1_TO_1")), it=seen))
    assert -1.01 <= low <= 0 <= high <= 1.01
    cut = narrowed_to(as_seen(seen, (-1.0, 1.0)), seen, DType.INT8)
    assert cut[0] <= cut[1]


def test_visibility_of_a_quantized_graph() -> None:
    net = Net()
    model = net.made(net.op("LOGISTIC"))
    made = to_model(model, planned(model))
    assert Visibility(made.graph).range("it") == OPS["LOGISTIC"].saturates_rounded[DType.INT8]
    assert Visibility(made.graph).range("logistic") == ALL
    assert Visibility(model.graph).range("it") == ALL  # in float nothing is rounded away


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("kind", ["HARD_SWISH", "TANH"])
def test_real_kernels_gain_by_it(kind: str, kernels: str, engine: Engine, tmp_path: Path) -> None:
    """Values down to -100: cut, the error is at most half of what it is with a range for all of them."""
    net = Net()
    model = net.made(net.op(kind))
    result = kind.lower()
    ranges = {"x": (-1.0, 1.0), "it": (-100.0, 12.0), result: (-0.375, 12.0)}
    made = plan(model, load_recipe("int8_float_io"), statistics(ranges))
    wide = replace(made.tensors["it"], params=asymmetric_params(-100, 12, DType.INT8))
    plans = made, replace(made, tensors={**made.tensors, "it": wide})
    samples = random((32, 1, 4, 4, 2), 3)
    outputs = []
    for number, item in enumerate((model, *(to_model(model, own) for own in plans))):
        path = tmp_path / f"{number}.tflite"
        tflite.write(item, path)
        handle = engine.open(str(path), kernels)
        outputs.append(np.concatenate([handle.run([sample])[0] for sample in samples]))
        handle.close()
    cut, whole = (float(np.mean((own - outputs[0]) ** 2)) for own in outputs[1:])
    assert cut < whole / 4


def residual(activation: int = 0, *, behind: str = "", kind: str = "ADD") -> Model:
    """`it` + `other`, with a fused activation or an operator behind."""
    net = Net()
    other = conv(net.builder, "x", 4, "other")
    y = net.op(kind, net.it, other, name="sum", fused_activation_function=activation)
    return net.made(net.op(behind, y) if behind else net.op("ABS", y))


@pytest.mark.parametrize(("activation", "behind", "lowest"), [(1, "", -5), (3, "", -5), (0, "HARD_SWISH", -8)])
def test_operand_of_a_sum_ends_where_the_other_cannot_bring_it_back(activation: int, behind: str, lowest: int) -> None:
    made = planned(residual(activation, behind=behind), other=(-4.0, 5.0), sum=(0.0, 6.0))
    assert reach(made)[0] == pytest.approx(lowest, abs=0.1)
    assert reach(made, "other") == pytest.approx((-4, 5), abs=0.05)
    assert "beyond which all is the same to" in made.tensors["it"].why


def test_upper_end_of_a_sum_and_a_difference() -> None:
    made = planned(residual(3), other=(-1.0, 5.0), it=(-20.0, 30.0))
    assert reach(made) == pytest.approx((-5, 7), abs=0.1)
    made = planned(residual(1, kind="SUB"), it=(-20.0, 9.0), other=(-4.0, 30.0))
    assert reach(made)[0] == pytest.approx(-4, abs=0.1)
    assert reach(made, "other")[1] == pytest.approx(9, abs=0.1)


def test_sum_without_an_end_or_that_is_never_seen_leaves_its_operands() -> None:
    assert reach(planned(residual(), other=(-4.0, 5.0)))[0] < -19
    net = Net()
    y = net.op("ADD", net.it, conv(net.builder, "x", 4, "other"), name="sum")
    model = net.made(net.op("MAXIMUM", y, net.constant(40.0), name="end"))
    assert reach(planned(model, other=(-20.0, 9.0), end=(40.0, 40.0)))[0] < -19


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_cut_operands_of_a_sum_add_up_to_the_same(kernels: str, engine: Engine, tmp_path: Path) -> None:
    """Everything that two cut operands can be: behind the ReLU, the error stays within their steps."""
    builder = Builder()
    a, b = builder.input("a", SHAPE), builder.input("b", SHAPE)
    ones = {"stride_w": 1, "stride_h": 1}
    unit = builder.constant("w", np.eye(4, dtype=np.float32).reshape(4, 1, 1, 4))
    first, second = (
        builder.op(
            "CONV_2D", [x, unit, builder.constant(f"{x}/bias", np.zeros(4, np.float32))], SHAPE, ones, name=f"{x}2"
        )
        for x in (a, b)
    )
    y = builder.op("ADD", [first, second], SHAPE, {"fused_activation_function": 1}, name="sum")
    model = through_file(builder.model([builder.op("ABS", [y], SHAPE, name="end")]))
    bounds = {"a": (-20.0, 9.0), "b": (-30.0, 5.0)}
    ranges = {**bounds, "a2": bounds["a"], "b2": bounds["b"], "sum": (0.0, 14.0), "end": (0.0, 14.0)}
    made = plan(model, load_recipe("int8_float_io"), statistics(ranges))
    assert reach(made, "a2")[0] == pytest.approx(-5, abs=0.2)
    assert reach(made, "b2")[0] == pytest.approx(-9, abs=0.2)
    path = tmp_path / "made.tflite"
    tflite.write(to_model(model, made), path)
    handle = engine.open(str(path), kernels)
    for seed in range(8):
        left, right = random(SHAPE, seed, *bounds["a"]), random(SHAPE, seed + 99, *bounds["b"])
        (found,) = handle.run([left, right])
        np.testing.assert_allclose(found, np.maximum(left + right, 0), atol=(29 + 35 + 14) / 255 / 2 * 1.5)
    handle.close()


def test_range_of_a_value_times_its_own_gate_ends_where_the_gate_shuts() -> None:
    net = Net()
    gate = net.op("ADD", net.it, net.constant(3.0), name="gate", fused_activation_function=3)
    made = planned(net.made(net.op("MUL", net.it, gate)), gate=(0.0, 6.0))
    assert reach(made) == pytest.approx((-3, 9), abs=12 / 255), "a hard swish in parts"
    net = Net()
    gate = net.op("ADD", net.it, net.constant(3.0), name="gate")
    assert reach(planned(net.made(net.op("MUL", net.it, gate))))[0] < -19, "without a ReLU it does not shut"
    net = Net()
    gate = net.op("ADD", net.op("RELU", name="other"), net.constant(3.0), name="gate", fused_activation_function=3)
    assert reach(planned(net.made(net.op("MUL", net.it, gate)), gate=(0.0, 6.0)))[0] < -19, "the gate of another value"
