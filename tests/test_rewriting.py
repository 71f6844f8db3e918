"""What `quantize` makes of a plan, and what it costs on real kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from small_nets import DEMO, classifier, images, random, through_file
from tersor.errors import VerificationError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.ir.plan import Plan
from tersor.numerics.metrics import sqnr_db
from tersor.passes import expose_extremes, expose_means, restore_float_weights
from tersor.recipe import adjusted, load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate, observable
from tersor.stages.load import load
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from tersor.stages.verify import verify

Run = Callable[..., list[Array]]


def made(engine: Engine, flavour: str, model: Model | None = None, **changes: str) -> tuple[Model, Plan]:
    model = model or classifier()
    recipe = adjusted(load_recipe(flavour), **changes)  # type: ignore[arg-type]
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    samples = [random(shape, seed) for seed in range(16)]
    decided = plan(model, recipe, calibrate(model, samples, engine=engine))
    return quantize(model, decided), decided


@pytest.mark.parametrize(
    ("flavour", "door", "inside"),
    [
        ("int8", DType.INT8, DType.INT8),
        ("uint8", DType.UINT8, DType.INT8),
        ("int8_float_io", DType.FLOAT32, DType.INT8),
        ("int16x8", DType.FLOAT32, DType.INT16),
    ],
)
def test_door_keeps_its_names_and_has_the_type_asked_for(
    engine: Engine, flavour: str, door: DType, inside: DType
) -> None:
    model, _ = made(engine, flavour)
    graph = model.graph
    assert (graph.inputs, graph.outputs) == (("x",), ("scores",))
    assert {graph.tensors["x"].dtype, graph.tensors["scores"].dtype} == {door}
    assert graph.tensors["conv"].dtype is inside


def test_uint8_door_shifts_the_zero_point_only(engine: Engine) -> None:
    signed, unsigned = (made(engine, flavour)[0].graph.tensors["x"].quant for flavour in ("int8", "uint8"))
    assert signed is not None
    assert unsigned is not None
    assert unsigned.scale == signed.scale
    assert unsigned.zero_point == signed.zero_point + 128


def test_written_result_is_read_as_it_was_made(engine: Engine) -> None:
    model, _ = made(engine, "int8_float_io", load(DEMO))
    again = tflite.read_bytes(tflite.write_bytes(model))
    assert again.graph.tensors == model.graph.tensors
    assert (again.graph.inputs, again.graph.outputs) == (("image",), ("Identity",))


def test_four_bit_weights_are_packed(engine: Engine) -> None:
    model, _ = made(engine, "int8_w4")
    weights = [t for t in model.graph.tensors.values() if t.dtype is DType.INT4]
    assert weights
    assert all(t.data is not None and t.data.nbytes == (t.elements + 1) // 2 for t in weights)


def test_dynamic_range_tells_the_kernel_that_inputs_are_asymmetric(engine: Engine) -> None:
    builder = Builder()
    x = builder.input("x", [1, 64])
    weights = builder.constant("w", random([32, 64]))
    y = builder.op("FULLY_CONNECTED", [x, weights], [1, 32], name="dense")
    model, _ = made(engine, "dynamic", through_file(builder.model([y])))
    (op,) = model.graph.ops
    assert op.option("asymmetric_quantize_inputs") is True
    assert model.graph.operand(op, 1).dtype is DType.INT8  # type: ignore[union-attr]


@pytest.mark.parametrize("flavour", ["float16", "weight_only"])
def test_stored_weights_are_restored_by_an_operator(engine: Engine, flavour: str) -> None:
    model, _ = made(engine, flavour, load(DEMO))
    assert any(op.kind == "DEQUANTIZE" for op in model.graph.ops)
    assert all(model.graph.tensors[name].dtype is DType.FLOAT32 for name in model.graph.inputs)


def test_float16_file_is_the_float_model_again(engine: Engine) -> None:
    small, _ = made(engine, "float16", load(DEMO))
    restored = optimize(small)
    assert not any(op.kind == "DEQUANTIZE" for op in restored.graph.ops)
    assert [op.kind for op in restored.graph.ops] == [op.kind for op in optimize(load(DEMO)).graph.ops]


def test_convolution_without_bias_gets_zeros(engine: Engine, run: Run) -> None:
    builder = Builder()
    x = builder.input("x", [1, 6, 6, 3])
    weights = builder.constant("w", random([4, 3, 3, 3]))
    options = {"stride_w": 1, "stride_h": 1}
    bias = builder.constant("b", np.zeros(4, np.float32))
    y = builder.op("CONV_2D", [x, weights, bias], [1, 6, 6, 4], options, name="conv")
    model = through_file(builder.model([y]))
    (op,) = model.graph.ops
    from dataclasses import replace

    bare = model.with_graph(model.graph.edit(replace_ops={op.name: [replace(op, inputs=op.inputs[:2])]}))
    samples = [random([1, 6, 6, 3], seed) for seed in range(8)]
    decided = plan(bare, load_recipe("int8"), calibrate(model, samples, engine=engine))
    result = quantize(bare, decided)
    assert len(result.graph.ops[0].inputs) == 3
    assert run(result, [np.zeros([1, 6, 6, 3], np.int8)], "builtin")


@pytest.mark.parametrize(("flavour", "least"), [("int8_float_io", 25), ("int16x8", 40), ("weight_only", 35)])
@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
def test_demo_network_is_near_float(engine: Engine, run: Run, flavour: str, least: float, kernels: str) -> None:
    from tersor.data.arrays import load as load_arrays
    from tersor.data.preprocess import Preprocess

    data = list(load_arrays(str(DEMO.with_name("fashion_mnist_calibration.npz")), (), Preprocess(rescale=1 / 255)))
    model = load(DEMO)
    decided = plan(model, load_recipe(flavour), calibrate(model, data[:100], engine=engine))
    result = quantize(model, decided)
    inputs = [np.asarray(sample.inputs)[np.newaxis] for sample in data[100:120]]
    wanted = np.concatenate([run(model, [x])[0] for x in inputs])
    found = np.concatenate([run(result, [x], kernels)[0] for x in inputs])
    assert sqnr_db(wanted, found) > least - (15 if flavour == "int8_float_io" else 5)


def test_dead_result_is_refused(engine: Engine, tmp_path: Path) -> None:
    model = classifier()
    samples = [image * place for place, image in enumerate(images(8), 1)]
    calibrated = calibrate(model, samples, engine=engine)
    result = quantize(model, plan(model, load_recipe("int8_float_io"), calibrated))
    bias = next(t for t in result.graph.tensors.values() if t.name.startswith("dense/bias"))
    assert bias.data is not None
    dead = bias.with_data(np.array([2**30, 0, 0, 0, 0], np.int32))
    tflite.write(result.with_graph(result.graph.edit(tensors=[dead])), tmp_path / "dead.tflite")
    with pytest.raises(VerificationError, match="dead after quantization"):
        verify(tmp_path / "dead.tflite", model, samples, engine=engine)


def test_calibration_sees_the_true_extremes(engine: Engine, run: Run) -> None:
    model = load(DEMO)
    samples = [random([1, 28, 28, 1], seed, 0, 1) for seed in range(5)]
    seen = calibrate(model, samples, engine=engine)
    assert set(seen.observers) == set(observable(model.graph))
    outputs = [run(model, [sample])[0] for sample in samples]
    assert seen.range("Identity") == (min(o.min() for o in outputs), max(o.max() for o in outputs))
    inputs = np.concatenate(samples)
    assert seen.range("image") == (inputs.min(), inputs.max())


def test_exposed_extremes_leave_the_outputs_as_they_are(run: Run) -> None:
    model = classifier()
    graph, places = expose_extremes.apply(model.graph, observable(model.graph))
    sample = random([1, 6, 6, 3])
    outputs = run(model.with_graph(graph), [sample])
    assert np.array_equal(outputs[0], run(model, [sample])[0])
    low, high = places["scores"]
    assert (outputs[low], outputs[high]) == (outputs[0].min(), outputs[0].max())
    low, high = places["x"]
    assert (outputs[low], outputs[high]) == (sample.min(), sample.max())


def test_means_of_layers_are_those_before_their_activation_function(run: Run) -> None:
    builder = Builder()
    x = builder.input("x", [1, 5, 5, 2])
    weights, bias = builder.constant("w", random([3, 1, 1, 2], 1)), builder.constant("b", random([3], 2))
    options = {"padding": 0, "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
    y = builder.op("CONV_2D", [x, weights, bias], [1, 5, 5, 3], options | {"fused_activation_function": 1}, name="y")
    model = through_file(builder.model([y]))
    graph, places = expose_means.apply(model.graph)
    sample = random([1, 5, 5, 2], 3)
    outputs = run(model.with_graph(graph), [sample])
    assert np.array_equal(outputs[0], run(model, [sample])[0])
    free = sample.reshape(-1, 2) @ random([3, 1, 1, 2], 1).reshape(3, 2).T + random([3], 2)
    assert free.min() < 0
    assert np.allclose(outputs[places["y"]], free.mean(0), atol=1e-6)


def test_means_that_cannot_be_shown_say_why() -> None:
    graph = classifier().graph
    reasons = [expose_means.refusal(graph, op) for op in graph.ops]
    assert set(reasons) == {None, "it is no layer with weights"}
    conv = next(op for op in graph.ops if op.kind == "CONV_2D")
    assert conv.options is not None
    bent = replace(conv, options=conv.options.with_fields(fused_activation_function=4))
    changed = graph.edit(replace_ops={conv.name: [bent]})
    assert "no operator for its activation" in (expose_means.refusal(changed, bent) or "")
    assert conv.name not in expose_means.apply(changed)[1]


def test_model_without_small_weights_is_left_alone() -> None:
    graph = classifier().graph
    assert restore_float_weights.apply(graph) is graph
