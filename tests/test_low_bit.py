"""Weights of few bits: what rounds them, in anybody's layers and in the network of a file, and what the file holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="training needs Keras 3")

from keras import ops  # noqa: E402

import tersor  # noqa: E402
from tersor.errors import PlanError  # noqa: E402
from tersor.formats import tflite  # noqa: E402
from tersor.ir.dtypes import DType  # noqa: E402
from tersor.ir.graph import Array, Model  # noqa: E402
from tersor.numerics.packing import values_of  # noqa: E402
from tersor.runtimes.engine import Engine  # noqa: E402
from tersor.training import low_bit, qat  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own backends warn of themselves

SAMPLES = 96

WEIGHTS: dict[str, Any] = {
    "binary": low_bit.Binary,
    "ternary": low_bit.Ternary,
    "trained_ternary": low_bit.TrainedTernary,
    "dorefa_2": lambda **given: low_bit.DoReFa(2, **given),
    "dorefa_4": lambda **given: low_bit.DoReFa(4, **given),
    "learned_2": lambda **given: low_bit.LearnedScale(2, **given),
    "learned_4": lambda **given: low_bit.LearnedScale(4, **given),
    "uniform_3": lambda **given: low_bit.Uniform(3, **given),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as found:
        yield found


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    """Pictures, and whether their upper half is the lighter one, and by how much."""
    random = np.random.default_rng(0)
    light = random.uniform(60, 200, (SAMPLES, 2, 1, 1, 1))
    halves = np.repeat(light, 4, axis=2).reshape(SAMPLES, 8, 1, 1)
    pictures = np.clip(halves + random.normal(0, 20, (SAMPLES, 8, 8, 3)), 0, 255).astype(np.float32) / 128 - 1
    return pictures, np.digitize((light[:, 0] - light[:, 1]).reshape(-1), [-40, 40])


@pytest.fixture(scope="module")
def model(data: tuple[Array, Array]) -> Any:
    """Convolutions with normalizations, one of them depthwise, and two dense layers; trained for a moment."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    given = keras.Input((8, 8, 3))
    x = layers.ReLU(6)(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="first")(given)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", name="depth")(x)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False, name="point")(x)))
    x = layers.Flatten()(layers.MaxPooling2D(4)(x))
    x = layers.Dense(24, activation="relu", name="dense")(x)
    return fitted(keras.Model(given, layers.Dense(3, activation="softmax", name="answer")(x)), data)


def fitted(network: Any, data: tuple[Array, Array], epochs: int = 1) -> Any:
    network.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    network.fit(*data, batch_size=16, epochs=epochs, verbose=0)
    return network


def listed(data: tuple[Array, Array]) -> list[Array]:
    return [picture[None] for picture in data[0]]


def answers(model: Model, samples: list[Any], folder: Path, engine: Engine) -> Array:
    path = folder / "model.tflite"
    tersor.save(model, path)
    return np.concatenate(
        [next(iter(row.values())) for row in tersor.run(path, samples, kernels="builtin", engine=engine)]
    )


def weights_of(model: Model, layer: str) -> tuple[DType, Array]:
    tensor = next(item for name, item in model.graph.tensors.items() if name.startswith(f"{layer}/kernel"))
    return tensor.dtype, values_of(tensor)


def operator(network: Any, layer: str) -> Any:
    return next(item for item in network.operators() if f"{layer}/kernel" in item.op.inputs)


@pytest.mark.parametrize("axis", [-1, None])
@pytest.mark.parametrize("name", WEIGHTS)
def test_what_computes_is_integers_times_a_scale_and_what_is_trained_is_not(name: str, axis: int | None) -> None:
    weights = np.random.default_rng(0).normal(0, 0.1, (3, 3, 4, 5)).astype(np.float32)
    quantizer = WEIGHTS[name](axis=axis)
    quantizer.attach(weights.shape, lambda: weights)
    found = ops.convert_to_numpy(quantizer(ops.convert_to_tensor(weights)))
    codes, scale = (ops.convert_to_numpy(item) for item in quantizer.codes(ops.convert_to_tensor(weights)))
    np.testing.assert_array_equal(codes, np.rint(codes))
    assert np.abs(codes).max() <= quantizer.levels
    assert scale.shape == ((1, 1, 1, 5) if axis == -1 else (1, 1, 1, 1))
    np.testing.assert_allclose(found, codes * scale, atol=1e-6)
    assert np.corrcoef(found.reshape(-1), weights.reshape(-1))[0, 1] > 0.75
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(quantizer))
    assert again.get_config() == quantizer.get_config()


def test_scales_are_those_of_the_papers() -> None:
    weights = ops.convert_to_tensor(np.array([[0.1, -0.4], [0.6, 0.1], [-0.5, -0.1], [0.0, 0.2]], np.float32))
    binary = ops.convert_to_numpy(low_bit.Binary()(weights))
    np.testing.assert_allclose(binary, np.array([[0.3, -0.2], [0.3, 0.2], [-0.3, -0.2], [0.3, 0.2]]), rtol=1e-6)
    ternary = ops.convert_to_numpy(low_bit.Ternary()(weights))
    np.testing.assert_allclose(ternary, np.array([[0, -0.3], [0.55, 0], [-0.55, 0], [0, 0.3]]), rtol=1e-6)


def test_two_trained_values_are_sevenths_of_the_larger() -> None:
    weights = np.array([[0.8], [0.6], [-0.2], [-0.24], [0.01]], np.float32)
    quantizer = low_bit.TrainedTernary()
    quantizer.attach(weights.shape, lambda: weights)
    codes, scale = (ops.convert_to_numpy(item) for item in quantizer.codes(ops.convert_to_tensor(weights)))
    np.testing.assert_array_equal(codes[:, 0], [7, 7, -2, -2, 0])
    np.testing.assert_allclose(scale, 0.1, rtol=1e-6)


@pytest.mark.parametrize("make", [lambda: low_bit.Uniform(1), lambda: low_bit.DoReFa(8), lambda: low_bit.Pact(0)])
def test_bits_that_are_none_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="bits: a whole number from"):
        make()


@pytest.mark.parametrize("layer", [low_bit.Pact(2, 3.0), low_bit.LearnedStep(2, 3.0), low_bit.DoReFaActivation(2)])
def test_activations_are_whole_steps_from_0_on(layer: Any) -> None:
    values = np.linspace(-2, 5, 50).astype(np.float32)
    found = ops.convert_to_numpy(layer(ops.convert_to_tensor(values)))
    top = 1.0 if isinstance(layer, low_bit.DoReFaActivation) else 3.0
    np.testing.assert_allclose(np.unique(found), np.array([0, 1, 2, 3]) * top / 3, rtol=1e-6)


def test_a_wrapped_layer_trains_its_own_weights_and_computes_with_rounded_ones(
    data: tuple[Array, Array], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    own = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            low_bit.Quantized(layers.Conv2D(4, 3, name="conv"), low_bit.TrainedTernary()),
            low_bit.Pact(4, name="few"),
            low_bit.Quantized(layers.DepthwiseConv2D(3, name="depth"), low_bit.LearnedScale(3)),
            layers.Flatten(),
            low_bit.Quantized(layers.Dense(3, activation="softmax", name="answer"), low_bit.Binary()),
        ]
    )
    before = [ops.convert_to_numpy(item) for item in own.trainable_variables]
    fitted(own, data)
    for variable, value in zip(own.trainable_variables, before, strict=True):
        assert np.abs(ops.convert_to_numpy(variable) - value).max() > 0, variable.path
    conv, depth, answer = (own.get_layer(name) for name in ("conv", "depth", "answer"))
    assert len(np.unique(ops.convert_to_numpy(conv.layer.kernel))) > 20
    assert all(len(np.unique(column)) <= 3 for column in conv.rounded()["kernel"].reshape(-1, 4).T)
    assert all(len(np.unique(column)) <= 7 for column in depth.rounded()["kernel"].reshape(-1, 4).T)
    assert all(len(np.unique(column)) == 2 for column in answer.rounded()["kernel"].T)
    own.save(tmp_path / "own.keras")
    again = keras.saving.load_model(tmp_path / "own.keras")
    np.testing.assert_array_equal(again.predict_on_batch(data[0]), own.predict_on_batch(data[0]))
    plain = low_bit.baked(own)
    np.testing.assert_allclose(plain.predict_on_batch(data[0]), own.predict_on_batch(data[0]), atol=1e-5)
    assert not any(isinstance(layer, low_bit.Quantized) for layer in plain.layers)


def test_a_layer_without_such_a_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="has no weights 'kernel': give the names"):
        low_bit.Quantized(keras.layers.BatchNormalization(), low_bit.Ternary()).build((None, 4))


STORED = {
    "binary": (DType.INT4, DType.INT2),
    "ternary": (DType.INT4, DType.INT2),
    "trained_ternary": (DType.INT4, DType.INT4),
    "dorefa_2": (DType.INT4, DType.INT4),
    "dorefa_4": (DType.INT8, DType.INT8),
    "learned_4": (DType.INT4, DType.INT4),
}


@pytest.mark.parametrize("name", STORED)
def test_the_file_holds_the_very_codes_in_the_smallest_type_and_answers_alike(
    name: str, model: Any, data: tuple[Array, Array], tmp_path: Path, engine: Engine
) -> None:
    network = fitted(low_bit.prepare(model, WEIGHTS[name](), data=listed(data), freeze_after=30), data, epochs=8)
    made = tersor.quantize(network)
    convolution, dense = STORED[name]
    for layer, wanted in (("first", DType.INT8), ("depth", convolution), ("point", convolution), ("dense", dense)):
        dtype, codes = weights_of(made, layer)
        assert dtype is wanted, layer
        if layer == "first":
            continue
        held = operator(network, layer)
        own = ops.convert_to_numpy(held.weight_quantizer.codes(ops.convert_to_tensor(held.kernel))[0])
        np.testing.assert_array_equal(np.sort(np.abs(codes), axis=None), np.sort(np.abs(own), axis=None))
    found, expected = answers(made, listed(data), tmp_path, engine), network.predict_on_batch(data[0])
    assert np.abs(found - expected).mean() <= 1 / 256
    first, second = np.sort(expected, axis=1)[:, -1], np.sort(expected, axis=1)[:, -2]
    is_sure = first - second > 4 / 256  # a few steps of the file's result; closer ones may turn round
    assert is_sure.mean() > 0.25
    assert (found.argmax(1) == expected.argmax(1))[is_sure].all()


def test_a_negative_factor_of_a_normalization_turns_the_codes(
    model: Any, data: tuple[Array, Array], tmp_path: Path, engine: Engine
) -> None:
    network = low_bit.prepare(model, low_bit.Ternary(), data=listed(data))
    layer = operator(network, "point")
    assert layer.normalizes
    layer.gamma.assign(ops.convert_to_tensor(np.where(np.arange(16) % 2, -1.0, 1.0) * np.array(layer.gamma)))
    _, codes = weights_of(tersor.quantize(network), "point")
    own = ops.convert_to_numpy(layer.weight_quantizer.codes(ops.convert_to_tensor(layer.kernel))[0])
    signs = np.where(np.arange(16) % 2, -1, 1)
    np.testing.assert_array_equal(codes.reshape(16, 8), (own.reshape(8, 16) * signs).T)
    found = answers(tersor.quantize(network), listed(data), tmp_path, engine)
    assert np.abs(found - network.predict_on_batch(data[0])).mean() <= 1 / 256


def test_int8_on_request_with_the_same_answers(
    model: Any, data: tuple[Array, Array], tmp_path: Path, engine: Engine
) -> None:
    smallest, wide = (
        tersor.quantize(low_bit.prepare(model, low_bit.Ternary(), data=listed(data), smallest=own))
        for own in (True, False)
    )
    dtype, codes = weights_of(wide, "dense")
    assert dtype is DType.INT8
    np.testing.assert_array_equal(codes, weights_of(smallest, "dense")[1])
    one, other = (answers(made, listed(data), tmp_path, engine) for made in (smallest, wide))
    np.testing.assert_allclose(one, other, atol=2 / 256)
    assert len(tflite.write_bytes(smallest)) < len(tflite.write_bytes(wide))


@pytest.mark.parametrize("how", [low_bit.Pact(4), low_bit.LearnedStep(4), 3])
def test_activations_of_few_bits_are_so_in_the_file(
    how: Any, model: Any, data: tuple[Array, Array], tmp_path: Path, engine: Engine
) -> None:
    network = fitted(low_bit.prepare(model, None, how, data=listed(data), freeze_after=6), data, epochs=2)
    made = tersor.quantize(network)
    bits = how if isinstance(how, int) else how.bits
    few = [own for own in network.rounding.values.values() if own.bits == bits]
    assert len(few) >= 4
    quant = next(made.graph.tensors[op.outputs[0]].quant for op in made.graph.ops if op.kind == "DEPTHWISE_CONV_2D")
    assert quant is not None
    assert quant.zero_point == 127 - (2**bits - 1)
    found, expected = answers(made, listed(data), tmp_path, engine), network.predict_on_batch(data[0])
    assert np.abs(found - expected).mean() <= 1.5 / 256


def test_single_layers_are_chosen_by_name(model: Any, data: tuple[Array, Array]) -> None:
    network = low_bit.prepare(model, low_bit.Ternary(), layers={"first": low_bit.LearnedScale(3), "depth": None})
    kinds = {
        name: type(operator(network, name).weight_quantizer).__name__
        for name in ("first", "depth", "point", "dense", "answer")
    }
    learned, ternary, uniform = "LearnedScale", "Ternary", "Uniform"
    assert kinds == {"first": learned, "depth": uniform, "point": ternary, "dense": ternary, "answer": uniform}
    with pytest.raises(PlanError, match="no layer with weights is called 'nonsense': there are first, depth, point"):
        low_bit.prepare(model, layers={"nonsense": None})


def test_nothing_to_do_is_refused(model: Any) -> None:
    with pytest.raises(PlanError, match="nothing has fewer bits"):
        low_bit.prepare(model)
    with pytest.raises(PlanError, match="begin with those of samples"):
        low_bit.prepare(model, low_bit.Ternary(), low_bit.Pact(4))


def test_a_saved_network_is_the_same_and_goes_on(model: Any, data: tuple[Array, Array], tmp_path: Path) -> None:
    network = low_bit.prepare(model, low_bit.TrainedTernary(), low_bit.Pact(4), data=listed(data))
    fitted(network, data).save(tmp_path / "low.keras")
    again = keras.saving.load_model(tmp_path / "low.keras")
    np.testing.assert_array_equal(again.predict_on_batch(data[0]), network.predict_on_batch(data[0]))
    one, other = (tflite.write_bytes(tersor.quantize(item)) for item in (network, again))
    assert one == other
    again.fit(*data, batch_size=16, epochs=1, verbose=0)


def test_learned_scales_of_4_bits_are_those_of_the_file(model: Any, data: tuple[Array, Array]) -> None:
    recipe = tersor.load_recipe("int8_w4")
    network = fitted(qat.prepare(model, recipe, data=listed(data), learned=True), data)
    learned = [item for item in network.operators() if isinstance(item.weight_quantizer, low_bit.LearnedScale)]
    assert learned
    _, plan = network.planned()
    for layer in learned:
        own = plan.operands[layer.op.name, 1]
        assert own.dtype is DType.INT4
        assert own.why.endswith("as trained")
        assert own.params is not None
        np.testing.assert_allclose(own.params.scales, np.array(layer.weight_params().scales), rtol=1e-6)
