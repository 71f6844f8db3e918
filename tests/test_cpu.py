"""The CPU under LiteRT: which operators XNNPACK takes, and that the rules say why it leaves the others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from micro_ops import KINDS, converted, floats, quantized, retyped
from tersor.errors import RuntimeFailure
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ops import OPS
from tersor.runtimes.delegation import _pieces
from tersor.runtimes.isolation import Channel, Worker
from tersor.runtimes.litert import Session
from tersor.targets import cpu
from tersor.targets._rules import broken

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
            channel.send(("ok", {place for piece in pieces for place in piece}))


@pytest.fixture(scope="module")
def loader() -> Iterator[Loader]:
    found = Loader()
    yield found
    found.close()


def assert_explained(loader: Loader, model: Model, what: str) -> bool:
    """What XNNPACK leaves breaks a rule, and what it takes breaks none. Returns whether LiteRT loads the file."""
    taken, graph = loader.taken(model), model.graph
    for place, op in enumerate(graph.ops if taken is not None else ()):
        found = broken(cpu.RULES, op, graph)
        said = None if found is None else f"{found[0].name}: {found[1]}"
        assert (place in (taken or ())) == (said is None), f"{what}, operator {place} ({op.kind}): {said}"
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
