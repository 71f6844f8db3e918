"""Model file -> the memory that a microcontroller's interpreter needs for it, measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tersor.errors import RuntimeFailure, UnsupportedError
from tersor.formats.c_array.operators import operators
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.runtimes import tflite_micro
from tersor.runtimes.engine import Engine
from tersor.runtimes.made_up import samples_for
from tersor.targets._rules import broken
from tersor.targets.micro import answers

_SAMPLES = 4
"""Random samples on which the microcontroller's kernels are compared with LiteRT's."""


@dataclass(frozen=True)
class Arena:
    """What was measured.

    Attributes:
        size_bytes: of the tensor arena; None if nothing was measured.
        notes: how it was, or why not.
    """

    size_bytes: int | None
    notes: tuple[str, ...]


def measure_arena(model: Model, content: bytes, path: Path, *, custom: tuple[str, ...]) -> Arena:
    """Run a model in TensorFlow Lite Micro, where that is installed, next to LiteRT.

    Args:
        model: as read from the file.
        content: what goes to the device.
        path: the file, for LiteRT.
        custom: operators whose kernels are elsewhere.

    Raises RuntimeFailure if it refuses the model.
    """
    if not tflite_micro.is_installed():
        return Arena(None, (f"not measured, and not run: {tflite_micro.MISSING}",))
    if custom:
        return Arena(None, (f"not measured, and not run: the kernel of {', '.join(custom)} is yours",))
    samples = samples_for(model.graph, _SAMPLES)
    try:
        found = tflite_micro.measure(content, samples)
    except RuntimeFailure as error:
        is_float = any(item.dtype in (DType.FLOAT32, DType.FLOAT16) for item in model.graph.tensors.values())
        instead = "; what microcontrollers run is made with --as int8 or int16x8" if is_float else ""
        raise RuntimeFailure(f"{path}: {error}; nothing was written{instead}") from error
    with Engine() as engine:
        handle = engine.open(str(path), "builtin")
        wanted = [handle.run(sample) for sample in samples]
        handle.close()
    return Arena(
        found.arena_bytes,
        (
            f"{found.arena_bytes} bytes, the least that do on a 64-bit machine; other kernels may need more",
            f"run by tflite-micro {found.version} (reference kernels); {_compared(wanted, found.outputs)}",
        ),
    )


def arena_bytes(model: Model, path: Path) -> int | None:
    """The least arena that a file needs; None where that cannot be measured here.

    Raises UnsupportedError for operators that TensorFlow Lite Micro has no kernel for, or one that answers nonsense,
    RuntimeFailure if it refuses the file.
    """
    refuse_nonsense(model)
    used = operators(op for graph in model.graphs for op in graph.ops)
    if used.missing:
        raise UnsupportedError(f"TensorFlow Lite Micro has no kernel for {', '.join(used.missing)}")
    if used.custom or not tflite_micro.is_installed():
        return None
    return tflite_micro.measure(path.read_bytes(), samples_for(model.graph, 1)).arena_bytes


def refuse_nonsense(model: Model) -> None:
    """Raise UnsupportedError for an operator that TensorFlow Lite Micro runs, and answers nonsense for."""
    for graph in model.graphs:
        for op in graph.ops:
            found = broken(answers.RULES, op, graph)
            if found is not None:
                what = f"TensorFlow Lite Micro answers nonsense for {op.label} {op.name!r}"
                raise UnsupportedError(f"{what}, which {found[1]}; {found[0].remedy}")


def _compared(wanted: list[list[Array]], found: tuple[tuple[Array, ...], ...]) -> str:
    """How far the answers lie apart, in words."""
    pairs = [pair for a, b in zip(wanted, found, strict=True) for pair in zip(a, b, strict=False)]
    furthest = max((float(np.max(np.abs(a.astype(np.float64) - b), initial=0.0)) for a, b in pairs), default=0.0)
    is_integer = all(a.dtype.kind in "iu" for a, _ in pairs)
    if not furthest:
        return f"answers to {len(found)} random inputs are those of LiteRT's builtin kernels"
    distance = f"{furthest:g} steps" if is_integer else f"{furthest:.3g}"
    return f"answers to {len(found)} random inputs lie within {distance} of those of LiteRT's builtin kernels"
