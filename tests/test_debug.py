"""Debugging names the fault that a network was made to have, whatever tool made the file, and no other."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import Cli, Run
from small_nets import classifier, images, random, shared_file, statistics, through_file, unknown_operator
from tersor.errors import DataError, UnsupportedError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model
from tersor.ir.plan import Plan
from tersor.numerics.affine import asymmetric_params
from tersor.numerics.metrics import sqnr_db
from tersor.passes import restore_float_network
from tersor.recipe import adjusted, load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.correct import correct
from tersor.stages.debug import Diagnosis, Row, debug
from tersor.stages.debug.causes import Case, shifted_means
from tersor.stages.debug.errors import ErrorSums, ValueSums
from tersor.stages.debug.match import counterparts
from tersor.stages.load import load
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from tersor.stages.statistics import Statistics

SHAPE = (1, 8, 8, 8)
STEPS = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}


class Net:
    """A float network with one layer of interest, called `it`."""

    def __init__(self, low: float = -1.0) -> None:
        self.builder = Builder()
        self.x = self.builder.input("x", SHAPE)
        self.samples = [random(SHAPE, seed, low, 1.0) for seed in range(20)]

    def conv(self, x: str, weights: Array, name: str = "it", **options: int) -> str:
        bias = self.builder.constant(f"{name}/b", np.zeros(weights.shape[0], np.float32))
        inputs = [x, self.builder.constant(f"{name}/w", weights), bias]
        return self.builder.op("CONV_2D", inputs, (*SHAPE[:3], weights.shape[0]), {**STEPS, **options}, name=name)

    def op(self, kind: str, *inputs: str, name: str = "it", **options: float) -> str:
        return self.builder.op(kind, inputs, self.builder.shape_of(inputs[0]), options, name=name)

    def made(self, y: str) -> Model:
        return through_file(self.builder.model([y]))


def by_plan(net: Net, y: str, engine: Engine, **changes: object) -> tuple[Model, Model, list[Array]]:
    """The float model, and what a recipe makes of it."""
    model = optimize(net.made(y))
    recipe = adjusted(load_recipe(str(changes.pop("recipe", "int8_float_io"))), **changes)  # type: ignore[arg-type]
    return model, quantize(model, plan(model, recipe, calibrate(model, net.samples, engine=engine))), net.samples


def shifted(engine: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net(low=0.5)  # all inputs positive: errors of 4-bit weights add up
    return by_plan(net, net.conv(net.x, random([8, 1, 1, 8], 3)), engine, recipe="int8_w4")


def coarse(engine: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net()  # inputs of mean 0: no shift
    net.samples = [
        net.samples[0],
        *(-item for item in net.samples[:1]),
        *net.samples[1:],
        *(-i for i in net.samples[1:]),
    ]
    model, made, _ = by_plan(net, net.conv(net.x, random([8, 1, 1, 8], 3)), engine, recipe="int8_w4")
    return model, made, net.samples


def spread(engine: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net()
    for sample in net.samples:
        sample[..., 5] *= 0.01
    weights = np.full((1, 1, 1, 8), 0.6, np.float32)
    weights[..., 5] = 60
    bias = net.builder.constant("b", np.zeros(8, np.float32))
    inputs = [net.x, net.builder.constant("w", weights), bias]
    y = net.builder.op("DEPTHWISE_CONV_2D", inputs, SHAPE, {**STEPS, "depth_multiplier": 1}, name="it")
    return by_plan(net, y, engine, per_tensor=True)


def dead(engine: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net(low=0.0)
    weights = random([8, 1, 1, 8], 3, 0.0, 1.0) * 0.1
    weights[2] = -50  # behind a ReLU it never wakes up
    return by_plan(net, net.conv(net.x, weights, fused_activation_function=1), engine, per_tensor=True)


def with_ranges(net: Net, y: str, **ranges: tuple[float, float]) -> tuple[Model, Model, list[Array]]:
    model = optimize(net.made(y))
    known: Statistics = statistics({"x": (-1.0, 1.0), **ranges})
    return model, quantize(model, plan(model, load_recipe("int8_float_io"), known)), net.samples


def clipped(_: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net()
    return with_ranges(net, net.conv(net.x, random([8, 1, 1, 8], 3)), it=(-0.5, 0.5))


def outliers(_: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net()
    return with_ranges(net, net.conv(net.x, random([8, 1, 1, 8], 3)), it=(-60.0, 60.0))


def batch_norm(engine: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net()
    factors = np.array([300, 1, 1, 1, 1, 1, 1, 1], np.float32)
    weights = random([8, 1, 1, 8], 3)
    weights[0] /= 300
    y = net.op("MUL", net.op("RELU", net.conv(net.x, weights, "conv"), name="relu"),
               net.builder.constant("factors", factors))  # fmt: skip
    return by_plan(net, net.op("TANH", y, name="end"), engine)


def overflow(engine: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net()
    model, made, samples = by_plan(net, net.conv(net.x, random([8, 1, 1, 8], 3)), engine)
    op = next(item for item in made.graph.ops if item.kind == "CONV_2D")
    bias = made.graph.operand(op, 2)
    assert bias is not None
    changed = bias.with_data(np.full(8, 2**31 - 5, np.int32))
    return model, made.with_graph(made.graph.edit(tensors=[changed])), samples


def product(_: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net()
    y = net.op("MUL", net.x, net.op("LOGISTIC", net.x, name="gate"))
    return with_ranges(net, y, gate=(0.0, 1.0), it=(-0.3, 50.0))


def probabilities(engine: Engine) -> tuple[Model, Model, list[Array]]:
    net = Net()
    y = net.conv(net.x, random([500, 1, 1, 8], 3, -0.3, 0.3), "conv")
    return by_plan(net, net.op("SOFTMAX", y, beta=1.0), engine)


def quotients(engine: Engine) -> tuple[Model, Model, list[Array]]:
    """As other tools do it: a division in integers, of which small numerators have large divisors."""
    net = Net()
    one = net.builder.constant("one", np.float32(1.05))
    y = net.builder.op("SUB", [one, net.op("ABS", net.x, name="size")], SHAPE, name="under")
    model = optimize(net.made(net.op("DIV", net.x, y)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tersor.stages.plan.beyond_kernels", lambda *_: {})
        made = quantize(model, plan(model, load_recipe("int8_float_io"), calibrate(model, net.samples, engine=engine)))
    assert "DIV" in [op.kind for op in made.graph.ops if made.graph.tensors[op.outputs[0]].dtype is DType.INT8]
    return model, made, net.samples


def unseen(_: Engine) -> tuple[Model, Model, list[Array]]:
    """As other tools do it: a range that covers what a hard swish takes for -3."""
    net = Net()
    y = net.conv(net.x, random([8, 1, 1, 8], 3))
    model, made, samples = with_ranges(net, net.op("HARD_SWISH", y, name="end"), end=(-0.4, 3.0), it=(-3.0, 3.0))
    params = {"it": asymmetric_params(-200, 3, DType.INT8)}
    wide = [replace(made.graph.tensors[name], quant=own) for name, own in params.items()]
    return model, made.with_graph(made.graph.edit(tensors=wide)), samples


def apart(engine: Engine, scale: float = 0.0) -> tuple[Model, Model, list[Array]]:
    """Two channels far from the others; `scale`: by how much they vary."""
    net = Net()
    weights = random([16, 1, 1, 8], 3)
    weights[:2] *= scale
    bias = np.zeros(16, np.float32)
    bias[:2] = -300
    inputs = [net.x, net.builder.constant("it/w", weights), net.builder.constant("it/b", bias)]
    y = net.builder.op("CONV_2D", inputs, (*SHAPE[:3], 16), STEPS, name="it")
    return by_plan(net, net.op("ABS", y, name="end"), engine)


MADE: dict[str, Callable[[Engine], tuple[Model, Model, list[Array]]]] = {
    "shifted_means": shifted,
    "coarse_weights": coarse,
    "spread_of_channels": spread,
    "dead_channels": dead,
    "clipped_values": clipped,
    "unseen_range": unseen,
    "range_of_channels": apart,
    "range_of_outliers": outliers,
    "unfolded_batch_norm": batch_norm,
    "overflowing_bias": overflow,
    "unbounded_product": product,
    "lost_quotients": quotients,
    "small_probabilities": probabilities,
}


def row_of(diagnosis: Diagnosis, name: str) -> Row:
    return next(row for row in diagnosis.rows if row.layer == name)


@pytest.mark.parametrize("cause", MADE)
def test_fault_is_found(cause: str, engine: Engine) -> None:
    model, made, samples = MADE[cause](engine)
    row = row_of(debug(model, made, samples, engine=engine), "it")
    assert cause in [item.cause for item in row.findings], row
    assert all(item.seen and item.cure for item in row.findings)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_whole_channels_are_not_to_be_clipped(scale: float, engine: Engine) -> None:
    row = row_of(debug(*apart(engine, scale), engine=engine), "it")
    (finding,) = [item for item in row.findings if "range" in item.cause]
    assert finding.cause == "range_of_channels"
    assert finding.seen.startswith("of 16 channels, numbers 0, 1 lie at -30")
    assert ("always the same" in finding.seen) is ("never change" in finding.cure) is (scale == 0)
    assert not finding.cure.startswith("an observer that clips")


def test_what_readers_do_not_see_is_no_error(engine: Engine) -> None:
    """Channels down to -300 before a hard swish: the integers end at -3, and nothing is said to be clipped."""
    net = Net()
    weights, bias = random([8, 1, 1, 8], 3), np.zeros(8, np.float32)
    bias[:2] = -300
    inputs = [net.x, net.builder.constant("it/w", weights), net.builder.constant("it/b", bias)]
    y = net.op("HARD_SWISH", net.builder.op("CONV_2D", inputs, SHAPE, STEPS, name="it"), name="end")
    model, made, samples = by_plan(net, y, engine)
    params = made.graph.tensors["it"].quant
    assert params is not None
    assert params.real_range[0] == pytest.approx(-3, abs=0.1)
    diagnosis = debug(model, made, samples, engine=engine)
    row = row_of(diagnosis, "it")
    assert row.total.clipped == 0
    assert row.total.max_abs < 3 * params.scale
    assert row.total.ac_sqnr_db > 30
    assert not [item for each in diagnosis.rows for item in each.findings if "clip" in item.cause + item.cure]
    assert row.activations is not None
    assert row.activations.smallest < -290
    assert row.activations.stored.endswith("; its readers see no difference below -3")


def test_a_scale_that_the_kernel_fixes_clips_nothing(engine: Engine) -> None:
    """Probabilities of 1 are stored as 255/256, which is nobody's fault."""
    net = Net()
    model, made, samples = by_plan(
        net, net.op("SOFTMAX", net.conv(net.x, 40 * random([8, 1, 1, 8], 3), "conv"), beta=1.0), engine
    )
    row = row_of(debug(model, made, samples, engine=engine), "it")
    assert row.total.clipped > 0.01
    assert "clipped_values" not in [item.cause for item in row.findings]


def test_a_shift_that_undoes_others_is_no_fault(engine: Engine) -> None:
    model, made, samples = shifted(engine)
    row = row_of(debug(model, made, samples, engine=engine), "it")
    assert row.own is not None
    op = made.graph.producers[row.tensor]
    for share, found in ((0.9, True), (0.001, False)):
        total = replace(row.total, shift_share=share)
        case = Case(op, made.graph, ValueSums(*row.params.real_range), row.params, row.own, total)
        assert (shifted_means(case) is not None) is found


def test_every_cause_has_a_fault() -> None:
    from tersor.stages.debug.causes import CAUSES

    assert {cause.__name__ for cause in CAUSES} == set(MADE)


def test_error_from_before_is_said_to_be(engine: Engine) -> None:
    net = Net(low=0.5)
    y = net.conv(net.x, random([8, 1, 1, 8], 3), "first")
    pool = {**STEPS, "filter_width": 1, "filter_height": 1, "padding": 1}
    del pool["dilation_w_factor"], pool["dilation_h_factor"]
    y = net.builder.op("MAX_POOL_2D", [y], SHAPE, pool, name="it")
    model, made, samples = by_plan(net, y, engine, recipe="int8_w4")
    diagnosis = debug(model, made, samples, engine=engine)
    (finding,) = row_of(diagnosis, "it").findings
    assert (finding.cause, finding.seen) == (
        "accumulated_error",
        "by itself it would be exact: the error comes from before",
    )
    assert diagnosis.rows[0].layer == "first"


def test_nothing_is_wrong_with_a_good_network(engine: Engine) -> None:
    model = optimize(classifier())
    decided = plan(model, load_recipe("int8"), calibrate(model, images(40), engine=engine))
    found = correct(model, decided, images(40), ["bias_correction"], engine=engine)
    diagnosis = debug(model, quantize(found.model, found.plan), images(20, 7), engine=engine)
    assert not [item for row in diagnosis.rows for item in row.findings]
    assert not diagnosis.remarks
    assert not diagnosis.unmatched
    assert {row.layer for row in diagnosis.rows} == {op.outputs[0] for op in model.graph.ops}
    assert [row.blame for row in diagnosis.rows] == sorted((row.blame for row in diagnosis.rows), reverse=True)


def renamed(graph: Graph) -> Graph:
    """The same graph under names that say nothing."""
    names = {name: f"t{number}" for number, name in enumerate(graph.tensors)}
    ops = [
        replace(
            op,
            name=names[op.outputs[0]],
            inputs=tuple(None if name is None else names[name] for name in op.inputs),
            outputs=tuple(names[name] for name in op.outputs),
        )
        for op in graph.ops
    ]
    tensors = [replace(tensor, name=names[tensor.name]) for tensor in graph.tensors.values()]
    return Graph(
        graph.name,
        {tensor.name: tensor for tensor in tensors},
        tuple(ops),
        tuple(names[name] for name in graph.inputs),
        tuple(names[name] for name in graph.outputs),
    )


def test_values_are_matched_without_names(engine: Engine) -> None:
    """Three layers of one shape read the same value: only their weights tell them apart."""
    net = Net()
    parts = [net.conv(net.x, random([8, 1, 1, 8], seed), f"part{seed}") for seed in range(3)]
    y = net.builder.op("CONCATENATION", parts, (*SHAPE[:3], 24), {"axis": 3}, name="joined")
    model, made, _ = by_plan(net, y, engine)
    found = counterparts(renamed(made.graph), model.graph)
    own = dict(zip(renamed(made.graph).tensors, made.graph.tensors, strict=True))
    layers = {own[name]: value for name, value in found.items() if own[name] in ("part0", "part1", "part2", "joined")}
    assert layers == {name: name for name in ("part0", "part1", "part2", "joined")}


def test_files_of_other_models_are_refused(engine: Engine) -> None:
    model = optimize(classifier())
    with pytest.raises(UnsupportedError, match="no operator computes in integers"):
        debug(model, model, images(4), engine=engine)
    other = optimize(unknown_operator())
    decided = plan(other, load_recipe("int8_float_io"), calibrate(other, [random([1, 4], 1)] * 3 + [random([1, 4], 2)]))
    with pytest.raises(UnsupportedError, match="is it made of this model"):
        debug(model, quantize(other, decided), images(4), engine=engine)
    decided = plan(model, load_recipe("int8"), calibrate(model, images(20), engine=engine))
    with pytest.raises(DataError, match="no samples"):
        debug(model, quantize(model, decided), [], engine=engine)


def test_operators_in_float_are_left_out(engine: Engine) -> None:
    model = optimize(unknown_operator())
    samples = [random([1, 4], seed) for seed in range(12)]
    decided: Plan = plan(model, load_recipe("int8_float_io"), calibrate(model, samples, engine=engine))
    diagnosis = debug(model, quantize(model, decided), samples, engine=engine)
    assert [row.kind for row in diagnosis.rows] == ["FULLY_CONNECTED"]


def test_input_that_is_not_normalized_is_remarked(engine: Engine) -> None:
    model = optimize(classifier())
    samples = [255 * item for item in images(20)]
    decided = plan(model, load_recipe("int8"), calibrate(model, samples, engine=engine))
    (remark,) = debug(model, quantize(model, decided), samples, engine=engine).remarks
    assert "input 'x' takes -25" in remark


def test_without_the_float_model_activations_are_judged(engine: Engine) -> None:
    model, made, samples = outliers(engine)
    diagnosis = debug(None, made, samples, engine=engine)
    assert "range_of_outliers" in [item.cause for item in row_of(diagnosis, "it").findings]
    assert "without the float model" in diagnosis.remarks[0]
    shifts = row_of(debug(None, shifted(engine)[1], samples, engine=engine), "it").findings
    assert "shifted_means" not in [item.cause for item in shifts], "what the weights lost cannot be seen"
    with pytest.raises(UnsupportedError, match="no operator computes in integers"):
        debug(None, model, samples, engine=engine)


@pytest.mark.parametrize("recipe", ["int8", "int16x8", "int8_w4", "dynamic", "weight_only"])
def test_restored_network_computes_what_the_integers_stand_for(recipe: str, engine: Engine, run: Run) -> None:
    model = optimize(classifier())
    made = quantize(model, plan(model, load_recipe(recipe), calibrate(model, images(30), engine=engine)))
    restored = made.with_graph(restore_float_network.apply(made.graph))
    assert all(tensor.quant is None for tensor in restored.graph.tensors.values())
    assert restore_float_network.apply(restored.graph) is restored.graph
    (op, *_) = [item for item in restored.graph.ops if item.kind == "CONV_2D"]
    assert op.option("fused_activation_function") == 1
    x = images(1, 5)
    (wanted,), (found,) = run(model, [x]), run(optimize(restored), [x])
    assert np.abs(found - wanted).max() < (0.1 if recipe == "int8_w4" else 0.01)


def test_relu_that_only_the_range_tells_of_is_restored(engine: Engine, run: Run) -> None:
    net = Net()
    model, made, _ = by_plan(net, net.conv(net.x, random([8, 1, 1, 8], 3), fused_activation_function=1), engine)
    (op,) = [item for item in made.graph.ops if item.kind == "CONV_2D"]
    assert op.options is not None
    bare = replace(op, options=op.options.with_fields(fused_activation_function=0))
    made = made.with_graph(made.graph.edit(replace_ops={op.name: (bare,)}))
    restored = optimize(made.with_graph(restore_float_network.apply(made.graph)))
    (wanted,), (found,) = run(model, [net.samples[0]]), run(restored, [net.samples[0]])
    assert found.min() == 0
    assert np.abs(found - wanted).max() < 0.05


def test_figures_are_those_of_all_values() -> None:
    generator = np.random.default_rng(0)
    wanted = [generator.normal(0, 1, (1, 5, 3)).astype(np.float32) for _ in range(4)]
    found = [item + generator.normal([0.1, 0, -0.2], 0.05, item.shape).astype(np.float32) for item in wanted]
    sums, values = ErrorSums(-1.0, 1.0, 0.1), ValueSums(-1.0, 1.0)
    for a, b in zip(found, wanted, strict=True):
        sums.add(a, b)
        values.add(b)
    floats, error = np.concatenate(wanted), np.concatenate(found) - np.concatenate(wanted)
    errors = sums.errors(1.0)
    assert errors.mean == pytest.approx(error.mean(), rel=1e-4)
    assert errors.std == pytest.approx(error.std(), rel=1e-4)
    assert errors.max_abs == pytest.approx(np.abs(error).max(), rel=1e-6)
    assert errors.sqnr_db == pytest.approx(sqnr_db(floats, np.concatenate(found)), rel=1e-5)
    assert errors.steps == pytest.approx(np.sqrt(np.mean(error**2)) / 0.1, rel=1e-4)
    assert errors.clipped == np.mean(np.abs(floats) > 1.05)
    assert np.allclose(errors.shifts, error.mean((0, 1)), atol=1e-6)
    assert errors.shift_share == pytest.approx(np.mean(error.mean((0, 1)) ** 2) / np.mean(error**2), rel=1e-4)
    assert np.allclose(values.variance, floats.var((0, 1)), rtol=1e-4)


def test_levels_of_most_values() -> None:
    sums = ValueSums(0.0, 256.0)
    sums.add(np.concatenate([np.full(100_000, 7.5), np.full(100_000, 9.5), [250.0]]).astype(np.float32))
    assert sums.levels_of_most() * 256 == 2


def test_command_prints_the_worst_and_writes_all(cli: Cli, place: Path) -> None:
    assert cli("quantize", "net.tflite", "--data", "x.npy", "--algorithms", "none").code == 0
    answer = cli("debug", "net.tflite", "net.int8.tflite", "--data", "x.npy", "--top", "2", "--csv", "all.csv")
    assert answer.code == 0
    assert answer.out.splitlines()[0].split() == ["layer", "and", "operator", "own", "total", "cause"]
    assert len(answer.out.splitlines()) == 5
    assert "the 2 of 5 integer operators most to blame, on 24 samples, xnnpack kernels" in answer.err
    rows = list(csv.DictReader((place / "all.csv").read_text().splitlines()))
    assert {row["layer"] for row in rows} >= {"conv", "scores"}
    assert all(float(row["own_steps"]) > 0 for row in rows if row["operator"] != "RESHAPE")
    found = json.loads(cli("debug", "net.tflite", "net.int8.tflite", "--data", "x.npy", "--json").out)
    assert [row["layer"] for row in found["operators"]] == [row["layer"] for row in rows]
    assert cli("debug", "net.int8.tflite", "--data", "x.npy").code == 0
    answer = cli("debug", "net.tflite", "net.tflite", "net.int8.tflite", "--data", "x.npy")
    assert (answer.code, "3 files are given" in answer.err) == (2, True)
    assert found["operators"][0]["own"]["ac_sqnr_db"] == pytest.approx(float(rows[0]["own_ac_sqnr_db"]))


def test_file_of_another_tool_is_told_by_keras_layers(engine: Engine) -> None:
    model = load(shared_file("cifar10_resnet8/pretrainedResnet.h5"))
    other = tflite.read(shared_file("cifar10_resnet8/pretrainedResnet_quant.tflite"))
    pictures = np.load(shared_file("cifar10_resnet8/ic01_200.npz"))["x"].astype(np.float32)[:16, None]
    diagnosis = debug(model, other, list(pictures), engine=engine)
    assert not diagnosis.unmatched
    assert {"conv2d_5", "average_pooling2d"} <= {row.layer for row in diagnosis.rows}


def test_commands_and_causes_of_the_how_to(cli: Cli, place: Path) -> None:
    from tersor.stages.debug.causes import CAUSES, accumulated_error

    demo = Path(__file__).parents[1] / "demo"
    for name in ("fashion_mnist.keras", "fashion_mnist_calibration.npz"):
        shutil.copy(demo / name, place)
    text = (demo.parent / "docs" / "how-to" / "debug.md").read_text("utf-8")
    commands = re.findall(r"^\$ tersor (.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert cli(*shlex.split(command)).code == 0
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert named == [cause.__name__ for cause in (*CAUSES, accumulated_error)]
