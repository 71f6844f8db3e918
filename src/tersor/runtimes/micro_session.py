"""A model loaded in TensorFlow Lite Micro's interpreter, to be run like one in LiteRT's. It can end the process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tersor.errors import RecipeError, RuntimeFailure, UnsupportedError
from tersor.ir.graph import Array
from tersor.runtimes import tflite_micro
from tersor.runtimes.litert import KERNEL_SETS, Session

KERNELS = "micro"
"""The name of this kernel set."""

_ARENAS = (16 << 20, 128 << 20, 1 << 30)
"""Bytes; the first one that suffices."""


class MicroSession(Session):
    """A model on TensorFlow Lite Micro's reference kernels.

    Args:
        model: the `.tflite` file's path, or its content.

    Raises UnsupportedError without the package `tflite-micro`, RuntimeFailure if its interpreter refuses the model.
    """

    def __init__(self, model: str | bytes) -> None:
        if not tflite_micro.is_installed():
            raise UnsupportedError(f"the micro kernels need the package tflite-micro: {tflite_micro.MISSING}")
        self._interpreter = _allocated(Path(model).read_bytes() if isinstance(model, str) else model)
        named = Session(model, "builtin")  # this interpreter knows no names
        self.inputs, self.outputs, self.share = named.inputs, named.outputs, None

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """One run from fresh state; shapes must be the file's."""
        with tflite_micro.printed() as said:
            try:
                outputs = list(tflite_micro.run_once(self._interpreter, inputs))
            except (RuntimeError, ValueError) as error:
                trouble: Exception = error
            else:
                return outputs
        raise RuntimeFailure(f"the micro kernels fail to run the model: {_reason(said(), trouble)}")

    def times(self, inputs: Sequence[Array], seconds: float) -> list[float]:  # noqa: ARG002
        """Raises RecipeError: what these kernels take here says nothing of a microcontroller."""
        raise RecipeError(f"the micro kernels are not timed on this machine; there are {', '.join(KERNEL_SETS)}")

    def reset(self) -> None:
        """Set the state of a recurrent model back to its start."""
        self._interpreter.reset()

    def view(self, name: str) -> Array:
        """Raises ValueError: its arena keeps no activations."""
        raise ValueError(f"the micro kernels do not keep {name!r}")


def _allocated(content: bytes) -> Any:
    for arena in _ARENAS:
        with tflite_micro.printed() as said:
            try:
                return tflite_micro.interpreter_of(content, arena)
            except (RuntimeError, ValueError) as error:
                trouble: Exception = error
        if not tflite_micro.TOO_SMALL.search(said()):
            break
    raise RuntimeFailure(f"the micro kernels refuse the model: {_reason(said(), trouble)}")


def _reason(printed: str, trouble: Exception) -> str:
    lines = [line.strip() for line in printed.splitlines() if not tflite_micro.NOISE.search(line.strip())]
    return "; ".join(dict.fromkeys(lines)) or str(trouble)
