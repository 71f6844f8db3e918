"""Operators of TensorFlow in a LiteRT file are what their options say, not what their code says."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from tersor.errors import FormatError, UnsupportedError
from tersor.formats.saved_model.screen import refuse_operators
from tersor.formats.tflite.flex import is_tensorflow_op, tensorflow_kinds
from tersor.ir.build import Builder
from tersor.ir.graph import Model, Op
from tersor.runtimes.engine import Engine
from tersor.stages.load import admit_tensorflow_ops, tensorflow_ops

CUMPROD = b"\x0a\x01n\x12\x07Cumprod\x1a\x01x"


def options(node: bytes) -> bytes:
    builder = flexbuffers.Builder()
    builder.VectorFromElements(["name", node.decode("latin-1")])
    return bytes(builder.Finish())


def op(code: str, custom_options: bytes | None) -> Op:
    return Op("y", "CUSTOM", ("x",), ("y",), custom_code=code, custom_options=custom_options)


def model(*ops: tuple[str, bytes | None]) -> Model:
    builder = Builder()
    y = builder.input("x", [1, 4])
    for _ in ops:
        y = builder.op("CUSTOM", [y], [1, 4])
    made = builder.model([y])
    named = zip(made.graph.ops, ops, strict=True)
    changed = tuple(replace(item, custom_code=code, custom_options=own, options=None) for item, (code, own) in named)
    return made.with_graph(replace(made.graph, ops=changed))


def test_kinds_are_those_of_the_node() -> None:
    assert tensorflow_kinds(op("FlexCumprod", options(CUMPROD))) == ("Cumprod",)
    assert tensorflow_kinds(op("FlexCumprod", options(b"\x12\x08ReadFile"))) == ("Cumprod", "ReadFile")
    # A field that stands there twice: the last one counts for Protocol Buffers, all of them for us.
    both = CUMPROD + b"\x12\x08ReadFile"
    assert tensorflow_kinds(op("FlexCumprod", options(both))) == ("Cumprod", "ReadFile")
    assert is_tensorflow_op(op("FlexCumprod", None))
    assert not is_tensorflow_op(op("Erfc", None))


@pytest.mark.parametrize("node", [b"\x12\x7fCumprod", b"\x12", b"\x13\x07Cumprod", b"\xff\xff"])
def test_damaged_nodes_are_refused(node: bytes) -> None:
    with pytest.raises(FormatError, match=r"operator 'y' \(FlexCumprod\): its options are damaged"):
        tensorflow_kinds(op("FlexCumprod", options(node.decode("latin-1").encode())))


@given(st.binary(max_size=60))
def test_any_options_are_read_or_refused(custom_options: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert tensorflow_kinds(op("FlexCumprod", custom_options))[0] == "Cumprod"


def test_models_are_admitted_by_their_operators() -> None:
    harmless = model(("FlexCumprod", options(CUMPROD)), ("FlexCumprod", options(CUMPROD)), ("Erfc", None))
    assert tensorflow_ops(harmless) == {"Cumprod": 2}
    with Engine() as engine:
        admit_tensorflow_ops(harmless, engine)
        with pytest.raises(UnsupportedError, match=r"the model: holds TensorFlow ops that reach .* \(WriteFile x1\)"):
            admit_tensorflow_ops(model(("FlexCumprod", options(b"\x12\x09WriteFile"))), engine)
        with pytest.raises(FormatError, match="damaged"):
            admit_tensorflow_ops(model(("FlexCumprod", None)), engine)


@pytest.mark.parametrize("kind", ["PyFunc", "EagerPyFunc", "MatchingFiles", "PrintV2", "SaveV2", "Recv"])
def test_what_reaches_out_is_refused(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"\({kind} x2\): it is not run"):
        refuse_operators({"Cumprod": 1, kind: 2})
