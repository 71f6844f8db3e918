"""The integer reference against the kernels themselves: random operators, whole networks; and its page."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from integer_nets import BUILDS, PADDED_BLOCKS, IntegerNet
from small_nets import DEMO, DEMO_DATA, classifier, images, shared_file, unknown_operator
from tersor.errors import RecipeError, RuntimeFailure, UnsupportedError
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.recipe import load_recipe
from tersor.runtimes import tflite_micro
from tersor.runtimes.engine import Engine
from tersor.runtimes.reference import KERNELS, TABLE, Reference
from tersor.stages.calibrate import calibrate
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize as quantized

PAGE = Path(__file__).parents[1] / "docs/reference/kernels.md"
DRAWS = 12
"""Models of each operator."""

WITHOUT_MICRO = {("RELU_N1_TO_1", 8), ("TILE", 8)}
"""Operators, and bits of activations, that TensorFlow Lite Micro has no kernel for."""

WIDE = [
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "TRANSPOSE_CONV",
    "ADD",
    "SUB",
    "MUL",
    "RELU",
    "RELU6",
    "LEAKY_RELU",
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "MEAN",
    "SUM",
    "QUANTIZE",
    "RESIZE_NEAREST_NEIGHBOR",
    "DEQUANTIZE",
]
"""Operators that are run with 16-bit activations, too."""

CASES = [(kind, DType.INT8) for kind in BUILDS] + [(kind, DType.INT16) for kind in WIDE]


def real(engine: Engine, path: Path, kernels: str, samples: Sequence[Sequence[Array]]) -> list[list[Array]]:
    handle = engine.open(str(path), kernels)
    found = list(handle.run_all(samples))
    handle.close()
    return found


def skip_without(kernels: str) -> None:
    if kernels == "micro" and not tflite_micro.is_installed():
        pytest.skip("tflite-micro is not installed")


def same(mine: Sequence[Array], theirs: Sequence[Array]) -> bool:
    pairs = zip(mine, theirs, strict=True)
    return all(a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kernels", KERNELS)
def test_padded_blocks_are_exact_but_for_micro_which_pads_with_anything(
    kernels: str, engine: Engine, tmp_path: Path
) -> None:
    net = IntegerNet(1, DType.INT8)
    path = tmp_path / "model.tflite"
    path.write_bytes(net.file(PADDED_BLOCKS(net)))
    model = tflite.read(path)
    sample = [net.feed(port.shape, port.dtype) for port in map(model.graph.tensor, model.graph.inputs)]
    reference = Reference(model, kernels)
    if kernels == "micro":
        with pytest.raises(UnsupportedError, match="what its memory happens to hold"):
            reference.run(sample)
        return
    (wanted,) = real(engine, path, kernels, [sample])
    assert same(reference.run(sample), wanted)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("kind", "dtype"), CASES, ids=lambda item: str(item))
def test_a_random_operator_is_bit_exact(kind: str, dtype: DType, kernels: str, engine: Engine, tmp_path: Path) -> None:
    skip_without(kernels)
    if kernels == "micro" and (kind, dtype.bits) in WITHOUT_MICRO:
        pytest.skip(f"TensorFlow Lite Micro has no {kind}")
    ran = 0
    for draw in range(DRAWS):
        for number, build in enumerate(BUILDS[kind]):
            net = IntegerNet(zlib.crc32(f"{kind} {dtype} {draw} {number}".encode()), dtype)
            path = tmp_path / "model.tflite"
            path.write_bytes(net.file(build(net)))
            graph = tflite.read(path).graph
            ports = [graph.tensor(name) for name in graph.inputs]
            samples = [[net.feed(port.shape, port.dtype) for port in ports] for _ in range(2)]
            try:
                wanted = real(engine, path, kernels, samples)
            except RuntimeFailure:  # a scale that the kernel refuses
                continue
            reference = Reference(tflite.read(path), kernels)
            for sample, theirs in zip(samples, wanted, strict=True):
                mine = reference.run(sample)
                assert same(mine, theirs), f"draw {draw}: {_worst(mine, theirs)}"
            ran += 1
    assert ran > DRAWS // 2


def _worst(mine: Sequence[Array], theirs: Sequence[Array]) -> str:
    apart = [np.abs(a.astype(np.float64) - b.astype(np.float64)) for a, b in zip(mine, theirs, strict=True)]
    return (
        f"{sum(int(np.sum(item > 0)) for item in apart)} values differ, by at most {max(item.max() for item in apart)}"
    )


def integer_network(model: Model, samples: Sequence[Array]) -> Model:
    """int8, rounded to nearest."""
    ready, recipe = optimize(model), load_recipe("int8")
    statistics = calibrate(ready, samples)
    return quantized(ready, plan(ready, recipe, statistics))


def assert_exact(path: Path, samples: Sequence[Array], kernels: str, engine: Engine) -> None:
    fed = [[item] for item in samples]
    reference = Reference(tflite.read(path), kernels)
    apart = [not same(reference.run(one), two) for one, two in zip(fed, real(engine, path, kernels, fed), strict=True)]
    assert not any(apart), f"{sum(apart)} of {len(apart)} inputs differ"


def as_integers(path: Path, samples: Array) -> list[Array]:
    """Real inputs as the file's input takes them."""
    graph = tflite.read(path).graph
    port = graph.tensor(graph.inputs[0])
    shaped = samples.astype(np.float32).reshape(-1, 1, *port.shape[1:])
    if port.quant is None:
        return list(shaped)
    steps = np.rint(shaped / np.float32(port.quant.scale)) + port.quant.zero_point
    return list(np.clip(steps, *port.dtype.integer_range).astype(port.dtype.numpy))


@pytest.mark.parametrize("kernels", KERNELS)
def test_the_demo_network_is_bit_exact(kernels: str, engine: Engine, tmp_path: Path) -> None:
    skip_without(kernels)
    data = (np.load(DEMO_DATA)["x"] / 255).astype(np.float32).reshape(-1, 1, 28, 28, 1)
    path = tmp_path / "demo.tflite"
    tflite.write(integer_network(tflite.read(DEMO), list(data[:50])), path)
    assert_exact(path, as_integers(path, data[100:]), kernels, engine)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("model", "data", "scale", "bias"),
    [
        ("cifar10_resnet8/pretrainedResnet.tflite", "cifar10_resnet8/ic01_200.npz", 1.0, 0.0),
        ("imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5", "", 2.0, -1.0),
    ],
    ids=["resnet8", "mobilenet"],
)
def test_a_real_network_is_bit_exact(
    model: str, data: str, scale: float, bias: float, kernels: str, engine: Engine, tmp_path: Path
) -> None:
    from tersor.stages.load import load

    skip_without(kernels)
    path = shared_file(model)
    if data:
        samples = np.load(shared_file(data))["x"].astype(np.float32)
    else:  # 100 inputs that share no value: smooth where photos are, noisy where they are not
        coarse = np.random.default_rng(1).uniform(size=(100, 14, 14, 3))
        samples = coarse.repeat(16, 1).repeat(16, 2).astype(np.float32)
    samples = samples[:, None] * np.float32(scale) + np.float32(bias)
    written = tmp_path / "model.tflite"
    tflite.write(integer_network(load(path), list(samples[-20:])), written)
    assert_exact(written, as_integers(written, samples[:100]), kernels, engine)


@pytest.mark.parametrize("kernels", ["builtin", "xnnpack"])
def test_an_old_file_with_unsigned_integers_is_bit_exact(kernels: str, engine: Engine) -> None:
    path = shared_file("edge_tpu_pairs/mobilenet_v1_0.25_128_quant.tflite")
    with pytest.raises(UnsupportedError, match="TensorFlow Lite Micro has no CONV_2D for uint8"):
        Reference(tflite.read(path), "micro")
    samples = list(np.random.default_rng(0).integers(0, 256, (20, 1, 128, 128, 3)).astype(np.uint8))
    assert_exact(path, samples, kernels, engine)


def test_mlcommons_own_file_is_bit_exact(engine: Engine) -> None:
    path = shared_file("cifar10_resnet8/pretrainedResnet_quant.tflite")
    samples = as_integers(path, np.load(shared_file("cifar10_resnet8/ic01_200.npz"))["x"])
    for kernels in ("builtin", "xnnpack"):
        assert_exact(path, samples, kernels, engine)


def test_kernel_sets_differ_and_the_reference_shows_it(engine: Engine, tmp_path: Path) -> None:
    """Otherwise the tests above could not tell one kernel set from another."""
    net = IntegerNet(3, DType.INT8)
    path = tmp_path / "model.tflite"
    path.write_bytes(net.file(BUILDS["LEAKY_RELU"][0](net)))
    model = tflite.read(path)
    sample = [net.feed(model.graph.tensor(model.graph.inputs[0]).shape, DType.INT8)]
    assert not same(Reference(model, "builtin").run(sample), Reference(model, "xnnpack").run(sample))


def test_what_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="the integer reference has no COS"):
        Reference(unknown_operator())
    with pytest.raises(RecipeError, match="unknown kernels 'cmsis': there are builtin, micro, xnnpack"):
        Reference(classifier(), "cmsis")
    with pytest.raises(UnsupportedError, match=r"CONV_2D 'conv': .* is float32 without a scale"):
        Reference(classifier()).run([images(1)])


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH", "SOFTMAX", "HARD_SWISH", "ELU"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_sixteen_bits_are_refused_where_they_are_not_there(kind: str, kernels: str) -> None:
    net = IntegerNet(0, DType.INT16)
    x = net.input([1, 8])
    model = tflite.read_bytes(net.file(net.op(kind, [x], [1, 8], (1 / 32768, 0))))
    with pytest.raises(UnsupportedError, match=f"does not compute {kind}"):
        Reference(model, kernels).run([np.zeros((1, 8), np.int16)])


def test_micro_refuses_what_ends_its_process() -> None:
    """TensorFlow Lite Micro checks a shift and aborts where exponentials sum to 512 or more."""
    net = IntegerNet(0, DType.INT8)
    x = net.input([1, 1000], (0.001, 0))
    model = tflite.read_bytes(net.file(net.op("SOFTMAX", [x], [1, 1000], (1 / 256, -128), {"beta": 1.0})))
    with pytest.raises(RuntimeFailure, match=r"aborts in SOFTMAX .*: exponentials sum to 512 or more"):
        Reference(model, "micro").run([np.zeros((1, 1000), np.int8)])


def test_the_page_says_what_is_tested() -> None:
    rows = [line.split("|")[1:5] for line in PAGE.read_text().splitlines() if re.match(r"\| `[A-Z]", line)]
    found = {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in rows}
    wide = {kind for kind, dtype in CASES if dtype is DType.INT16}
    said = {}
    for kind in BUILDS:
        exact = "exact, int16 too" if kind in wide else "exact"
        said[kind] = [exact, "no kernel" if (kind, 8) in WITHOUT_MICRO else exact, exact]
    assert found == said


def test_what_is_in_the_table_is_tested() -> None:
    assert set(TABLE) == set(BUILDS)
