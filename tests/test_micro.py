"""Microcontrollers: each rule against the real TensorFlow Lite Micro, and what a placement says of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from integer_nets import BUILDS, PADDED_BLOCKS, IntegerNet
from micro_ops import KINDS, TYPES, Micro, converted, floats, quantized, retyped
from recurrent_nets import VARIANTS, lstm_model, through_file
from small_nets import DEMO, classifier, shared_file
from tersor.errors import RuntimeFailure, UnsupportedError
from tersor.formats import tflite
from tersor.formats.c_array.operators import CALLS
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model
from tersor.ir.placement import NOWHERE, Placement
from tersor.ir.quant import PerChannel, PerTensor, QuantParams
from tersor.ops import LSTM_GATES, OPS
from tersor.report.placement import headline
from tersor.runtimes import tflite_micro
from tersor.runtimes.engine import Engine
from tersor.runtimes.made_up import samples_for
from tersor.stages.export import export_c
from tersor.stages.measure_arena import arena_bytes
from tersor.stages.place import place
from tersor.targets import micro
from tersor.targets._rules import Rule, broken
from tersor.targets.micro import answers, every, kernels

needs_micro = pytest.mark.skipif(not tflite_micro.is_installed(), reason="tflite-micro is not installed")

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Micro]:
    found = Micro()
    yield found
    found.close()


def blame(model: Model) -> str | None:
    """The first rule that an operator of a model breaks, and what was seen."""
    for op in model.graph.ops:
        found = broken(micro.REFUSING, op, model.graph)
        if found is not None:
            return f"{op.kind}: {found[0].name}: {found[1]}"
    return None


def assert_same(interpreter: Micro, model: Model, what: str) -> None:
    """The rules take a model if, and only if, the interpreter runs it."""
    said, ours = interpreter.refusal(model), blame(model)
    assert (said is None) == (ours is None), f"{what}: the interpreter says {said!r}, the rules say {ours!r}"


@needs_micro
@pytest.mark.parametrize("kind", KINDS)
def test_rules_say_what_the_interpreter_says(interpreter: Micro, kind: str) -> None:
    for number, model in enumerate(floats(kind)):
        for dtype in TYPES:
            assert_same(interpreter, retyped(model, dtype), f"{kind} {number} in {dtype}")


CASES = [
    (kind, flavour)
    for kind, spec in OPS.items()
    if not spec.is_recurrent
    for flavour, version in {
        "int8": spec.int8,
        "int16x8": spec.int16,
        "int8_w4": spec.int4,
        "dynamic": spec.dynamic,
    }.items()
    if version is not None
]


@needs_micro
@pytest.mark.parametrize(("kind", "flavour"), CASES)
def test_rules_say_it_of_what_tersor_writes(interpreter: Micro, kind: str, flavour: str) -> None:
    for number in range(len(floats(kind))):
        assert_same(interpreter, quantized(kind, number, flavour), f"{kind} {number} as {flavour}")


@needs_micro
@pytest.mark.parametrize("kind", ["QUANTIZE", "DEQUANTIZE", "CAST"])
def test_conversions_are_those_of_the_interpreter(interpreter: Micro, kind: str) -> None:
    types = (*TYPES, DType.UINT32) if kind == "CAST" else TYPES
    results = [DType.FLOAT32] if kind == "DEQUANTIZE" else types
    for source in types:
        for result in results:
            assert_same(interpreter, converted(kind, source, result), f"{kind} {source} to {result}")


@needs_micro
@pytest.mark.parametrize("name", VARIANTS)
def test_recurrent_layers(interpreter: Micro, name: str) -> None:
    model = through_file(lstm_model(VARIANTS[name]))
    assert_same(interpreter, model, name)
    assert (blame(model) is None) == (name in ("plain", "batch", "time_major", "clipped", "small_cell", "large_input"))


def test_every_kernel_has_a_row() -> None:
    """And a rule that looks at types, a test above, or is one of those that look at none."""
    converting, known = set(kernels.CONVERSIONS), set(kernels.TYPES)
    assert not known & kernels.ANY_TYPE
    assert known | converting | kernels.ANY_TYPE | kernels.STATEFUL == set(CALLS)
    tested = {*KINDS, *kernels.CONVERSIONS, "DEQUANTIZE", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
    assert set(CALLS) - tested == kernels.STATEFUL


@pytest.mark.parametrize("rule", micro.RULES, ids=lambda rule: rule.name)
def test_rule_says_what_it_is(rule: Rule) -> None:
    assert rule.statement.endswith(".")
    assert rule.basis
    assert rule.kinds <= set(CALLS)


def single(kind: str, shapes: list[tuple[int, ...]], result: tuple[int, ...], *constants: Any, **options: Any) -> Model:
    builder = Builder(kind)
    operands = [builder.input(f"x{place}", shape) for place, shape in enumerate(shapes)]
    operands += [builder.constant(f"c{place}", values) for place, values in enumerate(constants)]
    return builder.model([builder.op(kind, operands, result, options)])


def computed(kind: str, operand: Any, result: tuple[int, ...]) -> Model:
    """With its second operand an input."""
    builder = Builder(kind)
    values = np.asarray(operand, np.int32)
    operands = [builder.input("x", (1, 4, 4, 2)), builder.input("sizes", values.shape, DType.INT32)]
    return builder.model([builder.op(kind, operands, result)])


def with_four_bits(scales: int) -> Model:
    builder = Builder("dense")
    x = builder.input("x", (1, 8), DType.INT8)
    weights = builder.constant("w", np.zeros((4, 8), np.int8))
    model = builder.model([builder.op("FULLY_CONNECTED", [x, weights, None], (1, 4), dtype=DType.INT8)])
    graph = model.graph
    form = PerTensor() if scales == 1 else PerChannel(0)
    quant = QuantParams((0.5,) * scales, (0,) * scales, DType.INT4, form)
    whole = QuantParams((0.5,), (0,), DType.INT8, PerTensor())
    packed = replace(graph.tensors["w"], dtype=DType.INT4, quant=quant).with_data(np.zeros(16, np.uint8))
    others = [replace(tensor, quant=whole) for name, tensor in graph.tensors.items() if name != "w"]
    return model.with_graph(graph.edit(tensors=[packed, *others]))


def int16_prelu(alpha: DType) -> Model:
    model = retyped(floats("PRELU")[0], DType.INT16)
    graph = model.graph
    name = graph.ops[0].inputs[1]
    assert name is not None
    params = QuantParams((2.0**-7,), (0,), alpha, PerTensor())
    tensor = replace(graph.tensors[name], dtype=alpha, quant=params)
    return model.with_graph(graph.edit(tensors=[tensor.with_data(np.ones(tensor.shape, alpha.numpy))]))


def joined(count: int, **options: int) -> Model:
    return single("CONCATENATION", [(1, 2)] * count, (1, 2 * count), axis=1, **options)


PADS = [[0, 0]] * 6
FORMS: dict[str, tuple[Callable[[], Model], Callable[[], Model]]] = {
    "known_kernel": (
        lambda: single("RELU", [(1, 4)], (1, 4)),
        lambda: single("GELU", [(1, 4)], (1, 4)),
    ),
    "constant_sizes": (
        lambda: single("RESIZE_BILINEAR", [(1, 4, 4, 2)], (1, 8, 8, 2), np.array([8, 8], np.int32)),
        lambda: computed("RESIZE_BILINEAR", [8, 8], (1, 8, 8, 2)),
    ),
    "few_dimensions": (
        lambda: single("PAD", [(1, 1, 2, 2, 2)], (1, 1, 2, 2, 2), np.array(PADS[:5], np.int32)),
        lambda: single("PAD", [(1, 1, 1, 2, 2, 2)], (1, 1, 1, 2, 2, 2), np.array(PADS, np.int32)),
    ),
    "one_scale_of_four_bits": (lambda: with_four_bits(1), lambda: with_four_bits(4)),
    "eight_bits_of_alpha": (lambda: int16_prelu(DType.INT8), lambda: int16_prelu(DType.INT16)),
    "few_joined": (lambda: joined(10), lambda: joined(11)),
    "no_fused_activation": (lambda: joined(2), lambda: joined(2, fused_activation_function=1)),
}
"""A model that keeps the rule, and one that breaks it (and none before it)."""


@needs_micro
@pytest.mark.parametrize("name", FORMS)
def test_rule_is_the_interpreters(interpreter: Micro, name: str) -> None:
    good, bad = (make() for make in FORMS[name])
    assert_same(interpreter, good, name)
    assert blame(good) is None
    assert_same(interpreter, bad, name)
    assert (blame(bad) or "").split(": ")[1] == name


@needs_micro
@pytest.mark.parametrize("kind", kernels.DIMENSIONS)
def test_many_dimensions(interpreter: Micro, kind: str) -> None:
    for count in (kernels.DIMENSIONS[kind], kernels.DIMENSIONS[kind] + 1):
        order, ones = np.arange(count, dtype=np.int32), np.ones(count, np.int32)
        pads, zeros = np.zeros((count, 2), np.int32), np.zeros(count, np.int32)
        constants: dict[str, list[Any]] = {
            "TRANSPOSE": [order],
            "PAD": [pads],
            "PADV2": [pads, np.float32(1)],
            "STRIDED_SLICE": [zeros, ones, ones],
        }
        model = single(kind, [(1,) * count], (1,) * count, *constants[kind])
        assert_same(interpreter, model, f"{kind}, {count} dimensions")


@needs_micro
@pytest.mark.parametrize("kind", ["CONV_2D", "MEAN", "FULLY_CONNECTED", "EMBEDDING_LOOKUP", "ARG_MAX", "RELU"])
def test_arena_is_measured_though_the_interpreter_crashes_in_smaller_ones(kind: str) -> None:
    model = quantized(kind, 0, "int8")
    content = tflite.write_bytes(model)
    found = tflite_micro.measure(content, samples_for(model.graph, 1))
    assert len(found.outputs) == 1
    assert found.arena_bytes % 16 == 0
    assert tflite_micro.measure(content, ()).arena_bytes == found.arena_bytes


# Placements


@needs_micro
def test_what_runs_is_measured() -> None:
    placement = place(tflite.read(DEMO.with_suffix(".tflite")), "micro")
    assert headline(placement) == "all 30 operators are on the microcontroller"
    assert {item.on for item in placement.operators} == {"micro"}
    sizes = {item.name: item for item in placement.resources}
    assert sizes[micro.FLASH].amount == DEMO.with_suffix(".tflite").stat().st_size
    assert not any(item.is_estimate for item in sizes.values())
    biggest = max(tensor.elements * 4 for op in _ops(DEMO) for tensor in op)
    assert biggest < sizes[micro.ARENA].amount < 1 << 20


def _ops(path: Any) -> list[list[Any]]:
    graph = tflite.read(path.with_suffix(".tflite")).graph
    return [[graph.tensors[name] for name in op.outputs] for op in graph.ops]


def test_without_the_interpreter_rules_alone_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_micro, "is_installed", lambda: False)
    placement = place(classifier(), "micro")
    assert placement.refusal is None
    assert [item.name for item in placement.resources] == [micro.FLASH]
    assert any("by rules alone" in note and "pip install 'tersor[micro]'" in note for note in placement.notes)


def test_one_operator_without_a_kernel_and_nothing_runs() -> None:
    builder = Builder("gelu")
    hidden = builder.op("GELU", [builder.op("RELU", [builder.input("x", (1, 4))], (1, 4))], (1, 4))
    placement = place(builder.model([builder.op("TANH", [hidden], (1, 4))]), "micro")
    assert placement.refusal is not None
    left = placement.left
    assert [item.on for item in left] == [NOWHERE]
    assert placement.refusal == f"{left[0].op} (operator {left[0].index}): {left[0].reason}"
    assert headline(placement).startswith(
        "nothing runs on the microcontroller, TensorFlow Lite Micro refuses the file:"
    )
    assert left[0].remedy
    assert {item.on for item in placement.mapped} == {"micro"}


def test_custom_operator_is_yours_to_add() -> None:
    model = single("RELU", [(1, 4)], (1, 4))
    op = model.graph.ops[0]
    custom = replace(op, kind="CUSTOM", custom_code="Mine", options=None)
    found = micro.place(model.with_graph(model.graph.edit(replace_ops={op.name: [custom]})))
    assert found.left[0].reason == "custom operator Mine"
    assert "register a kernel of your own" in (found.left[0].remedy or "")


def test_operator_of_another_graph_is_named() -> None:
    good, bad = single("RELU", [(1, 4)], (1, 4)), single("GELU", [(1, 4)], (1, 4))
    found = micro.place(Model((good.graph, replace(bad.graph, name="body"))))
    assert found.refusal == "GELU (operator 0 of graph 1): there is no kernel for GELU"
    assert not found.left


def test_open_sizes_are_noted() -> None:
    model = single("RELU", [(1, 4)], (1, 4))
    graph: Graph = model.graph
    opened = model.with_graph(graph.edit(tensors=[replace(graph.tensors["x0"], open_shape=(-1, -1))]))
    assert "input x0 is [?,?]" in micro.place(opened).notes[0]


def test_file_of_another_compiler_is_refused() -> None:
    path = shared_file("edge_tpu_pairs/conv_N32_41287680_edgetpu.tflite")
    with pytest.raises(UnsupportedError, match=r"already compiled for the Edge TPU .* tells nothing of micro"):
        place(tflite.read(path), "micro")


def refused_with(monkeypatch: pytest.MonkeyPatch, said: str) -> Placement:
    def measure(*_: object) -> None:
        raise RuntimeFailure(said)

    monkeypatch.setattr(tflite_micro, "is_installed", lambda: True)
    monkeypatch.setattr(tflite_micro, "measure", measure)
    return micro.place(single("RELU", [(1, 4)], (1, 4)))


def test_refusal_that_no_rule_foresaw_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "no luck; Node RELU (number 0) failed to prepare with status 1"
    found = refused_with(monkeypatch, f"TensorFlow Lite Micro refuses the model: {said}")
    assert found.refusal == f"{said}, although no rule says so"
    assert found.operators[0].on == NOWHERE
    assert found.operators[0].status == micro.REFUSED


def test_values_that_are_made_up_refuse_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Rsqrt is only defined for positive values; Node RSQRT (number 0) failed to invoke with status 1"
    found = refused_with(monkeypatch, said)
    assert found.refusal is None
    assert any(note.startswith("it could not be measured, since values had to be made up") for note in found.notes)


@needs_micro
def test_large_models_are_allocated_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro, "_MOST_MACS", 0)
    found = place(classifier(), "micro")
    assert any(note.startswith("allocated, but not run") for note in found.notes)
    assert found.amount(micro.ARENA) > 0


def test_models_of_no_microcontroller_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro, "WEIGHTS_MATTER", 100)
    monkeypatch.setattr(tflite_micro, "is_installed", lambda: True)
    found = place(classifier(), "micro")
    assert any("no microcontroller has flash" in note for note in found.notes)


def test_advice_names_what_to_do() -> None:
    for kind in ("GELU", "NEG", "EXP", "CUMSUM", "RANK", "CONV_3D"):
        model = retyped(single(kind, [(1, 4)], (1, 4)), DType.INT16)
        assert every.advice(model.graph.ops[0], model.graph)


def test_gates_are_those_of_the_table() -> None:
    assert {gate.peephole for gate in LSTM_GATES.values()} == {None, 9, 10, 11}


# Operators that run, and answer nonsense


def integers(build: Callable[[IntegerNet], Any], dtype: DType = DType.INT8) -> Model:
    net = IntegerNet(1, dtype)
    return tflite.read_bytes(net.file(build(net)))


def greater(net: IntegerNet) -> str:
    a = net.input([1, 60], (0.01, 0))
    return net.builder.op("GREATER", [a, net.input([1, 60], (0.01, 0))], [1, 60], dtype=DType.BOOL)


def relu6(*scaled: tuple[float, int]) -> Callable[[IntegerNet], str]:
    return lambda net: net.op("RELU6", [net.input([1, 60], scaled[0])], [1, 60], scaled[-1])


ANSWERS: dict[str, tuple[Model, Model]] = {
    "numbers_that_are_set": (integers(greater), integers(greater, DType.INT16)),
    "blocks_without_padding": (integers(BUILDS["SPACE_TO_BATCH_ND"][0]), integers(PADDED_BLOCKS)),
    "clips_in_its_own_scale": (integers(relu6((0.1, -3))), integers(relu6((0.1, -3), (6 / 255, -128)))),
}
"""A model that keeps the rule, and one that breaks it."""


def test_every_rule_of_answers_has_its_models() -> None:
    assert set(ANSWERS) == {rule.name for rule in answers.RULES}


@needs_micro
@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_said_to_answer_nonsense_does(name: str, engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    for model, is_right in zip(ANSWERS[name], (True, False), strict=True):
        tflite.write(model, path)
        net = IntegerNet(2, DType.INT8)
        ports = [model.graph.tensor(name) for name in model.graph.inputs]
        samples = [[net.feed(port.shape, port.dtype) for port in ports] for _ in range(4)]
        found = []
        for kernel_set in ("builtin", "micro"):
            handle = engine.open(str(path), kernel_set)
            found.append(list(handle.run_all(samples)))
            handle.close()
        same = all(np.array_equal(a, b) for one, two in zip(*found, strict=True) for a, b in zip(one, two, strict=True))
        assert same is is_right
        placement = place(model, "micro")
        assert (placement.refusal is None) is is_right
        assert [item.status for item in placement.left] == ([] if is_right else [answers.NONSENSE])
        if is_right:
            export_c(path, tmp_path / "c")
            continue
        assert placement.left[0].rule == next(rule.statement for rule in answers.RULES if rule.name == name)
        for refused in (lambda: arena_bytes(tflite.read(path), path), lambda: export_c(path, tmp_path / "wrong")):
            with pytest.raises(UnsupportedError, match="TensorFlow Lite Micro answers nonsense for"):
                refused()
        assert not (tmp_path / "wrong").exists()


def quotients(net: IntegerNet) -> str:
    """With divisors far larger than the numerator's steps."""
    a, b = net.input([1, 60], (0.01, 0)), net.input([1, 60], (0.02, -128))
    return net.op("DIV", [a, b], [1, 60], (0.1, 0))


@pytest.mark.parametrize("target", ["cpu", "micro"])
def test_scales_that_kernels_cannot_do_with_are_noted(target: str) -> None:
    notes = place(integers(quotients), target).notes
    assert any("answers nonsense where its numerator is below 0.16 and not 0" in note for note in notes), notes
    fine = integers(
        lambda net: net.op("DIV", [net.input([1, 6], (0.01, 0)), net.input([1, 6], (0.02, 100))], [1, 6], (0.001, 0))
    )
    assert not any("nonsense" in note for note in place(fine, target).notes)


@pytest.mark.parametrize(("target", "is_said"), [("cpu", False), ("micro", True)])
def test_a_sigmoid_in_fixed_point_is_noted_where_it_is(target: str, is_said: bool) -> None:
    model = integers(lambda net: net.op("LOGISTIC", [net.input([1, 60], (9.0, 0))], [1, 60], (1 / 256, -128)))
    assert any("overflows for steps over 4" in note for note in place(model, target).notes) is is_said
