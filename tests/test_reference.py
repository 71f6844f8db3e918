"""The integer reference against the kernels themselves: random operators, whole networks; and its page."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from integer_nets import BUILDS, PADDED_BLOCKS, IntegerNet
from recurrent_nets import VARIANTS, lstm_model, svdf_model
from small_nets import DEMO, DEMO_DATA, classifier, images, shared_file, unknown_operator
from tersor.errors import RecipeError, RuntimeFailure, UnsupportedError
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.numerics.affine import quantize as to_integers
from tersor.ops import OPS
from tersor.recipe import load_recipe
from tersor.runtimes import tflite_micro
from tersor.runtimes.engine import Engine
from tersor.runtimes.reference import KERNELS, TABLE, Reference, coverage
from tersor.stages.calibrate import calibrate
from tersor.stages.load import load
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize as quantized

PAGE = Path(__file__).parents[1] / "docs/reference/kernels.md"
DRAWS = 10
"""Models of each operator."""

MOVES = 3
"""Models of each operator that only moves integers."""

FIXED_PORTS = ("QUANTIZE", "DEQUANTIZE")
"""Operators of the reference that have no row in the operator table, and are there in 8 and in 16 bits."""

RECURRENT = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF")
"""Operators whose models are made by quantizing a float one (`recurrent_nets`)."""

ROWS = [(kind, flavour) for kind in OPS for flavour in coverage.flavours(kind)]
CASES = [row for row in ROWS if row[0] not in RECURRENT]
CASES += [(kind, flavour) for kind in FIXED_PORTS for flavour in (coverage.INT8, coverage.INT16X8)]

NETWORKS = {
    "resnet8": ("cifar10_resnet8/pretrainedResnet.tflite", "cifar10_resnet8/ic01_200.npz", 1.0, 0.0),
    "mobilenet": ("imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5", "", 2.0, -1.0),
}
"""By name: model, samples, and what they are scaled by."""

TYPES = {
    coverage.INT8: (DType.INT8, DType.INT8),
    coverage.INT16X8: (DType.INT16, DType.INT8),
    coverage.INT8_W4: (DType.INT8, DType.INT4),
}
"""By flavour, the types of activations and weights."""


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
@pytest.mark.parametrize(("kind", "flavour"), CASES)
def test_a_random_operator_is_what_the_table_says(
    kind: str, flavour: str, kernels: str, engine: Engine, tmp_path: Path
) -> None:
    """Exact in all draws; or no kernel and no answer of the reference; or an answer that cannot be told."""
    skip_without(kernels)
    why = coverage.missing(kind, flavour, kernels) if kind in OPS else None
    moves = TABLE[kind].__module__.endswith(("movers", "placing"))
    path, ran, refused = tmp_path / "model.tflite", 0, 0
    for draw in range(1 if why else MOVES if moves else DRAWS):
        for number, build in enumerate(BUILDS[kind]):
            net = IntegerNet(zlib.crc32(f"{kind} {flavour} {draw} {number}".encode()), *TYPES[flavour])
            path.write_bytes(net.file(build(net)))
            model = tflite.read(path)
            ports = [model.graph.tensor(name) for name in model.graph.inputs]
            samples = [[net.feed(port.shape, port.dtype) for port in ports] for _ in range(2)]
            try:
                wanted = real(engine, path, kernels, samples)
            except RuntimeFailure:  # no kernel, or a scale that it refuses
                refused += 1
                continue
            if why:
                continue
            ran += 1
            reference = Reference(model, kernels)
            for sample, theirs in zip(samples, wanted, strict=True):
                mine = reference.run(sample)
                if kind in OPS and coverage.said(kind, flavour, kernels).startswith("within 1 step"):
                    assert_near(mine, theirs)
                else:
                    assert same(mine, theirs), f"draw {draw}: {_worst(mine, theirs)}"
    if why:
        assert bool(refused) == (why == coverage.NO_KERNEL)
        with pytest.raises(UnsupportedError, match=f"TensorFlow Lite Micro.*{kind}"):
            Reference(model, kernels)
    else:
        in_part = kind in OPS and kernels == "micro" and coverage.said(kind, flavour, kernels) != "exact"
        assert ran > (1 if in_part else refused)


UNSIGNED = "ADD SUB MUL DIV GELU LEAKY_RELU PRELU HARD_SWISH EQUAL MEAN SUM AVERAGE_POOL_2D PAD L2_NORMALIZATION"
"""Operators that are run with unsigned integers, as old files have them."""


@pytest.mark.parametrize("kernels", ["builtin", "xnnpack"])
@pytest.mark.parametrize("kind", UNSIGNED.split())
def test_a_random_operator_of_unsigned_integers_is_bit_exact(
    kind: str, kernels: str, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    for draw in range(MOVES):
        net = IntegerNet(draw, DType.UINT8)
        path.write_bytes(net.file(BUILDS[kind][0](net)))
        model = tflite.read(path)
        ports = [model.graph.tensor(name) for name in model.graph.inputs]
        sample = [net.feed(port.shape, port.dtype) for port in ports]
        (wanted,) = real(engine, path, kernels, [sample])
        assert same(Reference(model, kernels).run(sample), wanted)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_recurrent_layer_is_bit_exact(name: str, kernels: str, engine: Engine, tmp_path: Path) -> None:
    skip_without(kernels)
    assert_recurrent(lstm_model(VARIANTS[name]), VARIANTS[name].offset, kernels, engine, tmp_path)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_with_a_memory_is_bit_exact(
    bias: bool, rank: int, kernels: str, engine: Engine, tmp_path: Path
) -> None:
    skip_without(kernels)
    assert_recurrent(svdf_model(bias=bias, rank=rank), 0.0, kernels, engine, tmp_path)


def assert_recurrent(model: Model, offset: float, kernels: str, engine: Engine, tmp_path: Path) -> None:
    """Exact on samples, or refused by kernel and reference."""
    random = np.random.default_rng(0)
    shape = model.graph.tensor(model.graph.inputs[0]).shape
    samples = [random.normal(size=shape).astype(np.float32) + np.float32(offset) for _ in range(20)]
    ready = quantized(model, plan(model, load_recipe("int8"), calibrate(model, samples)))
    path = tmp_path / "model.tflite"
    tflite.write(ready, path)
    entry = ready.graph.tensor(ready.graph.inputs[0]).quant
    assert entry is not None
    fed = [to_integers(sample, entry) for sample in samples]
    try:
        assert_exact(path, fed, kernels, engine)
    except RuntimeFailure:
        assert kernels == "micro"
        with pytest.raises(UnsupportedError, match="TensorFlow Lite Micro"):
            Reference(tflite.read(path), kernels).run([fed[0]])
    except UnsupportedError as error:
        pytest.fail(f"the kernels answer, and the reference refuses: {error}")


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
@pytest.mark.parametrize("power", [11, 12])
def test_scales_that_are_powers_of_two_have_kernels_of_their_own(
    power: int, kind: str, kernels: str, engine: Engine, tmp_path: Path
) -> None:
    skip_without(kernels)
    net = IntegerNet(0, DType.INT16)
    x = net.input([1, 4096], (2.0**-power, 0))
    path = tmp_path / "model.tflite"
    path.write_bytes(net.file(net.op(kind, [x], [1, 4096], (1 / 32768, 0))))
    assert_exact(path, [net.feed([1, 4096], DType.INT16) for _ in range(16)], kernels, engine)


def assert_near(mine: Sequence[Array], theirs: Sequence[Array]) -> None:
    """One step apart at most; a point of a table that is, takes about 1 in 500 values along."""
    for one, two in zip(mine, theirs, strict=True):
        apart = np.abs(one.astype(np.int64) - two.astype(np.int64))
        assert apart.max() <= 1
        assert np.mean(apart) < 0.05


def test_gelu_of_16_bits_is_nearly_what_the_kernel_answers(engine: Engine, tmp_path: Path) -> None:
    """Every value of 16 bits, for several scales: the share that the page states."""
    path, apart = tmp_path / "model.tflite", 0.0
    values = np.arange(-(1 << 15), 1 << 15).astype(np.int16)[None]
    for seed in range(16):
        net = IntegerNet(seed, DType.INT16)
        reach = net.factor(0.5, 12) / 32767
        x = net.input([1, 1 << 16], (reach, 0))
        scaled = reach * net.factor(0.3, 1.2), 0
        path.write_bytes(net.file(net.op("GELU", [x], [1, 1 << 16], scaled, {"approximate": bool(seed % 2)})))
        ((wanted,),) = real(engine, path, "builtin", [[values]])
        (mine,) = Reference(tflite.read(path)).run([values])
        assert_near([mine], [wanted])
        apart += float(np.mean(mine != wanted)) / 16
    assert apart < 5e-4


def _worst(mine: Sequence[Array], theirs: Sequence[Array]) -> str:
    apart = [np.abs(a.astype(np.float64) - b.astype(np.float64)) for a, b in zip(mine, theirs, strict=True)]
    return (
        f"{sum(int(np.sum(item > 0)) for item in apart)} values differ, by at most {max(item.max() for item in apart)}"
    )


def integer_network(model: Model, samples: Sequence[Array], flavour: str = "int8") -> Model:
    """In a flavour, rounded to nearest, integers at the door."""
    interface = DType.INT16 if flavour == "int16x8" else DType.INT8
    ready, recipe = optimize(model), replace(load_recipe(flavour), interface=interface)
    graph = (found := quantized(ready, plan(ready, recipe, calibrate(ready, samples)))).graph
    ends = [op for op in graph.ops if op.kind == "DEQUANTIZE"]
    if not ends:
        return found
    # a softmax of many classes stays in float beside 16 bits: what is before it is computed
    after = [op.name for op in graph.ops[graph.ops.index(ends[0]) :]]
    found = replace(found, signatures=())
    return found.with_graph(graph.edit(outputs=ends[0].present_inputs[:1], replace_ops={name: [] for name in after}))


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


FLAVOURS = ["int8", "int16x8", "int8_w4"]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("flavour", ["int8", "int8_w4"])  # of 16 bits, its hard swish stays in float
def test_the_demo_network_is_bit_exact(flavour: str, kernels: str, engine: Engine, tmp_path: Path) -> None:
    skip_without(kernels)
    if kernels == "micro" and flavour == "int8_w4":
        pytest.skip("TensorFlow Lite Micro takes no dense layer with 4-bit weights and a scale per channel")
    data = (np.load(DEMO_DATA)["x"] / 255).astype(np.float32).reshape(-1, 1, 28, 28, 1)
    path = tmp_path / "demo.tflite"
    tflite.write(integer_network(tflite.read(DEMO), list(data[:50]), flavour), path)
    assert_exact(path, as_integers(path, data[100:200]), kernels, engine)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_real_network_is_bit_exact(name: str, flavour: str, kernels: str, engine: Engine, tmp_path: Path) -> None:
    skip_without(kernels)
    model, data, scale, bias = NETWORKS[name]
    path, written = shared_file(model), tmp_path / "model.tflite"
    if data:
        samples = np.load(shared_file(data))["x"].astype(np.float32)
    else:  # 100 inputs that share no value: smooth where photos are, noisy where they are not
        coarse = np.random.default_rng(1).uniform(size=(100, 14, 14, 3))
        samples = coarse.repeat(16, 1).repeat(16, 2).astype(np.float32)
    samples = samples[:, None] * np.float32(scale) + np.float32(bias)
    tflite.write(integer_network(load(path), list(samples[-20:]), flavour), written)
    count = 100 if flavour == "int8" else 30 if samples[0].size < 10_000 else 5
    assert_exact(written, as_integers(written, samples[:count]), kernels, engine)


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


@pytest.mark.parametrize("kind", ["HARD_SWISH", "ELU"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_sixteen_bits_are_refused_where_they_are_not_there(kind: str, kernels: str) -> None:
    net = IntegerNet(0, DType.INT16)
    x = net.input([1, 8])
    model = tflite.read_bytes(net.file(net.op(kind, [x], [1, 8], (1 / 32768, 0))))
    with pytest.raises(UnsupportedError, match=f"does not compute {kind}"):
        Reference(model, kernels).run([np.zeros((1, 8), np.int16)])


@pytest.mark.parametrize(("kind", "value"), [("SQRT", -3), ("RSQRT", -3), ("DIV", 0)])
def test_what_the_kernels_fail_on_is_an_error(kind: str, value: int) -> None:
    net = IntegerNet(0, DType.INT8)
    operands = [net.input([1, 2], (0.1, 0)) for _ in range(2 if kind == "DIV" else 1)]
    model = tflite.read_bytes(net.file(net.op(kind, operands, [1, 2], (0.1, 0))))
    with pytest.raises(RuntimeFailure, match=kind):
        Reference(model).run([np.full((1, 2), value, np.int8)] * len(operands))


def test_micro_refuses_what_ends_its_process() -> None:
    """TensorFlow Lite Micro checks a shift and aborts where exponentials sum to 512 or more."""
    net = IntegerNet(0, DType.INT8)
    x = net.input([1, 1000], (0.001, 0))
    model = tflite.read_bytes(net.file(net.op("SOFTMAX", [x], [1, 1000], (1 / 256, -128), {"beta": 1.0})))
    with pytest.raises(RuntimeFailure, match=r"aborts in SOFTMAX .*: exponentials sum to 512 or more"):
        Reference(model, "micro").run([np.zeros((1, 1000), np.int8)])


def test_every_row_of_the_operator_table_is_there_or_has_its_reason() -> None:
    assert set(OPS) | set(FIXED_PORTS) == set(TABLE)
    assert set(TABLE) == set(BUILDS) | set(RECURRENT)
    for kind, flavour in ROWS:
        for kernels in KERNELS:
            why = coverage.said(kind, flavour, kernels)
            assert why in ("exact", coverage.NO_KERNEL) or kernels == "micro" or why.startswith("within 1 step")


def test_the_page_says_of_every_row_what_is_tested() -> None:
    generated = PAGE.read_text().split("<!-- generated: kernels -->")[1].split("<!-- /generated -->")[0]
    rows = [line for line in generated.splitlines() if re.match(r"\| `[A-Z]", line)]
    assert [row.split("`")[1] for row in rows] == list(OPS)
