"""Layers with state, on the real kernels: UNIDIRECTIONAL_SEQUENCE_LSTM and SVDF."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from recurrent_nets import (
    CELLS,
    INPUTS,
    RELU,
    TIME,
    VARIANTS,
    Variant,
    lstm,
    lstm_model,
    svdf,
    svdf_model,
    through_file,
)
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model, Op
from tersor.ir.plan import DYNAMIC, FLOAT, INTEGER
from tersor.numerics.affine import dequantize, quantize
from tersor.observers.min_max import Observer
from tersor.recipe import load_recipe
from tersor.runtimes.engine import Engine
from tersor.runtimes.litert import KERNEL_SETS, Session
from tersor.stages.calibrate import calibrate
from tersor.stages.derive import derive
from tersor.stages.plan import plan
from tersor.stages.plan.modes import plan_modes
from tersor.stages.quantize import quantize as carry_out
from tersor.stages.statistics import Statistics

INT8, DYNAMIC_RANGE = load_recipe("int8"), replace(load_recipe("dynamic"), minimum_elements=1)


def samples_for(model: Model, count: int = 40, offset: float = 0.0) -> list[Array]:
    random = np.random.default_rng(5)
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    return [(random.normal(offset, 1, shape) * random.uniform(0.2, 2)).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(time_limit=60) as engine:
        yield engine


def run(engine: Engine, model: Model, samples: Sequence[Array], kernels: str = "builtin") -> list[Array]:
    """The model's first output for each sample, as real numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        tflite.write(model, path)
        handle = engine.open(str(path), kernels)
        entry, result = (model.graph.tensors[name[0]].quant for name in (model.graph.inputs, model.graph.outputs))
        fed = [[sample if entry is None else quantize(sample, entry)] for sample in samples]
        answers = [outputs[0] for outputs in handle.run_all(fed)]
        handle.close()
    return [answer if result is None else dequantize(answer, result) for answer in answers]


def quantized(engine: Engine, model: Model, samples: Sequence[Array]) -> Model:
    """The model in integers only."""
    return carry_out(model, plan(model, INT8, calibrate(model, samples, engine=engine)))


def worst(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def with_rounded_constants(model: Model, ours: Model) -> Model:
    """The one-layer float model with the constants as the quantized model has them."""
    tensors = model.graph.tensors
    (theirs,) = (op for op in ours.graph.ops if op.kind == model.graph.ops[0].kind)
    rounded = {}
    for before, after in zip(model.graph.ops[0].inputs, theirs.inputs, strict=True):
        if before is not None and after is not None and tensors[before].is_constant:
            constant = ours.graph.tensors[after]
            assert constant.data is not None
            assert constant.quant is not None
            rounded[before] = tensors[before].with_data(dequantize(constant.data, constant.quant))
    return model.with_graph(model.graph.edit(tensors=rounded.values()))


def steps_apart(engine: Engine, model: Model, ours: Model, samples: Sequence[Array], kernels: str) -> Array:
    """How far the integer layer is from a float layer on the same rounded numbers, in steps of its result's scale."""
    entry, result = (ours.graph.tensors[name[0]].quant for name in (ours.graph.inputs, ours.graph.outputs))
    assert entry is not None
    assert result is not None
    rounded = [dequantize(quantize(sample, entry), entry) for sample in samples]
    expected = run(engine, with_rounded_constants(model, ours), rounded)
    return np.asarray((np.stack(run(engine, ours, samples, kernels)) - np.stack(expected)) / result.scale)


def layer(model: Model) -> Op:
    (op,) = (op for op in model.graph.ops if op.kind in ("UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF"))
    return op


@pytest.mark.parametrize("name", VARIANTS)
def test_numpy_lstm_equals_the_float_kernel(name: str, tmp_path: Path) -> None:
    variant = VARIANTS[name]
    model = lstm_model(variant)
    tflite.write(model, tmp_path / "model.tflite")
    session = Session(str(tmp_path / "model.tflite"), "builtin", keep_all=True)
    (derived,) = derive(model.graph)
    for sample in samples_for(model, 3, variant.offset):
        (output,) = session.run([sample])
        trace = derived.compute.layer.trace(sample)  # type: ignore[attr-defined]
        np.testing.assert_allclose(trace.output, output, atol=1e-5)
        last = trace.cell[-1] if variant.time_major else trace.cell[:, -1]
        np.testing.assert_allclose(last, session.view("cell_state"), atol=1e-5)


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("name", VARIANTS)
def test_int8_lstm_rounds_and_nothing_else(name: str, kernels: str, engine: Engine) -> None:
    model = lstm_model(VARIANTS[name])
    samples = samples_for(model, offset=VARIANTS[name].offset)
    ours = quantized(engine, model, samples)
    apart = steps_apart(engine, model, ours, samples, kernels)
    assert np.abs(apart).max() < 6
    assert np.sqrt(np.mean(apart**2)) < 0.6


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize(("bias", "rank"), [(True, 2), (False, 1)])
def test_int8_svdf_rounds_and_nothing_else(bias: bool, rank: int, kernels: str, engine: Engine) -> None:
    model = svdf_model(bias=bias, rank=rank)
    samples = samples_for(model)
    ours = quantized(engine, model, samples)
    apart = steps_apart(engine, model, ours, samples, kernels)
    assert np.abs(apart).max() < 2
    assert ours.graph.tensors["memory"].dtype is DType.INT16
    assert layer(ours).version == 3


def test_int8_svdf_with_a_full_memory(tmp_path: Path) -> None:
    """A stream: runs without reset, which a session does not do."""
    model = svdf_model()
    stream = samples_for(model, 60)

    def play(model: Model) -> list[Array]:
        tflite.write(model, tmp_path / "model.tflite")
        interpreter = Interpreter(str(tmp_path / "model.tflite"))
        interpreter.allocate_tensors()
        (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        answers = []
        for step in stream:
            quant = model.graph.tensors[model.graph.inputs[0]].quant
            interpreter.set_tensor(entry["index"], step if quant is None else quantize(step, quant))
            interpreter.invoke()
            answers.append(interpreter.get_tensor(result["index"]))
        quant = model.graph.tensors[model.graph.outputs[0]].quant
        return [answer if quant is None else dequantize(answer, quant) for answer in answers]

    expected = play(model)
    (derived,) = derive(model.graph)
    seen: dict[str, Observer] = {name: Observer() for name in ("x", "svdf", "memory")}
    for step, answer in zip(stream, expected, strict=True):
        for name, values in {"x": step, "svdf": answer, **derived.compute(step)}.items():
            seen[name].observe(values)
    decided = plan(model, INT8, Statistics(seen, len(stream)))
    assert "remembers earlier runs" in decided.warnings[0]
    ours = carry_out(model, decided)
    quant = ours.graph.tensors["svdf"].quant
    assert quant is not None
    assert worst(play(with_rounded_constants(model, ours)), play(ours)) < 2 * quant.scale


def test_int8_lstm_is_written_as_the_kernel_reads_it(engine: Engine) -> None:
    model = lstm_model(Variant())
    ours = quantized(engine, model, samples_for(model))
    op, tensors = layer(ours), ours.graph.tensors
    state, cell, result = (tensors[name] for name in ("output_state", "cell_state", op.outputs[0]))
    assert state.is_variable
    assert cell.is_variable
    assert (state.dtype, state.quant) == (DType.INT8, result.quant)
    assert cell.dtype is DType.INT16
    assert cell.quant is not None
    assert np.log2(cell.quant.scale).is_integer()
    assert len(op.intermediates) == 5
    hidden = op.intermediates[4]
    assert hidden is not None
    assert tensors[hidden].quant == result.quant
    assert op.version == 1
    assert tflite.read_bytes(tflite.write_bytes(ours)).graph == ours.graph


def test_cell_state_is_seen_within_the_sequence(engine: Engine) -> None:
    model = lstm_model(Variant())
    calm = np.zeros((1, TIME, INPUTS), np.float32)
    burst = calm.copy()
    burst[:, 1:4] = 3
    (derived,) = derive(model.graph)
    seen = calibrate(model, [burst, calm], engine=engine).range("cell_state")
    cells = derived.compute(burst)["cell_state"]
    assert seen[1] == pytest.approx(cells.max())
    assert np.abs(cells).max() > 1.5 * np.abs(cells[:, -1]).max()


@pytest.mark.parametrize("build", [lambda: lstm_model(Variant()), svdf_model], ids=["lstm", "svdf"])
def test_samples_do_not_see_each_other(build: Callable[[], Model], engine: Engine) -> None:
    model = build()
    samples = samples_for(model, 12)
    ours = quantized(engine, model, samples)
    for each in (model, ours):
        forward, backward = run(engine, each, samples), run(engine, each, samples[::-1])
        np.testing.assert_array_equal(np.stack(forward), np.stack(backward[::-1]))
        np.testing.assert_array_equal(forward[3], run(engine, each, samples[3:4])[0])
    ranges = [calibrate(model, order, engine=engine) for order in (samples, samples[::-1])]
    assert {n: ranges[0].range(n) for n in ranges[0].observers} == {n: ranges[1].range(n) for n in ranges[1].observers}


def test_state_starts_at_its_zero_point(engine: Engine, tmp_path: Path) -> None:
    model = lstm_model(Variant())
    ours = quantized(engine, model, samples_for(model))
    state = ours.graph.tensors["output_state"].quant
    assert state is not None
    assert state.zero_point != 0
    tflite.write(ours, tmp_path / "model.tflite")
    session = Session(str(tmp_path / "model.tflite"), "builtin", keep_all=True)
    session.run([np.full((1, TIME, INPUTS), 90, np.int8)])
    assert (session.view("output_state") != state.zero_point).any()
    session.reset()
    assert (session.view("output_state") == state.zero_point).all()
    assert (session.view("cell_state") == 0).all()


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("name", VARIANTS)
def test_dynamic_range_lstm(name: str, kernels: str, engine: Engine) -> None:
    model = lstm_model(VARIANTS[name])
    decided = plan(model, DYNAMIC_RANGE)
    ours = carry_out(model, decided)
    assert decided.ops["lstm"].compute == DYNAMIC
    assert layer(ours).option("asymmetric_quantize_inputs") is True
    samples = samples_for(model, offset=VARIANTS[name].offset)
    assert worst(run(engine, ours, samples, kernels), run(engine, model, samples)) < 0.05


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_dynamic_range_svdf(kernels: str, engine: Engine) -> None:
    model = svdf_model()
    ours = carry_out(model, plan(model, DYNAMIC_RANGE))
    assert {ours.graph.tensors[str(name)].dtype for name in layer(ours).inputs[1:3]} == {DType.INT8}
    samples = samples_for(model)
    assert worst(run(engine, ours, samples, kernels), run(engine, model, samples)) < 0.1


def test_layers_within_a_network(engine: Engine) -> None:
    """An LSTM whose input is a result, and whose result shares its scale with others."""
    random, builder = np.random.default_rng(3), Builder()
    x = builder.input("x", (1, 8))
    weights = builder.constant("weights", random.uniform(-0.5, 0.5, (TIME * INPUTS, 8)).astype(np.float32))
    flat = builder.op("FULLY_CONNECTED", [x, weights, None], (1, TIME * INPUTS), version=6)
    shape = builder.constant("shape", [1, TIME, INPUTS])
    sequence = builder.op("RESHAPE", [flat, shape], (1, TIME, INPUTS), {"new_shape": (1, TIME, INPUTS)})
    first = lstm(builder, sequence, Variant())
    wide = builder.op("MUL", [sequence, builder.constant("four", 4.0)], (1, TIME, INPUTS))
    model = through_file(
        builder.model([builder.op("CONCATENATION", [first, wide], (1, TIME, CELLS + INPUTS), {"axis": 2})])
    )
    samples = samples_for(model)
    decided = plan(model, INT8, calibrate(model, samples, engine=engine))
    assert decided.ops["lstm"].compute == INTEGER
    ours = carry_out(model, decided)
    result = ours.graph.tensors[ours.graph.outputs[0]].quant
    assert result is not None
    assert ours.graph.tensors["output_state"].quant == ours.graph.tensors["lstm"].quant
    expected = run(engine, model, samples)
    for kernels in KERNEL_SETS:
        assert worst(run(engine, ours, samples, kernels), expected) < 4 * result.scale


def test_svdf_keeps_its_relu_beside_negative_values(engine: Engine) -> None:
    """The integer kernel saturates at -128, which must stay 0 though the concatenation's range is not positive."""
    builder = Builder()
    x = builder.input("x", (1, INPUTS))
    model = through_file(
        builder.model([builder.op("CONCATENATION", [svdf(builder, x), x], (1, 5 + INPUTS), {"axis": 1})])
    )
    samples = samples_for(model)
    ours = quantized(engine, model, samples)
    quant = ours.graph.tensors["svdf"].quant
    assert quant is not None
    assert quant.zero_point == -128
    answers = np.stack(run(engine, ours, samples))
    assert answers[:, 0, :5].min() == 0
    assert worst(list(answers), run(engine, model, samples)) < 0.15


def why_float(model: Model, statistics: Statistics, flavour: str = "int8_float_io") -> str:
    modes = plan_modes(model.graph, load_recipe(flavour), statistics)
    (op,) = (op for op in modes.values() if op.kind in ("UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF"))
    assert op.compute == FLOAT
    return op.why


REFUSED = {
    "another activation": (Variant(options=(("fused_activation_function", RELU),)), "knows tanh only"),
    "diagonal": (Variant(diagonal=True), "diagonal recurrent weights"),
    "clipped projection": (Variant(outputs=3, options=(("proj_clip", 0.3),)), "clips the projection"),
    "peephole and projection": (Variant(outputs=3, peephole=True), "size of the peephole weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_the_integer_lstm_gets_wrong(name: str, engine: Engine) -> None:
    variant, reason = REFUSED[name]
    model = lstm_model(variant)
    assert reason in why_float(model, calibrate(model, samples_for(model, 12), engine=engine))


def test_refuses_a_cell_state_that_is_too_large(engine: Engine) -> None:
    model = lstm_model(Variant())
    seen = calibrate(model, samples_for(model, 12), engine=engine)
    seen.observers["cell_state"].observe(np.array([70.5], np.float32))
    assert "reaches 70.5, and the integer kernel holds 64" in why_float(model, seen)


def test_refuses_svdf_without_relu(engine: Engine) -> None:
    model = svdf_model(activation=0)
    assert "knows ReLU only" in why_float(model, calibrate(model, samples_for(model, 12), engine=engine))


def test_has_no_int16_kernel(engine: Engine) -> None:
    for model in (lstm_model(Variant()), svdf_model()):
        seen = calibrate(model, samples_for(model, 12), engine=engine)
        assert why_float(model, seen, "int16x8") == "LiteRT has no int16 kernel for it"


def test_refuses_shared_state(engine: Engine) -> None:
    builder = Builder()
    y = lstm(builder, builder.input("x", (1, TIME, INPUTS)), Variant())
    model = through_file(builder.model([y, builder.op("RELU", ["cell_state"], (1, CELLS))]))
    assert "is used by others too" in why_float(model, calibrate(model, samples_for(model, 12), engine=engine))


def test_state_of_other_operators_is_refused(engine: Engine) -> None:
    builder = Builder()
    x = builder.input("x", (1, INPUTS))
    model = through_file(builder.model([builder.op("ADD", [x, builder.variable("memory", (1, INPUTS))], (1, INPUTS))]))
    seen = calibrate(model, samples_for(model, 12), engine=engine)
    modes = plan_modes(model.graph, load_recipe("int8_float_io"), seen)
    assert modes["add"].why == "its operand 'memory' is state"
