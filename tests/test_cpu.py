"""The CPU under LiteRT: which operators XNNPACK takes, and that the rules say why it leaves the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from micro_ops import KINDS, converted, floats, quantized, retyped
from small_nets import shared_file
from tersor.errors import RuntimeFailure, UnsupportedError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ir.placement import CPU
from tersor.ir.quant import PerTensor, QuantParams
from tersor.ops import OPS
from tersor.report.placement import headline
from tersor.runtimes import delegation
from tersor.runtimes.delegation import _pieces
from tersor.runtimes.isolation import Channel, Worker
from tersor.runtimes.litert import Session
from tersor.stages.place import place
from tersor.targets import cpu
from tersor.targets._rules import Rule, broken
from tersor.targets.cpu import kernels

FLAVOURS = ("int8", "int16x8", "int8_w4", "dynamic")


class Loader:
    """LiteRT in a child process, for many files one after the other."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def taken(self, model: Model) -> set[int] | None:
        """The places of the operators that XNNPACK takes; None for a file that LiteRT does not load."""
        if self._worker is None:
            self._worker = Worker("test_cpu:serve", 60)
        self._worker.doing = "loading a model"
        try:
            self._worker.send(tflite.write_bytes(model))
            found: set[int] | None = self._worker.receive()
        except RuntimeFailure:
            self.close()
            return None
        return found

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def serve(channel: Channel) -> None:
    while True:
        content = bytes(channel.receive())
        try:
            pieces = _pieces(Session(content).nodes())
        except RuntimeFailure:
            channel.send(("ok", None))
        else:
            channel.send(("ok", {index for piece in pieces for index in piece}))


@pytest.fixture(scope="module")
def loader() -> Iterator[Loader]:
    found = Loader()
    yield found
    found.close()


def assert_explained(loader: Loader, model: Model, what: str) -> bool:
    """What XNNPACK leaves breaks a rule, and what it takes breaks none. Returns whether LiteRT loads the file."""
    taken, graph = loader.taken(model), model.graph
    for index, op in enumerate(graph.ops if taken is not None else ()):
        found = broken(cpu.RULES, op, graph)
        said = None if found is None else f"{found[0].name}: {found[1]}"
        assert (index in (taken or ())) == (said is None), f"{what}, operator {index} ({op.kind}): {said}"
    return taken is not None


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_breaks_a_rule(loader: Loader, kind: str) -> None:
    loaded = 0
    for number, model in enumerate(floats(kind)):
        for dtype in (DType.FLOAT32, DType.INT8, DType.UINT8, DType.INT16, DType.INT32):
            loaded += assert_explained(loader, retyped(model, dtype), f"{kind} {number} in {dtype}")
    assert loaded or kind in ("BROADCAST_ARGS", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "REDUCE_ALL")


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in OPS and not OPS[kind].is_recurrent])
def test_what_is_left_of_what_tersor_writes_breaks_a_rule(loader: Loader, kind: str, flavour: str) -> None:
    spec = OPS[kind]
    claimed = {"int8": spec.int8, "int16x8": spec.int16, "int8_w4": spec.int4, "dynamic": spec.dynamic}
    if claimed[flavour] is None:
        return
    for number in range(len(floats(kind))):
        assert assert_explained(loader, quantized(kind, number, flavour), f"{kind} {number} as {flavour}")


@pytest.mark.parametrize("result", [DType.INT8, DType.UINT8, DType.INT16])
@pytest.mark.parametrize("source", [DType.FLOAT32, DType.INT8, DType.UINT8, DType.INT16])
def test_conversions(loader: Loader, source: DType, result: DType) -> None:
    assert_explained(loader, converted("QUANTIZE", source, result), f"{source} to {result}")


def with_computed_weights(kind: str) -> Model:
    builder = Builder(kind)
    if kind == "FULLY_CONNECTED":
        return builder.model([builder.op(kind, [builder.input("x", (1, 8)), builder.input("w", (4, 8)), None], (1, 4))])
    depthwise = kind == "DEPTHWISE_CONV_2D"
    weights = builder.input("w", (1, 3, 3, 4) if depthwise else (4, 3, 3, 4))
    operands = [builder.input("x", (1, 8, 8, 4)), weights, builder.constant("bias", np.zeros(4, np.float32))]
    options = {"stride_w": 1, "stride_h": 1} | ({"depth_multiplier": 1} if depthwise else {})
    return builder.model([builder.op(kind, operands, (1, 8, 8, 4), options)])


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_computed_weights(loader: Loader, kind: str) -> None:
    assert assert_explained(loader, with_computed_weights(kind), kind)
    assert loader.taken(with_computed_weights(kind)) == set()


# Placements


def test_what_xnnpack_takes_is_said_of_each_operator() -> None:
    builder = Builder("net")
    x = builder.op("RELU", [builder.input("x", (1, 4))], (1, 4))
    y = builder.op("ELU", [builder.op("CUMSUM", [x, builder.constant("axis", np.int32(1))], (1, 4))], (1, 4))
    placement = place(builder.model([y]), "cpu")
    assert [item.on for item in placement.operators] == [cpu.XNNPACK, CPU, cpu.XNNPACK]
    assert headline(placement) == (
        "2 of 3 operators on the CPU's fast kernels (XNNPACK); CUMSUM (operator 1) stays on LiteRT's builtin kernels: "
        "XNNPACK has no CUMSUM"
    )
    assert placement.parts == 2


def test_operator_that_no_rule_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "RULES", ())
    placement = place(quantized("SOFTMAX", 0, "int8"), "cpu")
    assert [item.reason for item in placement.left] == ["XNNPACK does not take it, for no cause that is known here"]
    assert placement.left[0].rule is None


def test_dynamic_range_is_noted() -> None:
    placement = place(quantized("FULLY_CONNECTED", 0, "dynamic"), "cpu")
    assert not placement.left
    assert placement.notes[0].startswith("1 operators have integer weights and float values (dynamic range)")


def rescaled() -> Model:
    """A TRANSPOSE that changes the scale, which XNNPACK does not refuse before it is too late."""
    model = retyped(floats("TRANSPOSE")[0], DType.INT8)
    graph = model.graph
    params = QuantParams((2.0**-6,), (1,), DType.INT8, PerTensor())
    return model.with_graph(graph.edit(tensors=[replace(graph.tensors[graph.outputs[0]], quant=params)]))


def test_file_that_loads_without_xnnpack_alone() -> None:
    placement = place(rescaled(), "cpu")
    assert placement.refusal is None
    assert not placement.mapped
    assert "failed to delegate TRANSPOSE" in placement.notes[0]
    assert "has to load the file without it" in placement.notes[0]


def test_unknown_custom_operator_is_refused() -> None:
    model = floats("ELU")[0]
    op = model.graph.ops[0]
    custom = replace(op, kind="CUSTOM", custom_code="Mine", options=None)
    placement = place(model.with_graph(model.graph.edit(replace_ops={op.name: [custom]})), "cpu")
    assert placement.refusal is not None
    assert "Mine" in placement.refusal
    assert headline(placement).startswith("nothing runs on the CPU's fast kernels (XNNPACK), LiteRT refuses the file: ")


def test_file_that_is_compiled_for_another_device() -> None:
    path = shared_file("edge_tpu_pairs/conv_N32_41287680_edgetpu.tflite")
    with pytest.raises(UnsupportedError, match=r"already compiled for the Edge TPU .* tells nothing of cpu"):
        place(tflite.read(path), "cpu")


def test_runtime_that_crashes_refuses_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def crashed(_path: Path, kernels: str) -> None:
        raise RuntimeFailure(f"the runtime crashed (SIGSEGV) while loading the model with {kernels} kernels")

    monkeypatch.setattr(delegation, "_asked", crashed)
    placement = place(floats("ELU")[0], "cpu")
    assert placement.refusal == "the runtime crashed (SIGSEGV) while loading the model with xnnpack kernels"


def test_other_graphs_and_open_sizes_are_noted() -> None:
    graph = floats("ELU")[0].graph
    name = graph.inputs[0]
    opened = graph.edit(tensors=[replace(graph.tensors[name], open_shape=(-1, -1, -1, -1))])
    notes = cpu.place(Model((opened, replace(graph, name="other")))).notes
    assert any(f"input {name} is [?,?,?,?]" in note for note in notes)
    assert any("the model has 2 graphs; only the main one was looked at" in note for note in notes)


@pytest.mark.parametrize("rule", cpu.RULES, ids=lambda rule: rule.name)
def test_rule_says_what_it_is(rule: Rule) -> None:
    assert rule.statement.endswith(".")
    assert rule.basis
    assert not rule.kinds - kernels.INTEGER - kernels.FLOAT


def test_every_operator_is_loaded() -> None:
    assert not kernels.INTEGER & kernels.FLOAT
    assert {*KINDS, "QUANTIZE", "DEQUANTIZE"} >= kernels.INTEGER | kernels.FLOAT
