"""Where operators run: rules one by one, the cut, statuses, the real compiler's results, and what is printed."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Cli
from small_nets import DEMO, classifier, shared_file, unknown_operator
from tersor import registry
from tersor.errors import FormatError, GraphError, RecipeError, UnsupportedError
from tersor.formats import tflite
from tersor.formats.tflite.edge_tpu_package import read_package
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Tensor
from tersor.ir.placement import CPU, NOWHERE, Placement
from tersor.ir.quant import PerChannel, PerTensor, QuantParams
from tersor.ir.work import macs
from tersor.report.placement import headline, placement_to_dict
from tersor.report.targets import judged_to_dict, targets_row, targets_table
from tersor.stages.optimize import optimize
from tersor.stages.place import is_float, place
from tersor.stages.place_everywhere import Judged, place_everywhere
from tersor.targets import edge_tpu
from tersor.targets._partition import pieces
from tersor.targets._rules import Rule
from tersor.targets.edge_tpu import every, layers, shapes, statuses
from tersor.targets.edge_tpu.memory import CACHED, PARAMETERS, STREAMED

ROOT = Path(__file__).parents[1]
PAIRS = "edge_tpu_pairs"
NAMES = (
    "ASR_Model",
    "conv_N100_1485619200",
    "conv_N200_5920358400",
    "conv_N300_3350937600",
    "conv_N32_41287680",
    "conv_N40_63406080",
    "conv_N440_7185530880",
    "conv_firstTest",
    "conv_model_size_channel232",
    "conv_model_size_channel32",
    "deeplabv3_mnv2_dm05_pascal_quant",
    "keras_lstm_mnist_ptq",
    "mobilenet_v1_0.25_128_quant",
    "movenet_single_pose_lightning_ptq",
)
RELU6 = 3


@dataclass(frozen=True)
class Single:
    """A graph of one operator: shapes of computed operands, constants, and what comes out."""

    kind: str
    inputs: tuple[tuple[int, ...], ...]
    result: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    constants: tuple[Any, ...] = ()
    constants_first: bool = False
    read: DType = DType.INT8
    written: DType = DType.INT8
    version: int = 1
    zero_point: int = 0

    def model(self) -> Model:
        builder = Builder("single")
        computed: list[str | None] = [
            builder.input(f"x{place}", shape, self.read) for place, shape in enumerate(self.inputs)
        ]
        stored: list[str | None] = [builder.constant(f"c{place}", data) for place, data in enumerate(self.constants)]
        operands = stored + computed if self.constants_first else computed + stored
        made = builder.op(self.kind, operands, self.result, self.options, dtype=self.written, version=self.version)
        model = builder.model([made])
        params = QuantParams((1.0,), (self.zero_point,), DType.INT8, PerTensor())
        tensors = [
            replace(t, quant=params) for t in model.graph.tensors.values() if t.dtype is DType.INT8 and t.is_constant
        ]
        return model.with_graph(model.graph.edit(tensors=tensors))


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.int8)


def bias(count: int) -> np.ndarray[Any, Any]:
    return np.zeros(count, np.int32)


def convolution(**change: Any) -> Single:
    options = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
    given = {"options": options | change.pop("options", {}), "constants": (ones(4, 3, 3, 8), bias(4))} | change
    return Single("CONV_2D", ((1, 8, 8, 8),), (1, 8, 8, 4), **given)


def dense(rows: int = 1, **change: Any) -> Single:
    return Single("FULLY_CONNECTED", ((rows, 8),), (rows, 4), **({"constants": (ones(4, 8), bias(4))} | change))


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int32)


def resized(before: int, after: int, depth: int = 4, kind: str = "RESIZE_BILINEAR") -> Single:
    return Single(kind, ((1, before, before, depth),), (1, after, after, depth), constants=(ints(after, after),))


def mean(shape: tuple[int, ...], axes: tuple[int, ...], result: tuple[int, ...]) -> Single:
    return Single("MEAN", (shape,), result, constants=(ints(*axes),))


def sliced(strides: tuple[int, ...] = (1, 1, 1, 1), **options: int) -> Single:
    constants = (ints(0, 0, 0, 0), ints(1, 4, 4, 4), ints(*strides))
    return Single("STRIDED_SLICE", ((1, 4, 4, 4),), (1, 4, 4, 4), options, constants)


SQUARE = (1, 8, 8, 4)
HALF = (1, 4, 4, 4)
CASES: dict[str, tuple[Single, Single]] = {
    "three_dimensions": (Single("RELU", (SQUARE,), SQUARE), Single("RELU", ((2, 8, 8, 4),), (2, 8, 8, 4))),
    "quantize_from_integers": (
        Single("QUANTIZE", (SQUARE,), SQUARE, read=DType.UINT8),
        Single("QUANTIZE", (SQUARE,), SQUARE, read=DType.FLOAT32),
    ),
    "eight_bits": (
        Single("ADD", (SQUARE, SQUARE), SQUARE),
        Single("ADD", (SQUARE, SQUARE), SQUARE, read=DType.INT16, written=DType.INT16),
    ),
    "known_operator": (Single("RELU6", (SQUARE,), SQUARE), Single("HARD_SWISH", (SQUARE,), SQUARE)),
    "known_version": (dense(version=8), dense(version=9)),
    "constant_parameters": (
        dense(),
        Single("FULLY_CONNECTED", ((1, 8), (4, 8)), (1, 4), constants=(bias(4),)),
    ),
    "no_fused_activation": (
        Single("MAX_POOL_2D", (SQUARE,), HALF, {"filter_width": 2, "filter_height": 2, "stride_w": 2, "stride_h": 2}),
        Single("MAX_POOL_2D", (SQUARE,), HALF, {"filter_width": 2, "fused_activation_function": RELU6}),
    ),
    "constants_in_concatenation": (
        Single("CONCATENATION", (HALF,), (*SQUARE[:3], 8), {"axis": 3}, (5 * ones(*HALF),), zero_point=5),
        Single("CONCATENATION", (HALF,), (*SQUARE[:3], 8), {"axis": 3}, (4 * ones(*HALF),), zero_point=5),
    ),
    "even_dilation": (
        convolution(options={"dilation_w_factor": 2, "dilation_h_factor": 2}),
        convolution(options={"dilation_w_factor": 2}),
    ),
    "plain_weights": (dense(options={"weights_format": 0}), dense(options={"weights_format": 1})),
    "one_vector": (dense(), dense(2)),
    "reduce_within_sample": (mean(SQUARE, (1, 2), (1, 4)), mean(SQUARE, (0,), (8, 8, 4))),
    "channels_by_four": (mean(SQUARE, (3,), (1, 8, 8)), mean((1, 8, 8, 6), (-1,), (1, 8, 8))),
    "small_mean": (mean((1, 128, 128, 3), (1, 2), (1, 3)), mean((1, 256, 128, 3), (1, 2), (1, 3))),
    "pack_within_sample": (
        Single("PACK", ((4, 4), (4, 4)), (4, 4, 2), {"axis": 2}),
        Single("PACK", ((4, 4, 4),), (1, 4, 4, 4), {"axis": 0}),
    ),
    "alpha_per_channel": (
        Single("PRELU", (SQUARE,), SQUARE, constants=(ones(1, 1, 4),)),
        Single("PRELU", (SQUARE,), SQUARE, constants=(ones(8, 8, 4),)),
    ),
    "moderate_upscaling": (resized(4, 32), resized(1, 33)),
    "small_resize": (resized(64, 128, 32), resized(256, 512, 6)),
    "short_softmax": (
        Single("SOFTMAX", ((1, 16_000),), (1, 16_000), {"beta": 1.0}),
        Single("SOFTMAX", ((1, 16_001),), (1, 16_001), {"beta": 1.0}),
    ),
    "leading_ones": (
        Single("SQUEEZE", ((1, 1, 8, 4),), (8, 4), {"squeeze_dims": (0, 1)}),
        Single("SQUEEZE", ((1, 8, 1, 4),), (1, 8, 4), {"squeeze_dims": (2,)}),
    ),
    "plain_slice": (sliced((1, 2, 2, 1)), sliced(new_axis_mask=1)),
    "small_transpose": (
        Single("TRANSPOSE", ((1, 16, 64, 64),), (1, 64, 64, 16), constants=(ints(0, 2, 3, 1),)),
        Single("TRANSPOSE", ((1, 3, 224, 224),), (1, 224, 224, 3), constants=(ints(0, 2, 3, 1),)),
    ),
}
"""For each rule an operator that keeps it, and one that breaks it (and no other that comes first)."""


def test_every_rule_has_its_cases() -> None:
    assert set(CASES) == {rule.name for rule in edge_tpu.RULES}


@pytest.mark.parametrize("name", CASES)
def test_rule_takes_and_refuses(name: str) -> None:
    rule = next(rule for rule in edge_tpu.RULES if rule.name == name)
    good, bad = (case.model() for case in CASES[name])
    assert edge_tpu.place(good).left == ()
    left = edge_tpu.place(bad).left
    assert [(item.status, item.rule) for item in left] == [(rule.status, rule.statement)]
    assert left[0].reason
    assert left[0].remedy


@pytest.mark.parametrize("rule", edge_tpu.RULES, ids=lambda rule: rule.name)
def test_rule_says_what_it_is(rule: Rule) -> None:
    assert rule.statement.endswith(".")
    assert rule.basis
    assert rule.kinds <= every.KINDS


def test_negative_strides_are_refused() -> None:
    assert edge_tpu.place(sliced((1, -1, 1, 1)).model()).left[0].reason == "strides [1, -1, 1, 1]"


def test_weights_of_four_bits_are_refused() -> None:
    model = dense().model()
    weights = replace(model.graph.tensors["c0"], dtype=DType.INT4, data=np.zeros(16, np.uint8))
    left = edge_tpu.place(model.with_graph(model.graph.edit(tensors=[weights]))).left
    assert (left[0].status, left[0].reason) == (statuses.DATA_TYPE, "constant int4[4,8]")


@pytest.mark.parametrize("name", NAMES)
def test_forecast_is_what_the_compiler_did(name: str) -> None:
    """Operator by operator: what it left is still computed by operators of the compiled graph."""
    model = tflite.read(shared_file(f"{PAIRS}/{name}.tflite"))
    compiled = tflite.read(shared_file(f"{PAIRS}/{name}_edgetpu.tflite")).graph
    left = {output for op in compiled.ops if op.custom_code != edge_tpu.COMPILED for output in op.outputs}
    truth = [CPU if left.intersection(op.outputs) else "edge_tpu" for op in model.graph.ops]
    assert [item.on for item in place(model).operators] == truth


@pytest.mark.parametrize("name", NAMES[:10])
def test_statuses_are_counted_as_in_the_log(name: str) -> None:
    lines = shared_file(f"{PAIRS}/{name}_edgetpu.log").read_text("utf-8").splitlines()
    rows = [line.split(None, 2) for line in lines[lines.index("") + 1 :] if line and not line.startswith("Operator ")]
    counts = place(tflite.read(shared_file(f"{PAIRS}/{name}.tflite"))).counts()
    assert {(kind, status): int(count) for kind, count, status in rows} == counts


@pytest.mark.parametrize("name", ["conv_N40_63406080", "conv_N300_3350937600", "conv_N440_7185530880"])
def test_parameters_of_convolutions_are_known_to_the_byte(name: str) -> None:
    compiled = place(tflite.read(shared_file(f"{PAIRS}/{name}_edgetpu.tflite")))
    forecast = place(tflite.read(shared_file(f"{PAIRS}/{name}.tflite")))
    assert not any(item.is_estimate for item in compiled.resources)
    assert all(item.is_estimate for item in forecast.resources)
    assert forecast.amount(PARAMETERS) == compiled.amount(PARAMETERS) > 0


def test_what_does_not_fit_on_the_chip_is_sent_in_every_run() -> None:
    builder = Builder("large")
    x = builder.input("x", [1, 4096], DType.INT8)
    weights = builder.constant("w", np.zeros((4096, 4096), np.int8))
    model = builder.model([builder.op("FULLY_CONNECTED", [x, weights], [1, 4096], dtype=DType.INT8)])
    placement = edge_tpu.place(model)
    assert placement.amount(CACHED) + placement.amount(STREAMED) == placement.amount(PARAMETERS)
    assert placement.amount(STREAMED) > 8 * 1024 * 1024


def chain(*kinds_of: str) -> Model:
    """Operators one after the other, on int8[1,4]."""
    builder = Builder("chain")
    value = builder.input("x", [1, 4], DType.INT8)
    for kind in kinds_of:
        value = builder.op(kind, [value], [1, 4], dtype=DType.INT8)
    return builder.model([value])


def test_all_after_the_cut_stays_behind() -> None:
    placement = edge_tpu.place(chain("RELU", "HARD_SWISH", "TANH", "HARD_SWISH", "LOGISTIC"))
    assert [item.on for item in placement.operators] == ["edge_tpu", CPU, CPU, CPU, CPU]
    assert placement.operators[4].status == statuses.MORE_THAN_ONE_SUBGRAPH
    assert placement.operators[4].reason == "comes after operator 1 (HARD_SWISH)"
    assert placement.parts == 1


def test_several_pieces_where_they_are_asked_for() -> None:
    placement = edge_tpu.place(chain("RELU", "HARD_SWISH", "TANH", "ELU", "LOGISTIC"), multiple_subgraphs=True)
    assert [item.on for item in placement.operators] == ["edge_tpu", CPU, "edge_tpu", CPU, "edge_tpu"]
    assert placement.parts == 3


def test_what_stays_behind_first_does_not_end_the_piece() -> None:
    placement = edge_tpu.place(chain("HARD_SWISH", "TANH", "LOGISTIC"))
    assert [item.on for item in placement.operators] == [CPU, "edge_tpu", "edge_tpu"]


def test_a_branch_beside_the_cut_is_mapped() -> None:
    """In running order it comes after the operator that does not map."""
    builder = Builder("branches")
    x = builder.op("RELU", [builder.input("x", [1, 4], DType.INT8)], [1, 4], dtype=DType.INT8)
    left = builder.op("ELU", [x], [1, 4], dtype=DType.INT8)
    right = builder.op("TANH", [x], [1, 4], dtype=DType.INT8)
    both = builder.op("ADD", [left, right], [1, 4], dtype=DType.INT8)
    placement = edge_tpu.place(builder.model([both]))
    assert [item.on for item in placement.operators] == ["edge_tpu", CPU, "edge_tpu", CPU]


@st.composite
def networks(draw: st.DrawFn) -> tuple[Graph, list[bool]]:
    """Any order of operators that can run, each with up to three operands."""
    count = draw(st.integers(1, 14))
    tensors = {"x": Tensor("x", (1,), DType.INT8)}
    ops = []
    for place_ in range(count):
        operands = draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3))
        name = f"y{place_}"
        ops.append(Op(name, "RELU", tuple(operands), (name,)))
        tensors[name] = Tensor(name, (1,), DType.INT8)
    return Graph("any", tensors, tuple(ops), ("x",), (f"y{count - 1}",)), draw(
        st.lists(st.booleans(), min_size=count, max_size=count)
    )


@given(networks())
def test_pieces_run_in_their_order_and_sides_alternate(drawn: tuple[Graph, list[bool]]) -> None:
    graph, takes = drawn
    found = pieces(graph, takes)
    assert sorted(place_ for piece in found for place_ in piece.members) == list(range(len(graph.ops)))
    assert all(takes[place_] == piece.taken for piece in found for place_ in piece.members)
    assert all(one.taken != other.taken for one, other in itertools.pairwise(found))
    when = {name: turn for turn, piece in enumerate(found) for p in piece.members for name in graph.ops[p].outputs}
    for op in graph.ops:
        assert all(when[name] <= when[op.outputs[0]] for name in op.inputs if name in when)


@given(networks())
def test_nothing_behind_what_the_first_piece_left_is_mapped(drawn: tuple[Graph, list[bool]]) -> None:
    graph, takes = drawn
    kinds_of = [replace(op, kind="RELU" if taken else "ELU") for op, taken in zip(graph.ops, takes, strict=True)]
    placement = edge_tpu.place(Model((replace(graph, ops=tuple(kinds_of)),)))
    behind: set[str] = set()
    seen: set[str] = set()
    for op, item in zip(kinds_of, placement.operators, strict=True):
        if (item.on == CPU and seen.intersection(op.inputs)) or behind.intersection(op.inputs):
            behind.update(op.outputs)
            assert item.on == CPU
        elif item.on != CPU:
            seen.update(op.outputs)
        elif item.status == statuses.MORE_THAN_ONE_SUBGRAPH:
            assert item.reason


def test_operators_that_cannot_run_are_an_error() -> None:
    tensors = {name: Tensor(name, (1,), DType.INT8) for name in ("a", "b")}
    graph = Graph("loop", tensors, (Op("a", "RELU", ("b",), ("a",)), Op("b", "RELU", ("a",), ("b",))), (), ("b",))
    with pytest.raises(GraphError, match="'a' reads what is computed after it"):
        pieces(graph, [True, True])


def test_float_model_is_placed_as_it_would_be_in_int8() -> None:
    placement = place(classifier())
    assert not placement.left
    assert placement.notes[0].startswith("a float model")
    assert is_float(classifier())


def test_float_operator_without_integer_kernel_ends_the_piece() -> None:
    placement = place(unknown_operator())
    assert [item.op for item in placement.mapped] == ["FULLY_CONNECTED"]
    assert {item.status for item in placement.left} <= {statuses.DATA_TYPE, statuses.UNSPECIFIED}


def edited(model: Model, **change: Any) -> Model:
    """With the first operator changed."""
    op = model.graph.ops[0]
    return model.with_graph(model.graph.edit(replace_ops={op.name: [replace(op, **change)]}))


def test_file_compiled_for_another_device_is_refused() -> None:
    compiled = edited(chain("RELU"), kind="CUSTOM", custom_code="ethos-u")
    with pytest.raises(UnsupportedError, match=r"already compiled for an Ethos-U \(ethos-u\).*nothing of edge_tpu"):
        place(compiled)


REFUSED: dict[str, tuple[Callable[[], Model], str]] = {
    "newer than the compiler": (lambda: convolution(version=6).model(), "CONV_2D.*newer than the compiler"),
    "TensorFlow's": (lambda: edited(chain("RELU"), kind="CUSTOM", custom_code="FlexErf"), "FlexErf.*TensorFlow"),
    "computed size": (
        lambda: Single("RESHAPE", ((1, 4), (2,)), (2, 2)).model(),
        "RESHAPE.*computed while the network runs",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_do_not_compile_say_so(name: str) -> None:
    make, match = REFUSED[name]
    placement = edge_tpu.place(make())
    assert placement.refusal is not None
    assert not placement.mapped
    with pytest.raises(AssertionError, match=match):
        raise AssertionError(headline(placement))
    assert placement.operators[0].reason == placement.refusal


def test_unknown_custom_operator_stays_behind() -> None:
    model = edited(chain("RELU", "TANH"), kind="CUSTOM", custom_code="Mine")
    placement = edge_tpu.place(model)
    assert placement.operators[0].op == "Mine"
    assert placement.operators[0].status == statuses.NOT_SUPPORTED
    assert ("CUSTOM", statuses.NOT_SUPPORTED) in placement.counts()


def test_detections_in_float_stay_behind_as_in_the_compilers_log() -> None:
    """Logs of detection networks have it as an unsupported data type, though no custom operator is supported."""
    builder = Builder("detection")
    scores = builder.op("LOGISTIC", [builder.input("x", [1, 4], DType.INT8)], [1, 4], dtype=DType.INT8)
    boxes = builder.op("CUSTOM", [scores], [1, 4], dtype=DType.FLOAT32)
    model = builder.model([boxes])
    graph = model.graph
    found = replace(graph.ops[1], custom_code="TFLite_Detection_PostProcess")
    placement = edge_tpu.place(model.with_graph(graph.edit(replace_ops={graph.ops[1].name: [found]})))
    assert [item.status for item in placement.operators] == [statuses.MAPPED, statuses.DATA_TYPE]
    assert placement.operators[1].op == "TFLite_Detection_PostProcess"
    assert placement.operators[1].remedy == "nothing, if it ends the network: all before it is mapped"


def test_stacking_beyond_three_dimensions_ends_the_piece() -> None:
    """Upsampling by PACK and RESHAPE, as some detection networks have it."""
    builder = Builder("stacked")
    x = builder.op("RELU", [builder.input("x", [1, 4, 4, 8], DType.INT8)], [1, 4, 4, 8], dtype=DType.INT8)
    twice = builder.op("PACK", [x, x], [1, 4, 4, 2, 8], {"axis": 3, "values_count": 2}, dtype=DType.INT8)
    wide = builder.op("RESHAPE", [twice, builder.constant("s", ints(1, 4, 8, 8))], [1, 4, 8, 8], dtype=DType.INT8)
    placement = edge_tpu.place(builder.model([wide]))
    assert [item.status for item in placement.operators] == [statuses.MAPPED, statuses.RANK, statuses.RANK]


def test_open_sizes_and_several_graphs_are_noted() -> None:
    model = chain("RELU")
    graph = model.graph.edit(tensors=[replace(model.graph.tensors["x"], open_shape=(-1, -1))])
    placement = edge_tpu.place(Model((graph, graph)))
    assert placement.notes == (
        "the model has 2 graphs; only the main one can run on the Edge TPU",
        "input x is [?,?]: judged with the sizes that the file states; fix them first",
    )


def test_an_open_batch_is_taken() -> None:
    model = chain("RELU")
    graph = model.graph.edit(tensors=[replace(model.graph.tensors["x"], open_shape=(-1, 4))])
    placement = edge_tpu.place(Model((graph,)))
    assert not placement.left
    assert placement.notes == ()


def test_compiled_file_is_recognized() -> None:
    placement = place(tflite.read(shared_file(f"{PAIRS}/deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite")))
    assert len(placement.mapped) == 1
    assert len(placement.left) == 8
    assert "already compiled" in placement.notes[0]
    assert math.isnan(placement.share_of_macs)
    assert placement.amount(PARAMETERS) == 766_720


def test_damaged_package_is_an_error() -> None:
    compiled = tflite.read(shared_file(f"{PAIRS}/conv_N32_41287680_edgetpu.tflite"))
    options = next(op.custom_options for op in compiled.graph.ops if op.custom_options)
    assert read_package(options).cached == 10_880
    begin = options.index(b"DWN1")
    with pytest.raises(FormatError, match="holds no package"):
        read_package(b"nothing")
    for length in range(begin, begin + 400, 7):
        with pytest.raises(FormatError, match="is damaged"):
            read_package(options[:length] if b"DWN1" in options[:length] else options[: begin + 4])


@pytest.mark.parametrize("seed", range(20))
def test_rubbish_in_a_package_is_an_error_or_a_number(seed: int) -> None:
    compiled = tflite.read(shared_file(f"{PAIRS}/conv_N32_41287680_edgetpu.tflite"))
    options = bytearray(next(op.custom_options for op in compiled.graph.ops if op.custom_options) or b"")
    begin = options.index(b"DWN1")
    numbers = np.random.default_rng(seed)
    for place_ in numbers.integers(begin + 4, begin + 200, 20):
        options[place_] = numbers.integers(256)
    with contextlib.suppress(FormatError):
        assert read_package(bytes(options)).streamed >= 0


def test_unknown_target() -> None:
    with pytest.raises(RecipeError, match=r"unknown target 'toaster': there are cpu, edge_tpu, .*micro"):
        place(classifier(), "toaster")


def test_headline_and_json() -> None:
    placement = edge_tpu.place(chain("RELU", "ELU", "TANH"))
    assert headline(placement) == (
        "1 of 3 operators on the Edge TPU; ELU (operator 1) stays on the CPU: the Edge TPU has no ELU, and 1 more "
        "stays there"
    )
    found = json.loads(json.dumps(placement_to_dict(placement)))
    assert found["target"] == "edge_tpu"
    assert [item["on"] for item in found["operators"]] == ["edge_tpu", "cpu", "cpu"]
    assert [item["index"] for item in found["operators"]] == [0, 1, 2]
    assert found["operators"][0]["reason"] is None
    assert found["operators"][1]["reason"] == "the Edge TPU has no ELU"
    assert found["log"] == [
        {"operator": "ELU", "count": 1, "status": "Operation not supported"},
        {"operator": "RELU", "count": 1, "status": "Mapped to Edge TPU"},
        {"operator": "TANH", "count": 1, "status": "More than one subgraph is not supported"},
    ]


def test_share_of_macs() -> None:
    placement = edge_tpu.place(convolution().model())
    assert placement.share_of_macs == 1
    assert headline(placement) == "the one operator is on the Edge TPU"
    assert math.isnan(Placement("edge_tpu", "Edge TPU", ()).share_of_macs)


def test_command(cli: Cli) -> None:
    run = cli("place", str(DEMO), "--target", "edge_tpu")
    assert run.code == 0
    assert run.out.startswith("1 of 31 operators on the Edge TPU, 2.8 % of MACs; HARD_SWISH (operator 1) stays on")
    assert "12 HARD_SWISH" in run.out
    assert "a float model" in run.err
    listed = cli("place", str(DEMO), "-t", "edge_tpu", "--all")
    assert len(listed.out.splitlines()) == 33
    found = json.loads(cli("place", str(DEMO), "-t", "edge_tpu", "--json").out)
    assert len(found["operators"]) == 31
    several = json.loads(cli("place", str(DEMO), "-t", "edge_tpu", "--json", "--multiple-subgraphs").out)
    assert several["parts"] == 13


def test_command_refuses_what_it_cannot_do(cli: Cli, tmp_path: Path) -> None:
    run = cli("place", str(DEMO), "--target", "toaster")
    assert run.code == RecipeError.exit_code
    assert "unknown target 'toaster'" in run.err
    text = tmp_path / "model.tflite"
    text.write_text("no model")
    assert cli("place", str(text)).code == FormatError.exit_code


# every target


def targets(model: Model, **options: object) -> dict[str, Judged]:
    return {item.target: item for item in place_everywhere(model, **options)}


def test_every_target_says_something() -> None:
    judged = targets(classifier())
    assert set(judged) == set(registry.names("targets"))
    assert {"cpu", "edge_tpu", "micro"} <= set(judged)
    assert judged["edge_tpu"].flavour == "int8"
    assert judged["cpu"].flavour is None
    rows = {name: targets_row(item) for name, item in judged.items()}
    assert rows["edge_tpu"][0] == "edge_tpu (as int8)"
    count = len(optimize(classifier()).graph.ops)
    assert rows["cpu"][1:3] == (f"{count} of {count}", "100.0 %")
    assert targets_table(judged.values()).row_count == len(judged)


@pytest.mark.parametrize("target", ["cpu", "edge_tpu", "micro"])
def test_target_keeps_the_contract(target: str) -> None:
    module = registry.plugin("targets", target)
    assert target == module.NAME
    placement = place(classifier(), target)
    assert (placement.target, placement.device) == (target, module.DEVICE)
    assert [item.index for item in placement.operators] == list(range(len(placement.operators)))
    assert all((item.reason is None) == (item.on not in (CPU, NOWHERE)) for item in placement.operators)
    assert len({rule.name for rule in module.RULES}) == len(module.RULES)


def test_target_that_cannot_judge_does_not_keep_others_from_it() -> None:
    compiled = edited(chain("RELU"), kind="CUSTOM", custom_code="edgetpu-custom-op")
    judged = targets(compiled)
    assert judged["edge_tpu"].error is not None or judged["edge_tpu"].placement is not None
    assert judged["cpu"].placement is None
    assert judged["cpu"].why.startswith("already compiled for the Edge TPU (edgetpu-custom-op)")
    assert targets_row(judged["cpu"])[4].startswith("not judged: already compiled")
    assert judged_to_dict(judged["cpu"])["operators"] == []


def test_refused_by_one_target_alone() -> None:
    judged = targets(edited(chain("RELU", "TANH"), kind="CUSTOM", custom_code="Mine"))
    assert targets_row(judged["micro"])[1] == "none"
    assert targets_row(judged["micro"])[4].startswith("TensorFlow Lite Micro refuses it: Mine (operator 0): custom")
    assert targets_row(judged["edge_tpu"])[4].startswith("Mine (operator 0)")
    assert "LiteRT refuses it" in targets_row(judged["cpu"])[4]  # it has no kernel for it either
    assert "Mine" in targets_row(judged["cpu"])[4]


def test_options_reach_the_targets_that_have_them() -> None:
    judged = targets(chain("RELU", "ELU", "TANH"), multiple_subgraphs=True)["edge_tpu"]
    assert judged.placement is not None
    assert judged.placement.parts == 2
    with pytest.raises(RecipeError, match=r"no target has an option speed; there are .*multiple_subgraphs"):
        place_everywhere(classifier(), speed=1)
    with pytest.raises(RecipeError, match="target micro has no option multiple_subgraphs; its options: none"):
        place(classifier(), "micro", multiple_subgraphs=True)


def test_command_without_a_target(cli: Cli, tmp_path: Path) -> None:
    run = cli("place", str(DEMO))
    assert run.code == 0
    assert run.out.splitlines()[0].split()[:3] == ["target", "operators", "MACs"]
    assert "edge_tpu (as int8)" in run.out
    assert f"tersor place {DEMO} --target edge_tpu" in run.err
    found = json.loads(cli("place", str(DEMO), "--json").out)
    assert [item["target"] for item in found["targets"]] == registry.names("targets")
    assert all(item["error"] is None for item in found["targets"])
    assert {item["on"] for item in found["targets"][0]["operators"]} == {"xnnpack"}
    refused = cli("place", str(DEMO), "--all")
    assert refused.code == RecipeError.exit_code
    assert "say which with --target" in refused.err


def test_open_shapes_are_placed_everywhere() -> None:
    model = chain("RELU")
    graph = model.graph.edit(tensors=[replace(model.graph.tensors["x"], open_shape=(-1, -1))])
    for name, judged in targets(Model((graph,))).items():
        assert judged.placement is not None, name
        assert any("input x is [?,?]" in note for note in judged.placement.notes), name


def test_work_of_layers_with_state() -> None:
    builder = Builder("svdf")
    constants = [builder.constant("f", ones(4, 3)), builder.constant("t", ones(4, 5))]
    model = builder.model([builder.op("SVDF", [builder.input("x", (2, 3)), *constants], (2, 4))])
    assert macs(model.graph, model.graph.ops[0]) == 2 * (4 * 3 + 4 * 5)


def test_benchmark_names_pairs_that_it_cannot_read(tmp_path: Path) -> None:
    """A pair by hand, whose compiled part is rubbish."""
    model = chain("RELU", "TANH")
    graph = model.graph
    (tmp_path / "net.tflite").write_bytes(tflite.write_bytes(model))
    custom = Op("relu", "CUSTOM", ("x",), ("relu",), custom_code=edge_tpu.COMPILED, custom_options=b"1234DWN1")
    compiled = graph.edit(replace_ops={"relu": [custom]})
    (tmp_path / "net_edgetpu.tflite").write_bytes(tflite.write_bytes(model.with_graph(compiled)))
    script = ROOT / "benchmarks" / "edge_tpu_pairs.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "net.tflite: edgetpu-custom-op is damaged" in done.stderr
    empty = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "none")], capture_output=True, text=True, timeout=120, check=False
    )
    assert "no pair of" in empty.stderr


def test_scales_per_channel_of_a_dense_layer_are_noted() -> None:
    model = dense().model()
    params = QuantParams((1.0, 2.0, 3.0, 4.0), (0, 0, 0, 0), DType.INT8, PerChannel(0))
    weights = replace(model.graph.tensors["c0"], quant=params)
    notes = edge_tpu.place(model.with_graph(model.graph.edit(tensors=[weights]))).notes
    assert notes[0].startswith("FULLY_CONNECTED (operator 0) has a scale per channel")
    assert edge_tpu.place(model).notes == ()


def test_limits_are_those_that_the_rules_state() -> None:
    stated = {rule.name: rule.statement for rule in edge_tpu.RULES}
    assert f"{layers.MOST_SOFTMAX:,}" in stated["short_softmax"]
    assert f"{shapes.MOST_TRANSPOSED:,}" in stated["small_transpose"]
    assert f"{shapes.MOST_AVERAGED:,}" in stated["small_mean"]
    assert f"{shapes.MOST_RESIZED:,}" in stated["small_resize"]
    assert f"at most {shapes.MOST_UPSCALING} times" in stated["moderate_upscaling"]
