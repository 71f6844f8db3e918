"""Several models on one Edge TPU, and one model on several: known answers, every way to cut, and what is printed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Cli
from small_nets import DEMO, classifier, shared_file
from tersor.errors import RecipeError, UnsupportedError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ir.sharing import Share
from tersor.stages.load import load
from tersor.stages.place import place as placed
from tersor.stages.place_several import place_segments, place_together
from tersor.targets import edge_tpu
from tersor.targets.edge_tpu.memory import CACHE, CACHED, PARAMETERS, STREAMED
from tersor.targets.edge_tpu.segments import cheapest_cuts, crossing_bytes, cut, smallest_most

PAIRS = "edge_tpu_pairs"
MOVENET = f"{PAIRS}/movenet_single_pose_lightning_ptq.tflite"


def dense_bytes(units: int, depth: int) -> int:
    """What a layer takes, for multiples of 64: its weights, and 8 bytes for each channel."""
    return units * (depth + 8)


def layers(*units: int, depth: int = 64, name: str = "layers") -> Model:
    """Dense layers of int8, one after the other."""
    builder = Builder(name)
    value = builder.input("x", [1, depth], DType.INT8)
    for number, count in enumerate(units):
        weights = builder.constant(f"w{number}", np.zeros((count, depth), np.int8))
        value = builder.op("FULLY_CONNECTED", [value, weights], [1, count], dtype=DType.INT8, name=f"y{number}")
        depth = count
    return replace(builder.model([value]), source=f"{name}.tflite")


# -- several models on one device


def test_all_fits() -> None:
    models = [layers(64, 64), layers(128)]
    found = place_together(models)
    assert found.shares == (Share(2 * 64 * 72, 2 * 64 * 72), Share(128 * 72, 128 * 72))


def test_memory_goes_to_the_first_model_first() -> None:
    large, small = layers(4096, depth=1024, name="large"), layers(2048, depth=2048, name="small")
    most = [dense_bytes(4096, 1024), dense_bytes(2048, 2048)]
    room = CACHE - (1024 + 4096)  # the widest place of both: activations lie there, too
    assert max(most) < room < sum(most)
    first, second = place_together([large, small]).shares
    assert (first.parameters, first.streamed) == (most[0], 0)
    assert (second.parameters, second.cached) == (most[1], room - most[0])
    second, first = place_together([small, large]).shares
    assert (second.parameters, second.streamed) == (most[1], 0)
    assert (first.parameters, first.cached) == (most[0], room - most[1])


def test_nothing_is_left_for_those_behind() -> None:
    models = [layers(4096, depth=4096), layers(64), layers(64)]
    first, *others = place_together(models).shares
    assert first.streamed > 0
    assert [share.cached for share in others] == [0, 0]


def test_a_model_alone_gets_what_place_says() -> None:
    model = layers(4096, depth=4096)
    (share,) = place_together([model]).shares
    alone = placed(model)
    assert (share.parameters, share.cached, share.streamed) == tuple(
        alone.amount(name) for name in (PARAMETERS, CACHED, STREAMED)
    )


def test_together_is_told(cli: Cli, place: Path) -> None:
    tflite.write(layers(4096, depth=1024), place / "large.tflite")
    tflite.write(layers(2048, depth=2048), place / "small one.tflite")
    answer = cli("place", "large.tflite", "small one.tflite")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("2 models, compiled together for one Edge TPU: about ")
    assert "room runs out in small one.tflite" in answer.out
    assert "memory goes to the models in this order" in answer.err
    assert "edgetpu_compiler large.tflite 'small one.tflite'" in answer.err
    found = json.loads(cli("place", "large.tflite", "small one.tflite", "--json").out)
    assert [item["file"] for item in found["models"]] == ["large.tflite", "small one.tflite"]
    assert [item["streamed_bytes"] > 0 for item in found["models"]] == [False, True]
    assert all(item["placement"]["target"] == "edge_tpu" for item in found["models"])


def test_float_models_are_named_as_they_will_be(cli: Cli, place: Path) -> None:
    tflite.write(layers(64), place / "one.tflite")
    answer = cli("place", "net.tflite", "one.tflite")
    assert answer.out.startswith("2 models, compiled together for one Edge TPU: all their parameters (about ")
    assert "net.tflite: a float model: this is where its operators would run after quantization" in answer.err
    assert "edgetpu_compiler net.int8.tflite one.tflite" in answer.err
    assert "in this order" not in answer.err  # which is no matter where all fits


# -- one model on several devices


def test_equal_layers_are_shared_out_equally() -> None:
    found = place_segments(layers(*[64] * 6), 3).segments
    assert [(item.first, item.last) for item in found] == [(0, 1), (2, 3), (4, 5)]
    assert [item.share for item in found] == [Share(2 * 64 * 72, 2 * 64 * 72)] * 3
    assert [[value.name for value in item.reads] for item in found] == [["x"], ["y1"], ["y3"]]
    assert [[value.name for value in item.writes] for item in found] == [["y1"], ["y3"], ["y5"]]
    assert [item.moved for item in found] == [128] * 3


def test_a_large_layer_stands_alone() -> None:
    found = place_segments(layers(64, 64, 1024, 64, 64), 3).segments
    assert [item.share.parameters for item in found] == [2 * 64 * 72, 1024 * 72, 64 * 1032 + 64 * 72]
    assert [(item.first, item.last) for item in found] == [(0, 1), (2, 2), (3, 4)]


def test_the_narrowest_cut_is_taken_where_sizes_are_equal() -> None:
    """Between the two layers lie values of 64, 16 and 64 bytes; operators without parameters go to either side."""
    builder = Builder("narrow")
    x = builder.input("x", [1, 8, 8, 4], DType.INT8)
    w0 = builder.constant("w0", np.zeros((4, 1, 1, 4), np.int8))
    stride = {"stride_w": 1, "stride_h": 1}
    y = builder.op("CONV_2D", [x, w0], [1, 8, 8, 4], stride, dtype=DType.INT8, name="a")
    y = builder.op(
        "MAX_POOL_2D", [y], [1, 2, 2, 4], stride | {"filter_width": 4, "filter_height": 4}, dtype=DType.INT8, name="b"
    )
    y = builder.op("RELU", [y], [1, 2, 2, 4], dtype=DType.INT8, name="c")
    w1 = builder.constant("w1", np.zeros((4, 1, 1, 4), np.int8))
    y = builder.op("CONV_2D", [y, w1], [1, 2, 2, 4], stride, dtype=DType.INT8, name="d")
    model = builder.model([y])
    assert crossing_bytes(model.graph) == [None, 256, 16, 16, None]
    first, second = edge_tpu.segments(model, 2)
    assert first.last in (1, 2)
    assert sum(value.byte_size for value in second.reads) == 16


def test_values_that_jump_over_a_segment_are_counted() -> None:
    builder = Builder("skip")
    x = builder.input("x", [1, 64], DType.INT8)
    values = [x]
    for number in range(3):
        weights = builder.constant(f"w{number}", np.zeros((64, 64), np.int8))
        values.append(
            builder.op("FULLY_CONNECTED", [values[-1], weights], [1, 64], dtype=DType.INT8, name=f"y{number}")
        )
    total = builder.op("ADD", [values[1], values[3]], [1, 64], dtype=DType.INT8, name="sum")
    model = builder.model([total])
    assert crossing_bytes(model.graph) == [None, 64, 128, 128, None]
    first, second, third = edge_tpu.segments(model, 3)
    assert [value.name for value in first.writes] == ["y0"]
    assert [value.name for value in second.reads] == ["y0"]
    assert [value.name for value in third.reads] == ["y1", "y0"]


def test_operators_behind_the_first_break_get_a_device() -> None:
    """On one device they stay on the CPU; a segment that begins behind the break maps them."""
    builder = Builder("broken")
    value = builder.input("x", [1, 64], DType.INT8)
    for number, kind in enumerate(["FULLY_CONNECTED", "ELU", "FULLY_CONNECTED"]):
        operands = [builder.constant(f"w{number}", np.zeros((64, 64), np.int8))] if kind != "ELU" else []
        value = builder.op(kind, [value, *operands], [1, 64], dtype=DType.INT8, name=f"y{number}")
    found = place_segments(builder.model([value]), 2)
    assert [item.index for item in found.whole.mapped] == [0]
    assert [place for item in found.segments for place in item.mapped] == [0, 2]


def test_state_is_not_divided() -> None:
    builder = Builder("state")
    value = builder.input("x", [1, 64], DType.INT8)
    for number in range(3):
        weights = builder.constant(f"w{number}", np.zeros((64, 64), np.int8))
        value = builder.op("FULLY_CONNECTED", [value, weights], [1, 64], dtype=DType.INT8, name=f"y{number}")
    graph = builder.model([value]).graph
    state = replace(graph.tensors["x"], name="state", is_variable=True)
    ops = list(graph.ops)
    for place_ in (0, 1):
        ops[place_] = replace(ops[place_], inputs=(*ops[place_].inputs, "state"))
    shared = replace(graph, tensors={**graph.tensors, "state": state}, ops=tuple(ops))
    assert crossing_bytes(shared) == [None, None, 64, None]
    takes = [True] * 3
    assert [(item.first, item.last) for item in cut(shared, takes, 2, lambda part: [])] == [(0, 1), (2, 2)]
    with pytest.raises(RecipeError, match="3 segments: this network can be cut in 2 at most"):
        cut(shared, takes, 3, lambda part: [])


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[int], list[int | None], list[bool]]:
    count = draw(st.integers(2, 9))
    takes = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    sizes = [draw(st.sampled_from([0, 1, 2, 5, 9, 30])) if taken else 0 for taken in takes]
    widths = draw(st.lists(st.none() | st.integers(0, 9), min_size=count - 1, max_size=count - 1))
    return sizes, [None, *widths, None], takes


def every_way(
    sizes: Sequence[int], widths: Sequence[int | None], takes: Sequence[bool], count: int
) -> list[tuple[int, int]]:
    """The largest segment, and the bytes that cross, of every way to cut."""
    inside = [place for place in range(1, len(sizes)) if widths[place] is not None]
    found = []
    for cuts in itertools.combinations(inside, count - 1):
        parts = list(itertools.pairwise((0, *cuts, len(sizes))))
        if all(any(takes[first:end]) for first, end in parts):
            found.append(
                (max(sum(sizes[first:end]) for first, end in parts), sum(widths[place] or 0 for place in cuts))
            )
    return found


@given(rows(), st.integers(2, 6))
def test_no_way_to_cut_is_better(row: tuple[list[int], list[int | None], list[bool]], count: int) -> None:
    sizes, widths, takes = row
    ways = every_way(sizes, widths, takes, count)
    if not ways:
        with pytest.raises(RecipeError, match="at most"):
            smallest_most(sizes, widths, takes, count)
        return
    most = smallest_most(sizes, widths, takes, count)
    cuts = cheapest_cuts(sizes, widths, takes, count, most)
    parts = list(itertools.pairwise((0, *cuts, len(sizes))))
    assert all(any(takes[first:end]) for first, end in parts)
    assert (max(sum(sizes[first:end]) for first, end in parts), sum(widths[place] or 0 for place in cuts)) == min(ways)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_segments_of_a_real_model_are_the_model(count: int) -> None:
    model = load(shared_file(MOVENET))
    found = place_segments(model, count)
    assert [item.first for item in found.segments] == [0, *(item.last + 1 for item in found.segments[:-1])]
    assert found.segments[-1].last == len(model.graph.ops) - 1
    assert [value.name for value in found.segments[0].reads] == list(model.graph.inputs)
    known = {value.name for value in found.segments[0].reads}
    for item in found.segments:
        assert {value.name for value in item.reads} <= known
        known |= {value.name for value in item.writes}
    assert set(model.graph.outputs) <= known
    mapped = {place for item in found.segments for place in item.mapped}
    assert {item.index for item in found.whole.mapped} <= mapped


def test_segments_are_told(cli: Cli, place: Path) -> None:
    tflite.write(layers(*[4096] * 2, depth=4096), place / "large.tflite")
    answer = cli("place", "large.tflite", "--segments", "2")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("2 segments with at most about 16.8 MB of parameters each: about ")
    assert "edgetpu_compiler --num_segments 2 large.tflite" in answer.err
    assert "keep their parameters on the chip" not in answer.err  # no number of segments helps a layer of 16 MB
    found = json.loads(cli("place", "large.tflite", "--segments", "2", "--json").out)
    assert [(item["first"], item["last"]) for item in found["segments"]] == [(0, 0), (1, 1)]
    assert found["segments"][0]["writes"] == [{"name": "y0", "bytes": 4096}]
    assert found["segments_without_streaming"] is None
    tflite.write(layers(*[1536] * 8, depth=1536), place / "many.tflite")
    assert "cut in 3, all of them would keep" in cli("place", "many.tflite", "--segments", "2").err
    found = json.loads(cli("place", "many.tflite", "--segments", "2", "--json").out)
    assert found["segments_without_streaming"] == 3
    assert "nothing is sent in every run" in cli("place", "many.tflite", "--segments", "3").out


def test_the_demo_network_in_two(cli: Cli, place: Path) -> None:
    answer = cli("place", str(DEMO), "--segments", "2", "--json")
    found = json.loads(answer.out)
    parameters = [item["parameter_bytes"] for item in found["segments"]]
    assert sum(parameters) > 0
    assert max(parameters) < sum(parameters)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["net.tflite", "--segments", "1"], "1 segments: a network is cut in 2 or more"),
        (["net.tflite", "--segments", "0"], "0 segments: a network is cut in 2 or more"),
        (["net.tflite", "--segments", "9"], "9 segments: each needs an operator that the Edge TPU runs; there are "),
        (["net.tflite", "net.tflite", "--segments", "2"], "--segments is for one model, and there are 2"),
        (["net.tflite", "--segments", "2", "--multiple-subgraphs"], "--segments does not go together with --multiple"),
        (["net.tflite", "--segments", "2", "--all"], "--all is for one model on one device"),
        (["net.tflite", "--segments", "2", "-t", "ethos_u"], "target ethos_u says nothing of one model on several"),
        (["net.tflite", "net.tflite", "-t", "ethos_u"], "target ethos_u says nothing of several models on one device"),
    ],
)
def test_what_is_refused(arguments: list[str], told: str, cli: Cli, place: Path) -> None:
    answer = cli("place", *arguments)
    assert (answer.code, answer.out) == (RecipeError.exit_code, "")
    assert told in answer.err
    assert answer.err.count("\n") == 1


def test_compiled_models_are_refused() -> None:
    model = tflite.read(shared_file(f"{PAIRS}/mobilenet_v1_0.25_128_quant_edgetpu.tflite"))
    with pytest.raises(UnsupportedError, match="already compiled, by itself"):
        place_together([model, layers(64)])
    with pytest.raises(UnsupportedError, match="already compiled, by itself"):
        place_segments(model, 2)


def test_models_that_the_compiler_refuses_are_not_cut() -> None:
    model = placed(classifier())
    assert model.refusal is None
    builder = Builder("open")
    x = builder.input("x", [1, 4], DType.INT8)
    shape = builder.input("shape", [2], DType.INT32)
    value = builder.op("RESHAPE", [x, shape], [2, 2], dtype=DType.INT8)
    with pytest.raises(UnsupportedError, match="the compiler refuses it: operator 0"):
        place_segments(builder.model([value]), 2)
