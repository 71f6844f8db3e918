"""Nothing that the planner makes integer answers nonsense, whatever the ranges; and what it holds back, it has to.

Operators on values of any range (`wild_nets`) are planned, and run on all three kernel sets, and each result is held
against the float operator on the same numbers, as in `tests/test_ops.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from op_examples import Example
from small_nets import statistics
from tersor.errors import PlanError, RuntimeFailure
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op
from tersor.ir.plan import FLOAT, INTEGER, OpPlan
from tersor.numerics.metrics import sqnr_db
from tersor.ops import OPS
from tersor.recipe import Recipe, load_recipe
from tersor.runtimes import tflite_micro
from tersor.runtimes.reference import coverage
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from test_ops import Bench, Values, exposed, predictions, reals
from wild_nets import CASES, SHAPE, wild

RECIPES: Mapping[str, Recipe] = {
    name: replace(load_recipe(name), interface=dtype, float_fallback=False)
    for name, dtype in (("int8", DType.INT8), ("int16x8", DType.INT16))
}
KERNELS = ("builtin", "xnnpack", "micro")
DRAWS = 4


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    found = Bench(tmp_path_factory.mktemp("limits"))
    yield found
    found.close()


def allowance(graph: Graph, op: Op, expected: Array) -> float:
    """Steps of the result by which a kernel may be off: a few, or what is known of it and stated."""
    result = graph.tensors[op.outputs[0]]
    assert result.quant is not None
    if result.dtype is DType.INT8:
        return 3.1 if op.kind == "LOG_SOFTMAX" else 1.6
    if OPS[op.kind].int16_table:
        return 4 + float(np.abs(expected).max()) / 256 / result.quant.scale
    if op.kind == "SOFTMAX":
        return 20 + 2 * result.shape[-1]  # each is at least 1 of 32767, see `modes.long_sums`
    return 4


def worst(bench: Bench, made: Model, samples: list[Values], kernels: str) -> Iterator[tuple[Op, float, float]]:
    """For each operator and sample of a quantized model: by how many steps it is off, and how many it may be."""
    shown = exposed(made)
    graph = shown.graph
    runs = [reals(graph, run) for run in bench.run(shown, samples, kernels)]
    for run, floats in zip(runs, predictions(bench, graph, runs), strict=True):
        for op in graph.ops:
            name = op.outputs[0]
            tensor = graph.tensors[name]
            if op.kind in ("QUANTIZE", "DEQUANTIZE"):
                continue
            if tensor.quant is None:
                yield op, float(np.sum(run[name] != floats[name])), 0.0
                continue
            wanted = np.clip(np.nan_to_num(floats[name].astype(np.float64)), *tensor.quant.real_range)
            yield op, float(np.abs(run[name] - wanted).max()) / tensor.quant.scale, allowance(graph, op, wanted)


@pytest.mark.parametrize(("kind", "flavour"), CASES)
def test_any_range_is_computed_right_or_not_in_integers(bench: Bench, kind: str, flavour: str) -> None:
    ran = dict.fromkeys(KERNELS, 0)
    refused = 0
    for draw in range(DRAWS):
        model, samples = wild(kind, zlib.crc32(f"{kind} {draw}".encode()))
        seen = bench.calibrate(Example(kind, kind, model, tuple(samples)))
        try:
            made = quantize(model, plan(model, RECIPES[flavour], seen))
        except PlanError:
            refused += 1
            continue
        for kernels in KERNELS:
            if kernels == "micro" and not _runs_on_micro(made):
                continue
            for op, steps, allowed in worst(bench, made, samples, kernels):
                assert steps <= allowed, f"{op.kind} is off by {steps:.1f} steps on {kernels}, draw {draw}"
            ran[kernels] += 1
    assert ran["builtin"] == ran["xnnpack"] == DRAWS - refused
    assert ran["builtin"] or OPS[kind].grid or OPS[kind].int16_table


def _runs_on_micro(model: Model) -> bool:
    kinds = [(op.kind, coverage.flavour_of(model.graph, op)) for op in model.graph.ops if op.kind in OPS]
    many = any(op.kind == "SOFTMAX" and model.graph.tensors[op.outputs[0]].shape[-1] > 500 for op in model.graph.ops)
    return tflite_micro.is_installed() and not many and all(coverage.missing(*own, "micro") is None for own in kinds)


# What is held back, and why


def uniform(low: float, high: float, *shape: int) -> list[Array]:
    random = np.random.default_rng(zlib.crc32(f"{low} {high}".encode()))
    return [random.uniform(low, high, shape).astype(np.float32) for _ in range(8)]


def single(
    kind: str,
    *ranges: tuple[float, float],
    dtype: DType = DType.FLOAT32,
    with_small: bool = False,
    **options: object,
) -> Callable[[], tuple[Model, list[Values]]]:
    """A model of one operator, and samples in these ranges; `with_small`: the first operand of one is small."""

    def make() -> tuple[Model, list[Values]]:
        builder = Builder()
        names = [builder.input(f"x{place}", SHAPE) for place in range(len(ranges))]
        model = builder.model([builder.op(kind, names, SHAPE, options, name="it", dtype=dtype)])
        draws = [uniform(*own, *SHAPE) for own in ranges]
        if with_small:
            draws[0][-1] *= np.float32(1e-4)
        samples = [dict(zip(names, own, strict=True)) for own in zip(*draws, strict=True)]
        return tflite.read_bytes(tflite.write_bytes(model)), samples

    return make


def copied() -> tuple[Model, list[Values]]:
    """A product over an axis of one value, whose result seems wider than what it is made of."""
    builder = Builder()
    x = builder.input("x", (1, 4, 4, 1))
    product = builder.op("REDUCE_PROD", [x, builder.constant("axis", np.array([3], np.int32))], (1, 4, 4), name="it")
    reach = builder.op("RESHAPE", [x, builder.constant("shape", [1, 4, 4])], (1, 4, 4), name="flat")
    both = builder.op("CONCATENATION", [product, builder.input("y", (1, 4, 4))], (1, 4, 8), {"axis": 2}, name="both")
    model = builder.model([both, reach])
    ranges = uniform(-1, 1, 1, 4, 4, 1), uniform(-2, 2, 1, 4, 4)
    samples = [dict(zip("xy", own, strict=True)) for own in zip(*ranges, strict=True)]
    return tflite.read_bytes(tflite.write_bytes(model)), samples


def test_a_constant_divisor_of_zero_is_refused() -> None:
    builder = Builder()
    divisors = builder.constant("c", np.array([1, 2, 0, 3, 1, 1], np.float32))
    model = builder.model([builder.op("DIV", [builder.input("x", SHAPE), divisors], SHAPE, name="it")])
    seen = statistics({"x": (-1.0, 1.0), "it": (-1.0, 1.0)})
    with pytest.raises(PlanError, match="fails on a value that rounds to 0, and 'c' holds 0"):
        plan(model, RECIPES["int8"], seen)


@pytest.mark.parametrize(("kind", "inputs"), [("DIV", "xy"), ("RSQRT", "y")])
def test_what_was_0_in_all_samples_is_no_divisor(kind: str, inputs: str) -> None:
    builder = Builder()
    model = builder.model([builder.op(kind, [builder.input(name, SHAPE) for name in inputs], SHAPE, name="it")])
    seen = statistics({"x": (-1.0, 1.0), "y": (0.0, 0.0), "it": (0.0, 1.0)})
    with pytest.raises(PlanError, match="fails on a value that rounds to 0, and 'y' starts at 0"):
        plan(model, RECIPES["int8"], seen)


HELD_BACK: dict[str, tuple[str, Callable[[], tuple[Model, list[Values]]], str]] = {
    "quotients near 0": (
        "int8",
        single("DIV", (-1, 1), (0.1, 2), with_small=True),
        "quotients below a quarter of the result's step",
    ),
    "quotients near 0 in 16 bits": (
        "int16x8",
        single("DIV", (-1, 1), (0.1, 2), with_small=True),
        "quotients below a quarter",
    ),
    "comparisons of pixels": ("int8", single("GREATER", (0, 255), (0, 300), dtype=DType.BOOL), "overflows for steps"),
    "a table of exponentials": ("int16x8", single("EXP", (-3000, 0)), "interpolates in 512 steps"),
    "a table of logarithms": ("int16x8", single("LOG", (1e-4, 10)), "interpolates in 512 steps"),
    "a table of roots": ("int16x8", single("RSQRT", (1e-3, 5)), "interpolates in 512 steps"),
    "huge logits": ("int16x8", single("SOFTMAX", (-3e5, 3e5), beta=1.0), "overflows for steps"),
    "products over one value": ("int8", copied, "over a single value its kernel forgets to rescale"),
}
"""Flavour, model and reason."""


def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan without limits."""
    monkeypatch.setattr("tersor.stages.plan.beyond_kernels", lambda *_: {})


@pytest.mark.parametrize("name", HELD_BACK)
def test_what_is_held_back_would_be_nonsense(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flavour, make, why = HELD_BACK[name]
    model, samples = make()
    seen = bench.calibrate(Example(name, name, model, tuple(samples)))
    with pytest.raises(PlanError, match=why):
        plan(model, RECIPES[flavour], seen)
    allowed = replace(RECIPES[flavour], float_fallback=True)
    if len(model.graph.ops) == 1:
        with pytest.raises(PlanError, match="nothing of this model can be"):
            plan(model, allowed, seen)
    else:
        assert plan(model, allowed, seen).ops["it"].compute == FLOAT
    forced(monkeypatch)
    made = quantize(model, plan(model, RECIPES[flavour], seen))
    assert any(steps > 2 * max(may, 5) for _, steps, may in worst(bench, made, samples, "builtin"))


def test_what_is_held_back_takes_its_neighbours_along_and_no_others(bench: Bench) -> None:
    builder = Builder()
    x, y = builder.input("x", SHAPE), builder.input("y", SHAPE)
    sum_ = builder.op("ADD", [x, y], SHAPE, name="sum")
    model = builder.model([builder.op("ABS", [builder.op("DIV", [sum_, y], SHAPE, name="it")], SHAPE, name="end")])
    model = tflite.read_bytes(tflite.write_bytes(model))
    samples = [
        dict(zip("xy", own, strict=True)) for own in zip(uniform(-1, 1, *SHAPE), uniform(0.1, 2, *SHAPE), strict=True)
    ]
    seen = bench.calibrate(Example("", "", model, tuple(samples)))
    decided = plan(model, load_recipe("int8_float_io"), seen)
    modes: Mapping[str, OpPlan] = decided.ops
    assert {name: own.compute for name, own in modes.items()} == {"sum": INTEGER, "it": FLOAT, "end": INTEGER}
    assert "answers nonsense" in modes["it"].why
    assert [
        warning for warning in decided.warnings if "operators stay in float: DIV 'it' (its kernel answers" in warning
    ]
    made = quantize(model, decided)
    wanted = bench.run(model, samples, "builtin", fitted=True)
    got = bench.run(made, samples, "builtin")
    assert sqnr_db(np.stack([own["end"] for own in wanted]), np.stack([own["end"] for own in got])) > 25


@pytest.mark.parametrize(
    "ranges",
    [((0.5, 1), (0.1, 2)), ((-1, -0.5), (0.1, 2)), ((-1, 1), (0.6, 1))],
    ids=["positive", "negative", "narrow divisor"],
)
def test_quotients_that_are_never_small_stay_integer(bench: Bench, ranges: tuple[tuple[float, float], ...]) -> None:
    model, samples = single("DIV", *ranges)()
    seen = bench.calibrate(Example("", "", model, tuple(samples)))
    made = quantize(model, plan(model, RECIPES["int8"], seen))
    for kernels in KERNELS[: 2 + tflite_micro.is_installed()]:
        assert all(steps <= may for _, steps, may in worst(bench, made, samples, kernels))


def test_a_division_per_row_needs_no_float(bench: Bench) -> None:
    """Its reciprocals are never small, and all else is a product."""
    builder = Builder()
    x = builder.input("x", SHAPE)
    total = builder.op(
        "SUM", [x, builder.constant("axis", np.array([-1], np.int32))], (1, 4, 4, 1), {"keep_dims": True}
    )
    model = builder.model([builder.op("DIV", [x, total], SHAPE, name="it")])
    model = optimize(tflite.read_bytes(tflite.write_bytes(model)))
    samples: list[Values] = [{"x": own} for own in uniform(0, 1, *SHAPE)]
    seen = bench.calibrate(Example("", "", model, tuple(samples)))
    made = quantize(model, plan(model, RECIPES["int8"], seen))
    assert [op.kind for op in made.graph.ops] == ["SUM", "DIV", "MUL"]
    for kernels in KERNELS[: 2 + tflite_micro.is_installed()]:
        assert all(steps <= may for _, steps, may in worst(bench, made, samples, kernels))
    wanted = np.stack([own["it"] for own in bench.run(model, samples, "builtin", fitted=True)])
    got = np.stack([reals(made.graph, own)["it"] for own in bench.run(made, samples, "builtin")])
    assert sqnr_db(wanted, got) > 35


# What is given other scales


def test_relu6_reads_what_it_writes(bench: Bench) -> None:
    """TensorFlow Lite Micro clips it in its operand's scale; a second reader keeps that scale from being cut."""
    builder = Builder()
    x = builder.input("x", SHAPE)
    wide = builder.op("TANH", [builder.op("ABS", [x], SHAPE, name="wide")], SHAPE, name="other")
    model = builder.model([builder.op("RELU6", ["wide"], SHAPE, name="it"), wide])
    model = tflite.read_bytes(tflite.write_bytes(model))
    samples: list[Values] = [{"x": own} for own in uniform(-60, 60, *SHAPE)]
    seen = bench.calibrate(Example("", "", model, tuple(samples)))
    made = quantize(model, plan(model, RECIPES["int8"], seen))
    op = made.graph.producers["it"]
    read, result = made.graph.tensors[op.present_inputs[0]].quant, made.graph.tensors["it"].quant
    assert read == result
    for kernels in KERNELS[: 2 + tflite_micro.is_installed()]:
        assert all(steps <= may for _, steps, may in worst(bench, made, samples, kernels))


def test_a_sigmoid_reads_what_it_tells_apart(bench: Bench) -> None:
    """In fixed point it overflows for steps of 8 and more, which another reader may need."""
    builder = Builder()
    x = builder.input("x", SHAPE)
    both = [builder.op(kind, [x], SHAPE, name=kind) for kind in ("LOGISTIC", "TANH", "ABS")]
    model = tflite.read_bytes(tflite.write_bytes(builder.model(both)))
    samples: list[Values] = [{"x": own} for own in uniform(-2000, 2000, *SHAPE)]
    for sample in samples:
        sample["x"][..., 0] = 0
    seen = bench.calibrate(Example("", "", model, tuple(samples)))
    for flavour, recipe in RECIPES.items():
        made = quantize(model, plan(model, recipe, seen))
        for kernels in KERNELS[: 2 + tflite_micro.is_installed()]:
            assert all(steps <= may for _, steps, may in worst(bench, made, samples, kernels)), flavour


def layer() -> tuple[Model, list[Values]]:
    """Sums far below 0, of which a ReLU leaves what is above."""
    builder = Builder()
    x = builder.input("x", SHAPE)
    weights = np.full((1, 3, 3, 6), 1, np.float32)
    options = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1, "depth_multiplier": 1}
    options["fused_activation_function"] = 1
    operands = [x, builder.constant("w", weights), builder.constant("b", np.full(6, 1, np.float32))]
    model = builder.model([builder.op("DEPTHWISE_CONV_2D", operands, SHAPE, options, name="it")])
    samples: list[Values] = [{"x": own} for own in uniform(-4e4, -1, *SHAPE)]
    samples[0]["x"][:] = 0
    return tflite.read_bytes(tflite.write_bytes(model)), samples


RELU: dict[str, Any] = {"fused_activation_function": 1}
RELU6: dict[str, Any] = {"fused_activation_function": 3}
WIDENED: dict[str, tuple[str, str, Callable[[], tuple[Model, list[Values]]]]] = {
    "16 bits of a sum": ("ResultScales._by_width", "int8", single("ADD", (-2000, 2500), (-0.3, 1), **RELU6)),
    "16 bits of a product": ("ResultScales._by_width", "int8", single("MUL", (-2, 0.003), (10, 12), **RELU6)),
    "32 bits of a layer": ("ResultScales._by_width", "int16x8", layer),
    "32 bits of a ReLU": ("ResultScales._by_width", "int16x8", single("RELU", (-150000, 0))),
    "28 bits of a quotient": ("ResultScales._by_width", "int16x8", single("DIV", (9e4, 1e5), (2e-5, 3e-5), **RELU6)),
    "factors of a sum": ("ResultScales._by_factor", "int16x8", single("ADD", (-20000, -1), (-0.1, 0.1), **RELU)),
    "clips in 32 bits": ("_by_clamp", "int16x8", single("MUL", (-1e-5, 1e-5), (0, 1), **RELU6)),
}
"""What chooses the scale, flavour and model."""


@pytest.mark.parametrize("name", WIDENED)
def test_a_wider_scale_is_needed_and_suffices(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by, flavour, make = WIDENED[name]
    model, samples = make()
    seen = bench.calibrate(Example(name, name, model, tuple(samples)))
    made = quantize(model, plan(model, RECIPES[flavour], seen))
    for kernels in KERNELS[: 2 + _runs_on_micro(made)]:
        assert all(steps <= may for _, steps, may in worst(bench, made, samples, kernels))
    monkeypatch.setattr(f"tersor.stages.plan.result_scales.{by}", lambda *_: 0.0)
    finer = quantize(model, plan(model, RECIPES[flavour], seen))
    try:
        wrong = any(steps > may for _, steps, may in worst(bench, finer, samples, "builtin"))
    except RuntimeFailure:
        wrong = True
    assert wrong
