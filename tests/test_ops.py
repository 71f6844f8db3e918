"""Every row of the operator table, on the real kernels.

Each example of `op_examples` is calibrated, planned and quantized by tersor, and run on both kernel sets. Then every
operator of the written model is held against float: the float kernel computes on exactly the real numbers that the
integer operator read (its integers and constants, dequantized), so that what is left is the operator's own rounding,
which may be `allowance` steps of the result's scale. That the scales themselves fit what the float model computes is
checked apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from op_examples import EXAMPLES, Example, make
from tersor.data.feed import fit
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op, Tensor
from tersor.ir.plan import DYNAMIC, INTEGER, UNTOUCHED, OpPlan, Plan
from tersor.numerics.affine import asymmetric_params, dequantize, symmetric_params
from tersor.numerics.metrics import sqnr_db
from tersor.numerics.packing import values_of
from tersor.ops import ANY, DATA, OPS, SAME, WEIGHT, OpSpec
from tersor.recipe import Recipe, load_recipe
from tersor.runtimes.engine import Engine
from tersor.runtimes.litert import KERNEL_SETS
from tersor.stages.calibrate import calibrate
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from tersor.stages.statistics import Statistics

RECIPES: Mapping[str, Recipe] = {
    "int8": load_recipe("int8"),
    "int16x8": replace(load_recipe("int16x8"), interface=DType.INT16, float_fallback=False),
    "int8_w4": replace(load_recipe("int8_w4"), interface=DType.INT8, float_fallback=False),
    "dynamic": replace(load_recipe("dynamic"), minimum_elements=1),
}
"""Integer recipes have integers at the door and refuse to leave an operator in float."""

Values = dict[str, Array]


def flavours(spec: OpSpec) -> list[str]:
    """The recipes that a row claims to serve."""
    claims = {"int8": spec.int8, "int16x8": spec.int16, "int8_w4": spec.int4, "dynamic": spec.dynamic}
    return [name for name, version in claims.items() if version is not None]


CASES = [
    (kind, variant, flavour)
    for kind, spec in OPS.items()
    for variant in EXAMPLES.get(kind, {})
    for flavour in flavours(spec)
]


@dataclass(frozen=True)
class Case:
    """An example, the ranges its values took (none for the dynamic recipe), and what tersor made of it."""

    example: Example
    statistics: Statistics | None
    plan: Plan
    model: Model


class Bench:
    """Quantizes examples once, and runs models in one child process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "model.tflite"
        self._engine = Engine(time_limit=60)
        self._cases: dict[tuple[str, str, str], Case] = {}

    def case(self, kind: str, variant: str, flavour: str) -> Case:
        key = kind, variant, flavour
        if key not in self._cases:
            example, recipe = make(kind, variant), RECIPES[flavour]
            seen = self.calibrate(example) if recipe.needs_calibration else None
            decided = plan(example.model, recipe, seen)
            self._cases[key] = Case(example, seen, decided, quantize(example.model, decided))
        return self._cases[key]

    def calibrate(self, example: Example) -> Statistics:
        with self._fresh_engine_after_failure():
            return calibrate(example.model, example.samples, engine=self._engine, threads=1)

    def run(self, model: Model, samples: Sequence[Values], kernels: str, *, fitted: bool = False) -> list[Values]:
        """The graph's inputs as the model took them, and its outputs, by name for each sample."""
        tflite.write(model, self._path)
        with self._fresh_engine_after_failure():
            handle = self._engine.open(str(self._path), kernels)
            inputs = [[*sample.values()] if fitted else fit(sample, handle.inputs) for sample in samples]
            outputs = list(handle.run_all(inputs))
            handle.close()
        names = (*model.graph.inputs, *model.graph.outputs)
        return [dict(zip(names, (*given, *got), strict=True)) for given, got in zip(inputs, outputs, strict=True)]

    def close(self) -> None:
        self._engine.close()

    @contextlib.contextmanager
    def _fresh_engine_after_failure(self) -> Iterator[None]:
        """One crash of the child fails one test, not all that follow."""
        try:
            yield
        except Exception:
            self.close()
            self._engine = Engine(time_limit=60)
            raise


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("ops"))
    yield bench
    bench.close()


# The float reference


def exposed(model: Model) -> Model:
    """The model with every computed value among its outputs."""
    graph = model.graph
    computed = dict.fromkeys((*graph.outputs, *(name for op in graph.ops for name in op.outputs)))
    return model.with_graph(graph.edit(outputs=list(computed)))


def reference(graph: Graph) -> tuple[Model, dict[str, str]]:
    """A float model of a written graph's operators, each on inputs of its own.

    Returns:
        The model, whose inputs have the names of the values that the operators read; and for each of its outputs the
        value of `graph` that it predicts.
    """
    builder, inputs, constants = Builder(), dict[str, str](), dict[str, str]()
    predicted: dict[str, str] = {}

    def operand(name: str | None) -> str | None:
        if name is None:
            return None
        tensor = graph.tensors[name]
        if tensor.is_constant:
            constants[name] = constants.get(name) or builder.constant(name, restored(tensor))
            return constants[name]
        inputs[name] = inputs.get(name) or builder.input(name, tensor.shape, real_type(tensor))
        return inputs[name]

    for op in graph.ops:
        if op.kind in ("QUANTIZE", "DEQUANTIZE"):
            continue
        results = [(graph.tensors[name].shape, real_type(graph.tensors[name])) for name in op.outputs]
        names = [operand(name) for name in op.inputs]
        predicted |= zip(
            builder.op_with(op.kind, names, results, op.options, version=op.version, name=f"{op.name}/real"),
            op.outputs,
            strict=True,
        )
    return builder.model(list(predicted)), predicted


def real_type(tensor: Tensor) -> DType:
    return tensor.dtype if tensor.quant is None else DType.FLOAT32


def restored(tensor: Tensor) -> Array:
    values = values_of(tensor)
    return values if tensor.quant is None else dequantize(values, tensor.quant)


def reals(graph: Graph, values: Values) -> Values:
    """The real numbers that a run's values stand for; those without a scale as they are."""
    quants = {name: graph.tensors[name].quant for name in values}
    return {
        name: array if (quant := quants[name]) is None else dequantize(array, quant) for name, array in values.items()
    }


def predictions(bench: Bench, graph: Graph, runs: Sequence[Values]) -> list[Values]:
    """For each run, what float kernels make of the values that the operators read, by the result's name."""
    model, predicted = reference(graph)
    samples = [{name: run[name] for name in model.graph.inputs} for run in runs]
    answers = bench.run(model, samples, "builtin", fitted=True) if predicted else [{} for _ in runs]
    converted = {op.outputs[0]: op.present_inputs[0] for op in graph.ops if op.kind in ("QUANTIZE", "DEQUANTIZE")}
    return [
        {name: answer[ours] for ours, name in predicted.items()}
        | {name: run[source] for name, source in converted.items()}
        for answer, run in zip(answers, runs, strict=True)
    ]


# What a kernel may add


def allowance(op: Op, tensor: Tensor) -> float:
    """Steps of the result's scale by which a kernel's result may differ from float arithmetic on what it read."""
    if OPS.get(op.kind, _CONVERSION).scale == SAME and op.kind not in ("AVERAGE_POOL_2D", "RESIZE_BILINEAR"):
        return 0.01
    bits = tensor.dtype.bits
    assert bits is not None
    if op.kind == "RESIZE_BILINEAR":
        # The builtin kernel computes coordinates, and so the weights of neighbours, in 10 fractional bits.
        return 1 + sum(0.5 * size + 1 for size in tensor.shape[1:3]) * float(1 << bits) / 1024
    return _SPECIAL_STEPS.get((op.kind, tensor.dtype), _STEPS)


_STEPS = 1.001
"""Half a step for rounding the result, and half for the multiplier, its sums and truncating where others round."""

_CONVERSION = OpSpec("data")

_SPECIAL_STEPS = {
    **{(kind, DType.INT16): 1.5 for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL")},  # multipliers of 16 bits
    **{(kind, DType.INT16): 3.0 for kind in ("LOGISTIC", "TANH", "SOFTMAX")},  # tables and polynomials
}

_TABLE_STEPS = 512
"""The int16 kernels of `_TABLES` interpolate between so many points of the whole int16 range. Between two points they
may be off by as much as the function changes there; next to a point whose value saturates, they are."""

_TABLES = ("EXP", "GELU", "LOG", "RSQRT")


def table_errors(bench: Bench, graph: Graph, runs: Sequence[Values]) -> list[Values]:
    """For each run and each result of an int16 table, how much the function changes within one step of the table."""
    pairs = [(op.present_inputs[0], op.outputs[0]) for op in graph.ops if op.kind in _TABLES]
    steps = {name: params.scale * 2**16 / _TABLE_STEPS for name, _ in pairs if (params := graph.tensors[name].quant)}
    here, below, above = (
        predictions(bench, graph, [run | {name: run[name] + sign * steps[name] for name in steps} for run in runs])
        for sign in (0, -1, 1)
    )
    return [
        {name: np.maximum(abs(low[name] - middle[name]), abs(high[name] - middle[name])) for _, name in pairs}
        for low, middle, high in zip(below, here, above, strict=True)
    ]


def hybrid_error(graph: Graph, op: Op, run: Values) -> float:
    """What a hybrid kernel may add by rounding its operand to 8 bits: half a step, times the weights of one result."""
    spec = OPS[op.kind]
    place, data = weights_of(spec), spec.operand_index(DATA)
    if data is None or place is None or data == place:
        return 0.0  # a table: nothing is multiplied
    source, weights = op.inputs[data], graph.operand(op, place)
    assert source is not None
    assert weights is not None
    channel = len(weights.shape) - 1 if spec.weight_axis is None else spec.weight_axis
    others = tuple(axis for axis in range(len(weights.shape)) if axis != channel)
    half_a_step = float(np.abs(run[source]).max()) / 254
    return half_a_step * float(np.abs(restored(weights)).sum(axis=others).max())


def weights_of(spec: OpSpec) -> int | None:
    index = spec.operand_index(WEIGHT)
    return spec.dynamic_operand if index is None else index


# The tests


def test_every_row_has_an_example() -> None:
    rows = {kind for kind, spec in OPS.items() if not spec.is_recurrent}  # these have tests of their own
    assert rows == set(EXAMPLES)
    for kind, variants in EXAMPLES.items():
        for variant in variants:
            assert any(op.kind == kind for op in make(kind, variant).model.graph.ops), variant


@pytest.mark.parametrize(("kind", "variant", "flavour"), CASES)
def test_written_model_is_what_the_row_says(bench: Bench, kind: str, variant: str, flavour: str) -> None:
    case, spec = bench.case(kind, variant, flavour), OPS[kind]
    graph = case.model.graph
    given = {op.name: op.version for op in case.example.model.graph.ops}
    claimed = {"int8": spec.int8, "int16x8": spec.int16, "int8_w4": spec.int4, "dynamic": spec.dynamic}[flavour]
    assert claimed is not None
    place = weights_of(spec) if flavour == "dynamic" else spec.operand_index(WEIGHT)
    assert place is not None or flavour != "int8_w4"
    if flavour != "dynamic":
        assert not [tensor.name for tensor in graph.tensors.values() if tensor.dtype.is_float]
    for op in graph.ops:
        weights = None if place is None else graph.operand(op, place)
        constant = weights is not None and weights.is_constant
        if op.kind != kind or (flavour == "dynamic" and not constant):
            continue
        whole = UNTOUCHED if spec.operand_role(0) == ANY else INTEGER
        assert case.plan.ops[op.name].compute == (DYNAMIC if flavour == "dynamic" else whole)
        upscaling = spec.int8_upscaling if flavour == "int8" and variant == "clipped_product" else None
        assert op.version == max(given[op.name], upscaling or claimed)
        assert not op.option("pot_scale_int16")
        if weights is not None and constant:
            assert weights.dtype is (DType.INT4 if flavour == "int8_w4" else DType.INT8)


@pytest.mark.parametrize(("kind", "variant", "flavour"), [case for case in CASES if case[2] != "dynamic"])
def test_scales_fit_the_ranges(bench: Bench, kind: str, variant: str, flavour: str) -> None:
    """Nothing that calibration saw and readers tell apart saturates, and no more range is covered than was seen."""
    case = bench.case(kind, variant, flavour)
    assert case.statistics is not None
    for own in case.plan.tensors.values():
        if own.params is None or "fixed scale" in own.why:
            continue
        together = [other for other, plan_ in case.plan.tensors.items() if plan_.params == own.params]
        ranges = [case.statistics.range(other) for other in together if other in case.statistics.observers]
        low, high = min(0.0, *(low for low, _ in ranges)), max(0.0, *(high for _, high in ranges))
        choose = symmetric_params if own.dtype is DType.INT16 else asymmetric_params
        step, (lowest, highest) = own.params.scale, own.params.real_range
        if "; cut to " in own.why:  # what lies beyond is all the same to its readers: see `tests/test_visible.py`
            assert step < choose(low, high, own.dtype).scale
            continue
        assert lowest - step <= low
        assert high <= highest + step
        if "widened" not in own.why and kind not in _LOOKUPS:
            assert step == pytest.approx(choose(low, high, own.dtype).scale, rel=0.01)


_LOOKUPS = ("EMBEDDING_LOOKUP", "GATHER", "GATHER_ND")
"""Operators whose result takes the range of a whole table, of which samples show a part."""


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize(("kind", "variant", "flavour"), CASES)
def test_kernels_match_float(bench: Bench, kind: str, variant: str, flavour: str, kernels: str) -> None:
    case = bench.case(kind, variant, flavour)
    samples, model, open_model = case.example.samples, case.model, exposed(case.model)
    shipped = bench.run(model, samples, kernels)
    runs = shipped if open_model == model else bench.run(open_model, samples, kernels)
    for ours, run in zip(shipped, runs, strict=True):
        for name, values in ours.items():
            np.testing.assert_array_equal(values, run[name], err_msg=f"{name} with and without inner values exposed")

    graph = open_model.graph
    stored = [reals(graph, run) for run in runs]
    looked_up = flavour == "int16x8" and kind in _TABLES
    tables = table_errors(bench, graph, stored) if looked_up else [{} for _ in stored]
    for run, expected, table in zip(stored, predictions(bench, graph, stored), tables, strict=True):
        for op in graph.ops:
            hybrid = flavour == "dynamic" and case.plan.ops[op.name].compute == DYNAMIC
            added = hybrid_error(graph, op, run) if hybrid else 0.0
            for name in op.outputs:
                assert_close(graph, op, name, run[name], expected[name], table.get(name, 0.0) + added)

    inside = [{name: run[name] for name in model.graph.inputs} for run in stored]
    in_float = bench.run(case.example.model, inside, kernels, fitted=True)
    for name in model.graph.outputs:
        if case.example.model.graph.tensors[name].dtype is DType.FLOAT32:
            wanted = np.stack([run[name] for run in in_float])
            assert sqnr_db(wanted, np.stack([run[name] for run in stored])) > _SQNR[flavour]


_SQNR = {"int8": 30.0, "int16x8": 40.0, "int8_w4": 14.0, "dynamic": 40.0}
"""Decibel by which a whole example's signal exceeds its error, at least; its operators have sharper bounds above."""


def assert_close(graph: Graph, op: Op, name: str, got: Array, expected: Array, extra: Array | float) -> None:
    """Fail unless a result is what float arithmetic gives, save for what its kernel may add."""
    tensor, where = graph.tensors[name], f"{op.kind} {name}"
    if tensor.quant is None and tensor.dtype is not DType.FLOAT32:
        np.testing.assert_array_equal(got, expected, err_msg=where)
        return
    rounding: float | Array = 1e-5 * np.abs(expected).max()
    if tensor.quant is not None:
        expected = np.clip(expected, *tensor.quant.real_range)
        rounding = allowance(op, tensor) * tensor.quant.scale
    error = np.abs(got - expected) - extra
    assert error.max() <= rounding, f"{where} is off by {error.max():g}, {error.max() / rounding:.3g} times what it may"


@pytest.mark.parametrize("options", [{}, {"pot_scale_int16": True}])
@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_scales_are_not_taken_for_powers_of_two(kind: str, options: Mapping[str, bool]) -> None:
    """With the schema's default, the int16 kernel refuses some sums whose scales happen to be powers of two."""
    builder = Builder()
    x = builder.input("x", [1, 4])
    model = builder.model([builder.op(kind, [x, x], [1, 4], options, name="y")])
    written = quantize(model, Plan("by hand", ops={"y": OpPlan(kind, INTEGER, 3, "")}))
    assert written.graph.ops[0].option("pot_scale_int16") is False


def test_tables_keep_values_that_calibration_did_not_see(bench: Bench) -> None:
    """Rows that no sample looks up are no less accurate than the others."""
    for kind, variant in (("EMBEDDING_LOOKUP", "table"), ("GATHER", "rows_of_a_table")):
        example = make(kind, variant)
        graph = example.model.graph
        few = replace(example, samples=tuple({name: x % 2 for name, x in s.items()} for s in example.samples))
        ours = quantize(example.model, plan(example.model, RECIPES["int8"], bench.calibrate(few)))
        wanted = bench.run(example.model, example.samples, "builtin")
        got = [reals(ours.graph, run) for run in bench.run(ours, example.samples, "builtin")]
        params = ours.graph.tensors[graph.outputs[0]].quant
        assert params is not None
        for a, b in zip(wanted, got, strict=True):
            assert np.abs(a[graph.outputs[0]] - b[graph.outputs[0]]).max() <= 0.51 * params.scale
