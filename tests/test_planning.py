"""What the planner decides, and the reasons it gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import Run
from small_nets import classifier, conv, dense, statistics, through_file, unknown_operator
from tersor.errors import PlanError, UnsupportedError
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ir.plan import Plan
from tersor.recipe import Rule, adjusted, load_recipe
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize

RANGES = {"x": (-1.0, 1.0), "conv": (0.0, 4.0), "mean": (0.0, 2.0), "dense": (-3.0, 5.0), "scores": (0.0, 1.0)}
GOLDEN = Path(__file__).with_name("golden")


def planned(model: Model, ranges: dict[str, tuple[float, float]], flavour: str = "int8", **changes: bool) -> Plan:
    return plan(model, adjusted(load_recipe(flavour), **changes), statistics(ranges))  # type: ignore[arg-type]


def test_plan_of_a_small_network_reads_as_it_should() -> None:
    expected = (GOLDEN / "classifier.int8.plan.txt").read_text()
    assert planned(classifier(), RANGES).explain() + "\n" == expected


def test_moved_values_share_the_range_of_all_of_them() -> None:
    builder = Builder()
    x = conv(builder, builder.input("x", [1, 4, 4, 2]), 4)
    shape = builder.constant("shape", [1, 64])
    y = builder.op("RESHAPE", [x, shape], [1, 64], name="flat")
    made = planned(
        through_file(builder.model([dense(builder, y, 3)])),
        {"x": (-1, 1), "conv": (-2, 1), "flat": (-2, 3), "dense": (-1, 1)},
    )
    assert made.tensors["conv"].params == made.tensors["flat"].params
    assert "shared by 2 values" in made.tensors["flat"].why
    low, high = made.tensors["flat"].params.real_range  # type: ignore[union-attr]
    assert (low, high) == pytest.approx((-2, 3), abs=0.02)


def concatenation(*, read_elsewhere: bool) -> Model:
    builder = Builder()
    x = builder.input("x", [1, 4, 4, 2])
    narrow, wide = conv(builder, x, 4, "narrow"), conv(builder, x, 4, "wide")
    both = builder.op("CONCATENATION", [narrow, wide], [1, 4, 4, 8], {"axis": 3}, name="both")
    outputs = [both, *([conv(builder, narrow, 2, "reader")] if read_elsewhere else [])]
    return through_file(builder.model(outputs))


WIDTHS = {"x": (-1.0, 1.0), "narrow": (-1.0, 1.0), "wide": (-9.0, 9.0), "both": (-9.0, 9.0), "reader": (-1.0, 1.0)}


def test_operand_that_nothing_else_reads_is_tied_to_the_concatenation() -> None:
    made = planned(concatenation(read_elsewhere=False), WIDTHS)
    assert made.tensors["narrow"].params == made.tensors["both"].params


def test_narrow_operand_that_others_read_keeps_its_scale_and_is_converted() -> None:
    made = planned(concatenation(read_elsewhere=True), WIDTHS)
    own, shared = made.tensors["narrow"].params, made.tensors["both"].params
    assert own is not None
    assert shared is not None
    assert own.scale < shared.scale / 8
    assert made.operands["both", 0].params == shared
    assert ("reader", 0) not in made.operands


@pytest.mark.parametrize("wide", ["left", "right", "right left"])
def test_operands_that_are_compared_share_their_numbers_whatever_computes_them(wide: str) -> None:
    builder = Builder()
    x = builder.input("x", [1, 4, 4, 2])
    left, right = conv(builder, x, 4, "left"), conv(builder, x, 4, "right")
    less = builder.op("LESS", [left, right], [1, 4, 4, 4], name="less", dtype=DType.BOOL)
    kept = builder.op("GREATER", [left, builder.constant("zero", [0.0])], [1, 4, 4, 4], name="kept", dtype=DType.BOOL)
    model = through_file(builder.model([less, kept]))
    recipe = replace(
        load_recipe("int8_float_io"), rules=(Rule((("activations", "int16"),), names=tuple(wide.split())),)
    )
    made = plan(model, recipe, statistics({"x": (-1, 1), "left": (-20.0, 21.0), "right": (-30.0, 35.0)}))
    read = [made.operands.get(("less", place)) or made.tensors[name] for place, name in enumerate(("left", "right"))]
    assert read[0].params == read[1].params
    assert read[0].dtype is DType.INT8
    low, high = read[0].params.real_range  # type: ignore[union-attr]
    assert low < -29
    assert high > 34
    compared = made.operands.get(("kept", 0)) or made.tensors["left"]
    assert made.operands["kept", 1].params == compared.params
    quantize(model, made)


def test_int8_door_of_a_value_with_16_bits_has_the_numbers_that_it_has_without() -> None:
    rule = Rule((("activations", "int16"),), names=("dense", "scores"))
    made = plan(classifier(), replace(load_recipe("int8"), rules=(rule,)), statistics(RANGES))
    assert made.tensors["scores"].dtype is DType.INT16
    assert made.interface["scores"].params == planned(classifier(), RANGES).interface["scores"].params


def test_fixed_scales_are_the_kernels() -> None:
    made = planned(classifier(), RANGES)
    assert made.tensors["scores"].params.scale == 1 / 256  # type: ignore[union-attr]
    assert made.tensors["scores"].params.zero_point == -128  # type: ignore[union-attr]
    wide = planned(classifier(), RANGES, "int16x8")
    assert wide.tensors["scores"].params.scale == 1 / 32768  # type: ignore[union-attr]


def test_fixed_scale_is_not_handed_on_to_a_result_that_it_cannot_hold() -> None:
    builder = Builder()
    scores = builder.op("SOFTMAX", [builder.input("x", [1, 4])], [1, 4], {"beta": 1.0}, name="scores")
    y = builder.op("MAXIMUM", [scores, builder.constant("five", np.full(1, 5, np.float32))], [1, 4], name="top")
    made = planned(through_file(builder.model([y])), {"x": (-1, 1), "scores": (0, 1), "top": (5, 5)})
    assert made.tensors["top"].params.real_range[1] >= 5  # type: ignore[union-attr]
    assert made.tensors["scores"].params.scale == 1 / 256  # type: ignore[union-attr]
    assert made.operands["top", 0].params == made.tensors["top"].params


def test_comparison_with_a_constant_beyond_the_range_stays_in_float() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4])
    less = builder.op("LESS", [x, builder.constant("five", np.full(1, 5, np.float32))], [1, 4], dtype=DType.BOOL)
    model = through_file(builder.model([less, dense(builder, x, 2)]))
    made = planned(model, {"x": (-4, 4), "dense": (-1, 1)}, "int8_float_io")
    assert "at or outside the end of its range" in made.ops["less"].why


def test_average_of_another_type_covers_what_it_is_made_of() -> None:
    builder = Builder()
    x = conv(builder, builder.input("x", [1, 4, 4, 2]), 4)
    options = {"stride_w": 4, "stride_h": 4, "filter_width": 4, "filter_height": 4}
    y = builder.op("AVERAGE_POOL_2D", [x], [1, 1, 1, 4], options, name="pool")
    rule = Rule((("activations", "int8"),), operators=("CONV_2D",))
    recipe = replace(load_recipe("int16x8"), rules=(rule,))
    ranges = {"x": (-1.0, 1.0), "conv": (-28.0, 28.0), "pool": (-4.0, 4.0)}
    made = plan(through_file(builder.model([y])), recipe, statistics(ranges))
    assert made.operands["pool", 0].params.real_range[1] >= 27.9  # type: ignore[union-attr]


def test_residual_addition_keeps_own_scales_on_all_sides() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4, 4, 4])
    y = builder.op("ADD", [x, conv(builder, x, 4)], [1, 4, 4, 4], name="sum")
    made = planned(through_file(builder.model([y])), {"x": (-1, 1), "conv": (-2, 2), "sum": (-3, 3)})
    params = [made.tensors[name].params for name in ("x", "conv", "sum")]
    assert [round(own.scale * 255, 3) for own in params if own is not None] == [2, 4, 6]


def test_integer_only_names_every_operator_and_reason() -> None:
    with pytest.raises(PlanError) as error:
        planned(unknown_operator(), {"x": (-1, 1), "dense": (-2, 2), "wave": (0, 1)})
    assert "COS: LiteRT has no integer kernel for it: 'wave'" in str(error.value)
    assert "--allow-float" in str(error.value)


def test_allowed_float_is_a_warning_by_name() -> None:
    made = planned(unknown_operator(), {"x": (-1, 1), "dense": (-2, 2), "wave": (0, 1)}, allow_float=True)
    assert list(made.left_in_float()) == ["wave"]
    assert "1 of 2 operators stay in float: COS 'wave'" in made.warnings[0]


def test_activation_that_was_never_seen_stays_in_float() -> None:
    made = planned(classifier(), {name: RANGES[name] for name in RANGES if name != "mean"}, "int8_float_io")
    assert "calibration saw no values of 'mean'" in made.ops["mean"].why


def test_moves_between_float_operators_stay_in_float() -> None:
    builder = Builder()
    wave = builder.op("COS", [builder.input("x", [1, 4])], [1, 4], name="wave")
    moved = builder.op("RESHAPE", [wave, builder.constant("shape", [4])], [4], name="moved")
    model = builder.model([builder.op("SIN", [moved], [4], name="out"), dense(builder, "x", 2)])
    ranges = {"x": (-1.0, 1.0), "wave": (0.0, 1.0), "moved": (0.0, 1.0), "out": (0.0, 1.0), "dense": (-1.0, 1.0)}
    made = planned(through_file(model), ranges, "int8_float_io")
    assert made.ops["moved"].why == "moves values between float operators"


def test_divisor_that_would_round_to_zero_stays_in_float() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4])
    exponential = builder.op("EXP", [x], [1, 4], name="exp")
    divisor = builder.op("ADD", [exponential, builder.constant("one", np.ones(1, np.float32))], [1, 4], name="sum")
    result = builder.op("DIV", [builder.constant("top", np.ones(1, np.float32)), divisor], [1, 4], name="sigmoid")
    ranges = {"x": (-7.0, 7.0), "exp": (0.001, 1100.0), "sum": (1.001, 1101.0), "sigmoid": (0.0, 1.0)}
    made = planned(through_file(builder.model([result])), ranges, "int8_float_io")
    assert made.ops["sum"].compute == "float"
    assert "would round to 0" in made.ops["sum"].why


def with_softmax(values: int) -> Model:
    """x [1,1] -> `logits` [1,values], x the first and -x all others -> `scores`."""
    builder = Builder()
    weights = np.full((values, 1), -1, np.float32)
    weights[0] = 1
    operands = [builder.input("x", [1, 1]), builder.constant("w", weights), None]
    logits = builder.op("FULLY_CONNECTED", operands, [1, values], name="logits")
    return through_file(builder.model([builder.op("SOFTMAX", [logits], [1, values], {"beta": 1.0}, name="scores")]))


@pytest.mark.parametrize(("values", "largest", "stays"), [(1000, 10, True), (1000, 4, False), (100, 10, False)])
def test_softmax_over_many_values_of_16_bits_stays_in_float(values: int, largest: int, stays: bool) -> None:
    ranges = {"x": (-largest, largest), "logits": (-largest, largest), "scores": (0.0, 1.0)}
    made = planned(with_softmax(values), ranges, "int16x8")
    assert (made.ops["scores"].compute == "float") == stays
    assert ("1000 values for at least 1/32767" in made.ops["scores"].why) == stays


@pytest.mark.parametrize(("values", "warned"), [(1000, True), (100, False)])
def test_softmax_over_many_values_that_must_not_stay_in_float_is_warned_of(values: int, warned: bool) -> None:
    ranges = {"x": (-10.0, 10.0), "logits": (-10.0, 10.0), "scores": (0.0, 1.0)}
    recipe = replace(load_recipe("int16x8"), float_fallback=False)
    made = plan(with_softmax(values), recipe, statistics(ranges))
    assert made.ops["scores"].compute == "integer"
    said = [text for text in made.warnings if "SOFTMAX 'scores' is coarse" in text]
    assert len(said) == warned
    assert all("1000 values" in text and "--allow-float" in text for text in said)


def test_its_kernel_adds_up_what_is_not_there(run: Run) -> None:
    model = with_softmax(1000)
    seen = statistics({"x": (-10, 10), "logits": (-10, 10), "scores": (0, 1)})
    recipe = load_recipe("int16x8")
    found = [
        float(run(quantize(model, plan(model, own, seen)), [np.full((1, 1), 9, np.float32)])[0][0, 0])
        for own in (recipe, replace(recipe, float_fallback=False))
    ]
    assert found[0] == pytest.approx(1, abs=1e-4)
    assert found[1] < 0.98, "the kernel has become better: the row of SOFTMAX can change"


def test_constants_that_are_not_finite_stay_in_float() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4])
    y = builder.op("ADD", [x, builder.constant("c", np.array([np.inf], np.float32))], [1, 4], name="sum")
    ranges = {"x": (-1.0, 1.0), "sum": (0.0, 1.0), "dense": (-1.0, 1.0)}
    made = planned(through_file(builder.model([y, dense(builder, x, 2)])), ranges, "int8_float_io")
    assert made.ops["sum"].compute == "float"
    assert "'c' contains NaN or infinity" in made.ops["sum"].why


def test_constants_of_shared_scales_saturate_and_widen_nothing() -> None:
    builder = Builder()
    x = conv(builder, builder.input("x", [1, 4, 4, 2]), 4)
    y = builder.op("MAXIMUM", [x, builder.constant("floor", np.array([-1e9], np.float32))], [1, 4, 4, 4], name="top")
    made = planned(through_file(builder.model([y])), {"x": (-1, 1), "conv": (-2, 2), "top": (-2, 2)})
    assert made.tensors["top"].params.scale == pytest.approx(4 / 255)  # type: ignore[union-attr]
    assert made.operands["top", 1].params == made.tensors["top"].params


def test_result_finer_than_a_kernel_can_scale_to_is_widened() -> None:
    made = planned(classifier(), RANGES | {"conv": (0.0, 1e-6)})
    assert "widened" in made.tensors["conv"].why


def test_bias_shared_by_two_layers_gets_parameters_for_each() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4])
    bias = builder.constant("bias", np.ones(4, np.float32))
    weights = [builder.constant(f"w{n}", np.eye(4, dtype=np.float32) * (n + 1)) for n in range(2)]
    y = builder.op("FULLY_CONNECTED", [x, weights[0], bias], [1, 4], name="first")
    z = builder.op("FULLY_CONNECTED", [y, weights[1], bias], [1, 4], name="second")
    made = planned(through_file(builder.model([z])), {"x": (-1, 1), "first": (0, 2), "second": (0, 5)})
    assert made.operands["first", 2].params != made.operands["second", 2].params


def test_weights_of_one_scale_on_request() -> None:
    made = planned(classifier(), RANGES, per_tensor=True)
    assert len(made.operands["conv", 1].params.scales) == 1  # type: ignore[union-attr]


def test_value_that_is_always_zero_is_warned_of() -> None:
    made = planned(classifier(), RANGES | {"mean": (0.0, 0.0)})
    assert any("'mean' is 0 in every calibration sample" in warning for warning in made.warnings)


def test_dynamic_range_leaves_small_weights_in_float() -> None:
    made = plan(classifier(), load_recipe("dynamic"))
    assert "fewer than 1024" in made.ops["dense"].why
    assert any("NOTHING is stored in fewer bits" in warning for warning in made.warnings)


def test_model_of_which_nothing_can_be_an_integer_is_refused_under_that_name() -> None:
    builder = Builder()
    wave = builder.op("COS", [builder.input("x", [1, 4])], [1, 4], name="wave")
    with pytest.raises(PlanError, match="nothing of this model can be int8_float_io"):
        planned(through_file(builder.model([wave])), {"x": (-1, 1), "wave": (0, 1)}, "int8_float_io")


def test_flavour_that_needs_ranges_is_refused_without_statistics() -> None:
    with pytest.raises(PlanError, match="needs representative data"):
        plan(classifier(), load_recipe("int8"))


def test_quantized_model_is_refused() -> None:
    model = classifier()
    made = planned(model, RANGES)
    quantized = replace(model.graph.tensors["conv"], dtype=DType.INT8, quant=made.tensors["conv"].params)
    graph = model.graph.edit(tensors=[quantized])
    with pytest.raises(UnsupportedError, match="already quantized"):
        planned(model.with_graph(graph), RANGES)


def test_rule_that_matches_nothing_is_warned_of() -> None:
    recipe = adjusted(load_recipe("int8"), keep_float=["no_such_layer"])
    made = plan(classifier(), recipe, statistics(RANGES))
    assert "no operator matches no_such_layer" in made.warnings


def stack_of(widths: list[int]) -> Model:
    """1x1 convolutions, with widths[i] x widths[i + 1] weights each."""
    builder = Builder()
    x = builder.input("x", [1, 2, 2, widths[0]])
    for number, width in enumerate(widths[1:]):
        x = conv(builder, x, width, f"layer_{number}")
    return through_file(builder.model([x]))


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.0, set()), (0.03, set()), (0.04, {0, 4}), (0.3, {0, 4, 1}), (0.5, {0, 4, 1, 3}), (1.0, {0, 1, 2, 3, 4})],
)
def test_smallest_layers_up_to_a_share_of_the_weights_keep_8_bits(share: float, kept: set[int]) -> None:
    model = stack_of([2, 8, 16, 32, 8, 2])  # 16, 128, 512, 256 and 16 of 928 weights: two of one size go together
    recipe = replace(load_recipe("int8_w4"), small_layers_share=share)
    made = plan(model, recipe, statistics({op.name: (-1.0, 1.0) for op in model.graph.ops} | {"x": (-1.0, 1.0)}))
    wide = {int(name[-1]) for (name, index), item in made.operands.items() if index == 1 and item.dtype is DType.INT8}
    assert wide == kept
