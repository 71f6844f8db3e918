"""Microcontrollers: each rule against the real TensorFlow Lite Micro, and what a placement says of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from micro_ops import KINDS, TYPES, Micro, converted, floats, quantized, retyped
from small_nets import DEMO, classifier, shared_file, unknown_operator
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
from tersor.stages.place import place
from tersor.targets import micro
from tersor.targets._rules import Rule, broken
from tersor.targets.micro import every, kernels
from test_recurrent import VARIANTS, lstm_model, through_file

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
        found = broken(micro.RULES, op, model.graph)
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
