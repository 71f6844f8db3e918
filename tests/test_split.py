"""A network is cut in files: the accelerator gets the best part, and all parts together answer as the whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from flatbuffers import flexbuffers

import tersor
from conftest import Cli, Run
from small_nets import DEMO, DEMO_DATA, conv, dense, random, shared_file, through_file
from tersor.data.preprocess import Preprocess
from tersor.errors import (
    DataError,
    OutputError,
    PlanError,
    RecipeError,
    RuntimeFailure,
    UnsupportedError,
    VerificationError,
)
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model
from tersor.ir.work import macs
from tersor.recipe import load_recipe, parse_recipe, to_toml
from tersor.runtimes.engine import Engine
from tersor.stages import chain as chaining
from tersor.stages import save_split as saving
from tersor.stages.annotate import annotate, declared, labels_of
from tersor.stages.best_cut import Cut, best_cut
from tersor.stages.outcome import Options
from tersor.stages.place import place as forecast
from tersor.stages.produce import produce
from tersor.stages.rough_quantize import rough_quantize
from tersor.stages.save_split import save_split
from tersor.stages.search.targets import target_of
from tersor.stages.split import Split, split, to_be_split

FEW = Options(calibration_samples=60)


def detector() -> Model:
    """x [1,8,8,3] -> CONV_2D -> `boxes` (CONV_2D), and `scores` (CONV_2D, ELU, SOFTMAX): two outputs, one tail."""
    builder = Builder("detector")
    y = conv(builder, builder.input("x", [1, 8, 8, 3]), 8, "stem", fused_activation_function=1)
    boxes = conv(builder, y, 4, "boxes")
    y = builder.op("ELU", [conv(builder, y, 5, "classes")], [1, 8, 8, 5], name="elu")
    scores = builder.op("SOFTMAX", [y], [1, 8, 8, 5], {"beta": 1.0}, name="scores")
    return through_file(builder.model([boxes, scores]))


def integers(model: Model) -> Model:
    """The model in int8, with ranges that are made up."""
    return through_file(rough_quantize(model, "int8"))


def shape_of(found: Split) -> list[tuple[str, list[str]]]:
    return [(part.on, [op.kind for op in part.model.graph.ops]) for part in found.parts]


def names(path: Path) -> set[str]:
    return {item.name for item in path.iterdir()}


def chain(sizes: Sequence[int], takes: str) -> tuple[Graph, list[bool]]:
    """A RELU for each 1, a CONV_2D for each larger count of channels; `takes` has a + for each that is taken."""
    builder = Builder("chain")
    y = builder.input("x", [1, 4, 4, 2])
    for number, channels in enumerate(sizes):
        if channels > 1:
            y = conv(builder, y, channels, f"op{number}")
        else:
            y = builder.op("RELU", [y], builder.shape_of(y), name=f"op{number}")
    return builder.model([y]).graph, [sign == "+" for sign in takes]


@pytest.mark.parametrize(
    ("sizes", "takes", "wanted"),
    [
        ([2, 1, 2], "+++", ((), (0, 1, 2), ())),
        ([2, 1, 2], "++-", ((), (0, 1), (2,))),
        ([2, 1, 9, 9], "+-++", ((0, 1), (2, 3), ())),
        ([9, 1, 2, 1], "+-+-", ((), (0,), (1, 2, 3))),
        ([1, 2, 1, 9, 1], "-+-+-", ((0, 1, 2), (3,), (4,))),
    ],
)
def test_the_piece_that_multiplies_most_is_taken(sizes: list[int], takes: str, wanted: object) -> None:
    found = best_cut(*chain(sizes, takes))
    assert found is not None
    assert (found.before, found.taken, found.behind) == wanted
    assert found.is_whole == (takes == "+++")


def test_without_anything_to_multiply_there_is_no_cut() -> None:
    assert best_cut(*chain([2, 1, 2], "-+-")) is None
    assert best_cut(*chain([2, 2], "--")) is None
    assert best_cut(*chain([1, 1], "+-")) == Cut((), (0,), (1,)), "nothing multiplies here at all"


def test_a_side_branch_runs_first_and_cuts_nothing_off() -> None:
    builder = Builder("side")
    x = builder.input("x", [1, 4, 4, 2])
    main = conv(builder, x, 2, "main")
    side = builder.op("ELU", [x], [1, 4, 4, 2], name="side")
    both = builder.op("ADD", [main, side], [1, 4, 4, 2], name="both")
    graph = builder.model([conv(builder, both, 9, "last")]).graph
    assert best_cut(graph, [True, False, True, True]) == Cut((1,), (0, 2, 3), ())


def test_what_only_makes_values_more_is_left_to_the_cpu() -> None:
    builder = Builder("mask")
    y = conv(builder, builder.input("x", [1, 4, 4, 2]), 2, "conv")
    y = builder.op("MAX_POOL_2D", [y], [1, 2, 2, 2], {"stride_w": 2, "stride_h": 2}, name="less")
    y = builder.op("RELU", [y], [1, 2, 2, 2], name="as_many")
    y = builder.op("RESIZE_NEAREST_NEIGHBOR", [y, builder.constant("size", [8, 8])], [1, 8, 8, 2], name="more")
    y = builder.op("RELU", [y], [1, 8, 8, 2], name="behind")
    graph = builder.model([builder.op("ELU", [y], [1, 8, 8, 2], name="elu")]).graph
    assert best_cut(graph, [True] * 5 + [False]) == Cut((), (0, 1, 2), (3, 4, 5))
    assert best_cut(graph, [True] * 6) == Cut((), (0, 1, 2, 3, 4, 5), ()), "a second file would cost more"


def tangle(seed: int) -> tuple[Graph, list[bool]]:
    """A convolution and then operators of one or two operands and many sizes, of which some are not taken."""
    generator = np.random.default_rng(seed)
    builder = Builder("tangle")
    values = [conv(builder, builder.input("x", [1, 2, 2, 1]), 2, "conv")]
    for number in range(9):
        count = int(generator.integers(1, 3))
        chosen = [values[int(place)] for place in generator.integers(0, len(values), count)]
        size = [1, 2, 2, int(generator.integers(1, 6))]
        values.append(builder.op("ADD" if count == 2 else "RELU", chosen, size, name=f"op{number}"))
    graph = builder.model([values[-1], values[int(generator.integers(1, len(values)))]]).graph
    return graph, [True, *(bool(item) for item in generator.random(9) < 0.8)]


def outgoing(graph: Graph, kept: set[int]) -> int:
    """Bytes of what some operators compute and others, or the program, read."""
    own = {name for place in kept for name in graph.ops[place].outputs}
    read = {
        *graph.outputs,
        *(name for place, op in enumerate(graph.ops) if place not in kept for name in op.inputs if name),
    }
    return sum(graph.tensors[name].byte_size for name in own & read)


@pytest.mark.parametrize("seed", range(60))
def test_fewest_bytes_come_back_of_all_cuts(seed: int) -> None:
    graph, takes = tangle(seed)
    found = best_cut(graph, takes)
    assert found is not None
    if found.is_whole:
        return
    written = {name: place for place, op in enumerate(graph.ops) for name in op.outputs}
    parents = [{written[name] for name in op.inputs if name in written} for op in graph.ops]
    ways = [
        {0, *others}
        for count in range(len(graph.ops))
        for others in combinations(range(1, len(graph.ops)), count)
        if all(takes[place] and parents[place] <= {0, *others} for place in others)
    ]
    least = min(outgoing(graph, way) for way in ways)
    assert outgoing(graph, set(found.taken)) == least
    assert len(found.taken) == max(len(way) for way in ways if outgoing(graph, way) == least), "no work for nothing"


def test_parts_hold_every_operator_once_and_the_device_maps_its_own() -> None:
    whole = integers(detector())
    found = split(whole)
    assert shape_of(found) == [
        ("edge_tpu", ["CONV_2D"] * 3),
        ("cpu", [op.kind for op in whole.graph.ops if op.kind != "CONV_2D"]),
    ]
    assert found.placement.left == ()
    assert found.share_of_macs == 1.0
    assert found.crossing == (8 * 8 * 3, 8 * 8 * (4 + 5))
    assert {whole.graph.ops[place].kind: reason for place, reason in found.left.items()} == {
        "ELU": "the Edge TPU has no ELU"
    }
    device, rest = (part.model.graph for part in found.parts)
    assert set(rest.inputs) <= set(device.outputs)
    assert "boxes" in device.outputs, "an output may come of any part"
    assert sum(macs(whole.graph, op) for op in whole.graph.ops) == sum(part.macs for part in found.parts)


def test_chain_answers_bit_for_bit(tmp_path: Path, engine: Engine) -> None:
    done = save_split(split(integers(detector())), tmp_path / "net.tflite", engine=engine)
    assert names(tmp_path) == {"net.1-edge_tpu.tflite", "net.2-cpu.tflite", "net.split.json"}
    assert [(item.kernels, item.samples, item.is_equal) for item in done.chained] == [
        ("xnnpack", 16, True),
        ("builtin", 16, True),
    ]
    manifest = json.loads((tmp_path / "net.split.json").read_text("utf-8"))
    assert manifest["target"] == "edge_tpu"
    assert [part["file"] for part in manifest["parts"]] == [path.name for path in done.paths]
    assert (manifest["bytes_to_device"], manifest["bytes_from_device"]) == (192, 576)
    for part, path in zip(manifest["parts"], done.paths, strict=True):
        graph = tflite.read(path).graph
        for side, own in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            assert [item["name"] for item in part[side]] == list(own)
            for item in part[side]:
                quant = graph.tensors[item["name"]].quant
                assert quant is not None
                assert (item["scale"], item["zero_point"]) == (quant.scale, quant.zero_point)
    assert forecast(tflite.read(done.paths[0]), "edge_tpu").left == ()


def test_a_file_that_has_a_name_twice_can_be_cut(tmp_path: Path, engine: Engine) -> None:
    builder = Builder("twice")
    y = conv(builder, builder.input("x", [1, 8, 8, 3]), 4, "same")
    y = builder.op("ELU", [y], [1, 8, 8, 4], name="last")
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite.write_bytes(integers(through_file(builder.model([y])))).replace(b"last\0", b"same\0"))
    whole = tflite.read(path)
    assert whole.graph.outputs == ("same#2",)
    assert all(item.is_equal for item in save_split(split(whole), path, engine=engine).chained)


def test_everything_maps_so_there_is_one_file(tmp_path: Path) -> None:
    builder = Builder("plain")
    whole = integers(through_file(builder.model([conv(builder, builder.input("x", [1, 4, 4, 3]), 4)])))
    done = save_split(split(whole), tmp_path / "net.tflite")
    assert (done.paths, done.manifest, done.chained) == ((), None, ())
    assert not list(tmp_path.iterdir())
    assert done.split.parts[0].model is whole


def test_what_the_compiler_would_refuse_as_a_whole() -> None:
    """The size of the last result is computed: no part of such a file compiles, but of its own all the rest does."""
    builder = Builder("open")
    y = conv(builder, builder.input("x", [1, 4, 4, 3]), 4)
    shape = builder.op("SHAPE", [y], [4], dtype=DType.INT32, name="shape")
    whole = integers(through_file(builder.model([builder.op("RESHAPE", [y, shape], [1, 4, 4, 4], name="again")])))
    placement = forecast(whole, "edge_tpu")
    assert placement.refusal is not None
    share = "1 of 3 operators and 100.0 % of MACs run on the Edge TPU"
    assert placement.notes[-1] == f"with tersor split --target edge_tpu, {share}, the rest on the CPU"
    assert shape_of(split(whole)) == [("edge_tpu", ["CONV_2D"]), ("cpu", ["SHAPE", "RESHAPE"])]


def test_place_tells_where_a_later_piece_is_larger() -> None:
    builder = Builder("early")
    y = conv(builder, builder.input("x", [1, 8, 8, 3]), 2, "first")
    y = builder.op("ELU", [y], [1, 8, 8, 2], name="elu")
    model = through_file(builder.model([conv(builder, conv(builder, y, 8, "second"), 8, "third")]))
    notes = forecast(model, "edge_tpu").notes
    share = "2 of 4 operators and 93.0 % of MACs run on the Edge TPU, the rest on the CPU"
    assert f"with tersor quantize --target edge_tpu --split, {share} and in float" in notes
    assert f"with tersor split --target edge_tpu, {share}" in forecast(integers(model), "edge_tpu").notes
    same = forecast(integers(detector()), "edge_tpu").notes
    assert not any("split" in note for note in same), "no more runs on the device then"
    assert any("split" in note for note in forecast(detector(), "edge_tpu").notes), "but the rest in float"
    assert [part.on for part in split(integers(model)).parts] == ["cpu", "edge_tpu"]


def ssd() -> Model:
    """x [1,8,8,3] -> boxes and scores of 64 anchors -> TFLite_Detection_PostProcess, as detectors end."""
    builder = Builder("ssd")
    y = conv(builder, builder.input("x", [1, 8, 8, 3]), 8, "stem", fused_activation_function=1)
    boxes = builder.op("RESHAPE", [conv(builder, y, 4, "boxes"), builder.constant("a", [1, 64, 4])], [1, 64, 4])
    scores = builder.op("RESHAPE", [conv(builder, y, 3, "classes"), builder.constant("b", [1, 64, 3])], [1, 64, 3])
    scores = builder.op("LOGISTIC", [scores], [1, 64, 3])
    middle = np.arange(64) % 8 / 8 + 1 / 16
    anchors = np.stack([np.sort(middle), middle, *np.full((2, 64), 0.2)], axis=1).astype(np.float32)
    shapes = [((1, 5, 4), DType.FLOAT32), ((1, 5), DType.FLOAT32), ((1, 5), DType.FLOAT32), ((1,), DType.FLOAT32)]
    found = builder.op_with("CUSTOM", [boxes, scores, builder.constant("anchors", anchors)], shapes, name="found")
    settings = {"max_detections": 5, "max_classes_per_detection": 1, "num_classes": 2, "nms_iou_threshold": 0.5}
    settings |= {"nms_score_threshold": 0.1, "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}
    graph = builder.model(found).graph
    name, packed = "TFLite_Detection_PostProcess", bytes(flexbuffers.Dumps(settings))
    last = replace(graph.ops[-1], options=None, custom_code=name, custom_options=packed)
    return through_file(Model((replace(graph, ops=(*graph.ops[:-1], last)),)))


def test_detection_post_processing_runs_on_the_cpu_in_float(tmp_path: Path, engine: Engine) -> None:
    model, x = ssd(), random([70, 8, 8, 3], seed=4)
    recipe = target_of("edge_tpu").fitted(load_recipe("int8"))
    with pytest.raises(PlanError, match="nothing is known of this custom operator"):
        produce(model, {recipe: tmp_path / "net.tflite"}, x, options=FEW, engine=engine)
    outcome = produce(model, {to_be_split(recipe): tmp_path / "net.tflite"}, x, options=FEW, engine=engine)
    done = outcome.products[0].split
    assert done is not None
    device, tail = shape_of(done.split)
    assert sorted(device[1]) == ["CONV_2D"] * 3 + ["LOGISTIC"] + ["RESHAPE"] * 2
    assert tail == ("cpu", ["DEQUANTIZE", "DEQUANTIZE", "CUSTOM"])
    assert done.split.crossing == (8 * 8 * 3, 64 * (4 + 3))
    assert all(item.is_equal for item in done.chained)


@pytest.mark.parametrize("name", ["movenet_single_pose_lightning_ptq", "deeplabv3_mnv2_dm05_pascal_quant"])
def test_real_networks_bit_for_bit(name: str, tmp_path: Path, engine: Engine) -> None:
    whole = tflite.read(shared_file(f"edge_tpu_pairs/{name}.tflite"))
    found = split(whole)
    by_compiler = {item.name for item in forecast(whole, "edge_tpu").mapped}
    own = {op.name for op in found.on_device.model.graph.ops}
    assert own <= by_compiler, "nothing is promised that the real compiler left"
    assert found.on_device.macs == sum(item.macs for item in forecast(whole, "edge_tpu").mapped)
    done = save_split(found, tmp_path / f"{name}.tflite", engine=engine)
    assert all(item.is_equal for item in done.chained)


def test_a_chain_that_answers_otherwise_is_not_written(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = chaining.run_chain

    def off_by_one(*arguments: object) -> dict[str, object]:
        return {name: values + 1 for name, values in honest(*arguments).items()}  # type: ignore[arg-type]

    monkeypatch.setattr(chaining, "run_chain", off_by_one)
    with pytest.raises(VerificationError, match="do not answer as the whole model on the builtin kernels"):
        save_split(split(integers(detector())), tmp_path / "new" / "net.tflite", engine=engine)
    assert not list(tmp_path.iterdir())


def test_a_tail_that_nothing_runs_is_not_written(tmp_path: Path, engine: Engine) -> None:
    builder = Builder("custom")
    y = conv(builder, builder.input("x", [1, 4, 4, 3]), 4)
    whole = integers(through_file(builder.model([builder.op("RELU", [y], [1, 4, 4, 4], name="mine")])))
    graph = whole.graph
    ops = [
        replace(op, kind="CUSTOM", custom_code="Mine", options=None) if op.name == "mine" else op for op in graph.ops
    ]
    with pytest.raises(RuntimeFailure, match="Mine"):
        save_split(split(whole.with_graph(replace(graph, ops=tuple(ops)))), tmp_path / "net.tflite", engine=engine)
    assert not list(tmp_path.iterdir())


def test_parts_never_replace_the_model(tmp_path: Path, engine: Engine) -> None:
    given = tmp_path / "net.1-edge_tpu.tflite"
    tflite.write(integers(detector()), given)
    before = given.read_bytes()
    with pytest.raises(OutputError, match="would be replaced by one of its parts"):
        save_split(split(tflite.read(given)), tmp_path / "net.tflite", engine=engine)
    assert given.read_bytes() == before
    assert names(tmp_path) == {given.name}


def test_parts_never_replace_the_float_model(tmp_path: Path, engine: Engine) -> None:
    given = tmp_path / "net.2-cpu.tflite"
    tflite.write(detector(), given)
    before = given.read_bytes()
    recipe = to_be_split(target_of("edge_tpu").fitted(load_recipe("int8")))
    x = random([70, 8, 8, 3])
    with pytest.raises(OutputError, match="would be replaced by one of its parts"):
        produce(tflite.read(given), {recipe: tmp_path / "net.tflite"}, x, options=FEW, engine=engine)
    assert given.read_bytes() == before
    assert names(tmp_path) == {given.name}


def test_parts_of_an_earlier_split_are_removed(tmp_path: Path, engine: Engine) -> None:
    path, mine = tmp_path / "net.tflite", {"net.1-cpu.tflite", "net.3-cpu.tflite"}
    for name in mine:
        (tmp_path / name).write_bytes(b"mine")
    builder = Builder("whole")
    whole = split(integers(through_file(builder.model([conv(builder, builder.input("x", [1, 4, 4, 3]), 4)]))))
    save_split(whole, path, engine=engine)
    assert names(tmp_path) == mine
    save_split(split(integers(detector())), path, engine=engine)
    parts = {"net.1-edge_tpu.tflite", "net.2-cpu.tflite", "net.split.json"}
    assert names(tmp_path) == {*parts, *mine}
    with pytest.raises(DataError):
        save_split(split(integers(detector())), path, [np.zeros([3])], engine=engine)
    assert names(tmp_path) == {*parts, *mine}, "an earlier split outlives one that fails"
    save_split(whole, path, engine=engine)
    assert names(tmp_path) == mine


def test_state_of_several_parts_is_refused() -> None:
    builder = Builder("state")
    x = builder.input("x", [1, 4])
    state = builder.variable("state", [1, 4])
    y = dense(builder, builder.op("ADD", [x, state], [1, 4], name="one"), 4)
    y = builder.op("ELU", [y], [1, 4], name="elu")
    whole = rough_quantize(through_file(builder.model([builder.op("ADD", [y, state], [1, 4], name="two")])), "int8")
    with pytest.raises(UnsupportedError, match="shares state with operators of another part"):
        split(whole)


def test_refusals() -> None:
    with pytest.raises(UnsupportedError, match="a float model; to quantize and split it: tersor quantize"):
        split(detector())
    with pytest.raises(RecipeError, match="nothing is split for ethos_u: Vela leaves what the NPU does not run"):
        split(integers(detector()), "ethos_u")
    with pytest.raises(RecipeError, match="nothing is split for micro: one processor runs the whole network"):
        split(integers(detector()), "micro")
    with pytest.raises(RecipeError, match="unknown target 'coral'"):
        split(integers(detector()), "coral")
    with pytest.raises(RecipeError, match="split = true needs a target"):
        parse_recipe("split = true", "mine")
    builder = Builder("nothing")
    y = builder.op("ELU", [builder.input("x", [1, 4])], [1, 4], name="elu")
    y = builder.op("BATCH_MATMUL", [y, builder.op("RESHAPE", [y, builder.constant("s", [4, 1])], [4, 1])], [1, 1])
    with pytest.raises(
        UnsupportedError, match=r"would have nothing to multiply.*ELU \(operator 0\): the Edge TPU has no"
    ):
        split(integers(through_file(builder.model([y]))))


def test_normalization_and_labels_go_with_the_parts_that_need_them() -> None:
    labels = tuple("abcde")
    whole = annotate(integers(detector()), Preprocess(mean=(127.5,), std=(127.5,)), labels)
    device, rest = (part.model for part in split(whole).parts)
    assert declared(device) == declared(whole)
    assert labels_of(rest) == {"scores": labels}
    assert declared(rest).is_identity
    assert labels_of(device) == {}


def test_product_in_parts(tmp_path: Path, engine: Engine, run: Run) -> None:
    """The CPU's operators compute in float, and so do the outputs that they give; what it costs is measured."""
    recipe = to_be_split(target_of("edge_tpu").fitted(load_recipe("int8")))
    assert parse_recipe(to_toml(recipe), "again") == recipe
    x = random([90, 8, 8, 3], seed=3)
    outcome = produce(detector(), {recipe: tmp_path / "net.tflite"}, x, options=FEW, engine=engine)
    (product,) = outcome.products
    assert product.plan is not None
    assert product.plan.warnings == ()
    assert product.split is not None
    assert shape_of(product.split.split) == [
        ("edge_tpu", ["CONV_2D"] * 3),
        ("cpu", ["DEQUANTIZE", "ELU", "SOFTMAX"]),
    ]
    assert names(tmp_path) == {"net.tflite", "net.1-edge_tpu.tflite", "net.2-cpu.tflite", "net.split.json"}
    whole = tflite.read(tmp_path / "net.tflite").graph
    assert [str(whole.tensors[name].dtype) for name in (*whole.inputs, *whole.outputs)] == ["int8", "int8", "float32"]
    assert product.fitting is not None
    cost = product.fitting.split_cost
    assert cost is not None
    assert cost.rewrite == "split"
    assert cost.samples == 30
    assert cost.change is not None
    assert cost.change.value == pytest.approx(cost.sqnr_db[1] - cost.sqnr_db[0])
    given = np.zeros([1, 8, 8, 3], np.int8)
    middle = dict(zip(("boxes", "classes"), run(tmp_path / "net.1-edge_tpu.tflite", [given]), strict=True))
    whole_answer = run(tmp_path / "net.tflite", [given])
    assert np.array_equal(middle["boxes"], whole_answer[0])
    assert np.array_equal(run(tmp_path / "net.2-cpu.tflite", [middle["classes"]])[0], whole_answer[1])


def test_product_of_the_demo_network_is_one_file(tmp_path: Path, engine: Engine) -> None:
    recipe = to_be_split(target_of("edge_tpu").fitted(load_recipe("int8")))
    x = np.load(DEMO_DATA)["x"].astype(np.float32).reshape(-1, 28, 28, 1) / 255
    outcome = produce(tflite.read(DEMO), {recipe: tmp_path / "net.tflite"}, x[:60], options=FEW, engine=engine)
    found = outcome.products[0].split
    assert found is not None
    assert found.paths == ()
    assert names(tmp_path) == {"net.tflite"}


def test_a_failing_part_leaves_nothing_behind(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise OutputError("the disk is full")

    monkeypatch.setattr(saving, "_in_lines", broken)
    recipe = to_be_split(target_of("edge_tpu").fitted(load_recipe("int8")))
    with pytest.raises(OutputError, match="the disk is full"):
        produce(detector(), {recipe: tmp_path / "net.tflite"}, random([70, 8, 8, 3]), options=FEW, engine=engine)
    assert not list(tmp_path.iterdir())


def test_quantize_command(place: Path, cli: Cli) -> None:
    tflite.write(detector(), place / "det.tflite")
    np.save(place / "photos.npy", random([60, 8, 8, 3], seed=9))
    asked = ("quantize", "det.tflite", "--data", "photos.npy", "--as-is", "--samples", "30", "--target", "edge_tpu")
    run = cli(*asked, "--split")
    assert run.code == 0, run.err
    said = " ".join(run.err.split())
    assert "split: 3 of 6 operators and 100.0 % of MACs run on the Edge TPU; 192 bytes go there in each run" in said
    assert "float on the CPU: beside one file that computes in integers where it can, it " in said
    assert "on the CPU: ELU (operator 4): the Edge TPU has no ELU, and 2 more" in said
    assert "on 16 samples, the parts answer bit for bit as the whole file on xnnpack and builtin" in said
    assert "for the device: tersor compile det.int8.1-edge_tpu.tflite --target edge_tpu" in said
    found = json.loads(cli(*asked, "--split", "--json").out)["split"]["int8"]
    assert [part["on"] for part in found["parts"]] == ["edge_tpu", "cpu"]
    assert all(item["equal"] for item in found["verified"])
    assert "split" not in json.loads(cli(*asked, "--json").out)


def test_optimize_command_cuts_its_pick(place: Path, cli: Cli) -> None:
    tflite.write(ssd(), place / "ssd.tflite")
    np.save(place / "x.npy", random([120, 8, 8, 3], seed=9))
    asked = ("optimize", "ssd.tflite", "--data", "x.npy", "--as-is", "--target", "edge_tpu", "-o")
    refused = cli(*asked, "out")
    assert refused.code == 5
    assert "--split cuts off what the device does not run, for the CPU" in refused.err
    run = cli(*asked, "out", "--split")
    assert run.code in {0, 9}, run.err
    assert (
        "the pick in parts: pick.1-edge_tpu.tflite, pick.2-cpu.tflite, chained by pick.split.json; 6 operat" in run.err
    )
    assert "float on the CPU: beside one file that computes in integers where it can, it " in run.err
    assert (place / "out" / "pick.split.json").exists()
    assert load_recipe(place / "out" / "recipe.toml").split
    tflite.write(detector(), place / "det.tflite")
    cli("optimize", "det.tflite", *asked[2:], "out", "--time-budget", "1s")
    assert not list((place / "out").glob("pick.*-*")), "parts of another pick"
    assert not (place / "out" / "pick.split.json").exists()


def test_optimize_ends_with_a_report_where_the_pick_cannot_be_split(
    place: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*_: object) -> None:
        raise UnsupportedError("its state is read on both sides")

    monkeypatch.setattr("tersor.stages.search.output_folder.split", impossible)
    tflite.write(ssd(), place / "ssd.tflite")
    np.save(place / "x.npy", random([120, 8, 8, 3], seed=9))
    run = cli("optimize", "ssd.tflite", "--data", "x.npy", "--as-is", "--target", "edge_tpu", "--split", "-o", "out")
    assert run.code in {0, 9}, run.err
    assert "the pick is one file, not split: its state is read on both sides" in run.err
    assert (place / "out" / "report.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--split: say for whose accelerator, with --target edge_tpu"),
        (("--target", "ethos_u"), "nothing is split for ethos_u: Vela leaves what the NPU does not run to the CPU"),
        (("--target", "cpu"), "nothing is split for cpu: one processor runs the whole network"),
    ],
)
def test_quantize_command_refuses(more: tuple[str, ...], said: str, place: Path, cli: Cli) -> None:
    run = cli("quantize", "net.tflite", "--data", "x.npy", "--as-is", "--split", *more)
    assert run.code == 2
    assert said in " ".join(run.err.split())


def test_split_command(place: Path, cli: Cli) -> None:
    tflite.write(integers(detector()), place / "det.tflite")
    run = cli("split", "det.tflite", "-o", "out")
    assert run.code == 0, run.err
    assert "split: 3 of 5 operators and 100.0 % of MACs run on the Edge TPU" in run.out
    assert names(place / "out") == {"det.1-edge_tpu.tflite", "det.2-cpu.tflite", "det.split.json"}
    assert "all 3 operators are on the Edge TPU" in cli("place", "out/det.1-edge_tpu.tflite", "-t", "edge_tpu").out
    np.save(place / "photos.npy", random([5, 8, 8, 3], seed=9))
    found = json.loads(cli("split", "det.tflite", "-o", "out", "--data", "photos.npy", "--as-is", "--json").out)
    assert [item["samples"] for item in found["verified"]] == [5, 5]
    assert found["manifest"] == "out/det.split.json"
    again = cli("split", "out/det.1-edge_tpu.tflite")
    assert "the Edge TPU runs all 3 operators: there is nothing to split off, one file is enough" in again.out


def test_split_command_refuses(place: Path, cli: Cli) -> None:
    tflite.write(detector(), place / "float.tflite")
    tflite.write(integers(detector()), place / "det.tflite")
    for arguments, said in [
        (("float.tflite",), "a float model; to quantize and split it"),
        (("det.tflite", "-o", "float.tflite"), "float.tflite: is a file; --output names the folder for the parts"),
        (("det.tflite", "--target", "ethos_u"), "nothing is split for ethos_u"),
        (("missing.tflite",), "missing.tflite: no such file"),
    ]:
        run = cli("split", *arguments)
        assert run.code != 0
        assert said in " ".join(run.err.split())
    assert not list(place.glob("*-cpu.tflite"))


def test_library(tmp_path: Path) -> None:
    found = tersor.split(integers(detector()), "edge_tpu")
    assert tersor.save_split(found, tmp_path / "net.tflite").manifest == tmp_path / "net.split.json"
