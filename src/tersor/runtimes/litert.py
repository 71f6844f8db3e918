"""The LiteRT interpreter, in this process. It can crash: `runtimes.engine` runs it in another one.

Two kernel sets: ``xnnpack`` (the default of phones and desktops: operators that XNNPACK takes run there, the others
on the optimized builtin kernels) and ``builtin`` (no delegate). They round differently.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tersor.errors import NeedsTensorFlow, RecipeError, RuntimeFailure, UnsupportedError
from tersor.ir.graph import Array
from tersor.runtimes.delegate import Delegate
from tersor.runtimes.loaded_delegate import LoadedDelegate, Share, failure_of, share_of
from tersor.tensorflow_python import PYTHON, missing

KERNEL_SETS = ("xnnpack", "builtin")

_NO_FLEX = "Select TensorFlow op"
"""How LiteRT's complaint about an operator begins that only TensorFlow has."""

_UNRESOLVED = re.compile(r"unresolved custom op: (.+?)\.?$", re.MULTILINE)
_EDGE_TPU = "edgetpu-custom-op"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a loaded model.

    Attributes:
        name: the tensor's name.
        shape: sizes, -1 where the file leaves a dimension open.
        dtype: NumPy type name, e.g. "float32".
        scale: the scale of an integer tensor, 0.0 if it has none.
        zero_point: the zero point of an integer tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


class Session:
    """A model loaded on one kernel set.

    Args:
        model: the `.tflite` file's path, or its content.
        kernels: one of `KERNEL_SETS`.
        threads: threads of one run.
        keep_all: keep every activation after a run, for `view`.
        with_tensorflow: take TensorFlow's build of the interpreter, which has TensorFlow's operators, too.
        delegate: takes what it can of the model before the kernels do.

    Attributes:
        share: what the delegate took; None without one.

    Raises RuntimeFailure if the runtime refuses the model (`NeedsTensorFlow` if it is for these operators) or the
    delegate fails, RecipeError for unknown kernels, UnsupportedError where TensorFlow is needed and missing.
    """

    def __init__(
        self,
        model: str | bytes,
        kernels: str = "xnnpack",
        threads: int = 1,
        *,
        keep_all: bool = False,
        with_tensorflow: bool = False,
        delegate: Delegate | None = None,
    ) -> None:
        interpreter, resolvers = _tensorflow_interpreter() if with_tensorflow else load_interpreter()
        if kernels not in KERNEL_SETS:
            raise RecipeError(f"unknown kernels {kernels!r}: there are {', '.join((*KERNEL_SETS, 'micro'))}")
        resolver = {
            "xnnpack": resolvers.BUILTIN,
            "builtin": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        }[kernels]
        self._blamed = f"the {kernels} kernels" + (f" with the delegate {delegate.name}" if delegate else "")
        loaded = [] if delegate is None else [LoadedDelegate(delegate)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it advises against keeping tensors, which is what we came for
                self._interpreter = interpreter(
                    **{"model_path" if isinstance(model, str) else "model_content": model},
                    num_threads=threads,
                    experimental_op_resolver_type=resolver,
                    experimental_preserve_all_tensors=keep_all,
                    experimental_delegates=loaded,
                )
            self._allocated = False
            self.share: Share | None = share_of(self._interpreter) if loaded else None
            details = self._interpreter.get_input_details()
            self.inputs = tuple(_port(item) for item in details)
            self._input_indices = [item["index"] for item in details]
            self._shapes = [tuple(int(n) for n in item["shape"]) for item in details]
            self._interpreter.allocate_tensors()
            self._allocated = True
        except (RuntimeError, ValueError) as error:
            if found := _UNRESOLVED.search(str(error)):
                raise RuntimeFailure(_unresolved(found[1], delegate)) from error
            if _NO_FLEX not in str(error):
                raise RuntimeFailure(f"{self._blamed} refuse the model: {_first_line(error)}") from error
            raise NeedsTensorFlow(_without_flex() if with_tensorflow else "holds TensorFlow ops") from error
        details = self._interpreter.get_output_details()
        self._output_indices = [item["index"] for item in details]
        self.outputs = tuple(_port(item) for item in details)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """One run from fresh state.

        Args:
            inputs: one array per input, of its dtype; a shape other than the file's resizes the model.

        Returns:
            One array per output.
        """
        try:
            self._fit(inputs)
            self.reset()
            for index, values in zip(self._input_indices, inputs, strict=True):
                self._interpreter.set_tensor(index, values)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._output_indices]
        except (RuntimeError, ValueError) as error:
            raise RuntimeFailure(f"{self._blamed} fail to run the model: {_first_line(error)}") from error

    def nodes(self) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
        """What the main graph consists of: its operators in the file's order, then a node for each delegate's piece.

        Of each its kind ("DELEGATE" for a piece) and the indices of the tensors that it reads and writes.
        """
        return [
            (item["op_name"], tuple(int(i) for i in item["inputs"]), tuple(int(i) for i in item["outputs"]))
            for item in self._interpreter._get_ops_details()
        ]

    def times(self, inputs: Sequence[Array], seconds: float) -> list[float]:
        """Seconds that each of as many invocations took as fit in `seconds`, at least one.

        One goes before them, to warm up; where that alone takes longer, it is the one.
        """
        begun = time.perf_counter()
        self.run(inputs)
        before = time.perf_counter()
        if before - begun > seconds:
            return [before - begun]
        found: list[float] = []
        begun = before
        while not found or before - begun < seconds:
            self._interpreter.invoke()
            after = time.perf_counter()
            found.append(after - before)
            before = after
        return found

    def reset(self) -> None:
        """Set the state of a recurrent model back to its start: 0, for int8 state its zero point (0.3 microseconds)."""
        self._interpreter.reset_all_variables()

    def view(self, name: str) -> Array:
        """The values of an activation after a run, without a copy.

        Drop the array before the next run. Raises ValueError for a tensor without memory of its own.
        """
        return self._interpreter.tensor(self._index[name])()  # type: ignore[no-any-return]

    @cached_property
    def _index(self) -> dict[str, int]:
        """Tensors by name; details of hundreds take longer than to load them."""
        return {item["name"]: item["index"] for item in self._interpreter.get_tensor_details()}

    def _fit(self, inputs: Sequence[Array]) -> None:
        for position, values in enumerate(inputs):
            if values.shape != self._shapes[position]:
                self._interpreter.resize_tensor_input(self._input_indices[position], list(values.shape))
                self._shapes[position] = values.shape
                self._allocated = False
        if not self._allocated:
            self._interpreter.allocate_tensors()
            self._allocated = True


def load_interpreter() -> tuple[Any, Any]:
    """LiteRT's interpreter, and the kernel sets by name; the first call loads them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter, OpResolverType


def _tensorflow_interpreter() -> tuple[Any, Any]:
    """TensorFlow's build of the same interpreter, with the Flex delegate linked in."""
    try:
        from tensorflow.lite.python.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise UnsupportedError(f"the model holds TensorFlow ops: {missing()}") from error
    return Interpreter, OpResolverType


def _without_flex() -> str:
    from tensorflow import __version__

    return (
        f"holds TensorFlow ops, and TensorFlow {__version__} is built without the Flex delegate that runs them; "
        f"2.18 has it: set {PYTHON} to the Python of an environment with that"
    )


def _port(details: dict[str, Any]) -> Port:
    signature = details.get("shape_signature")
    shape = details["shape"] if signature is None or len(signature) == 0 else signature
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"]).name if details["dtype"] not in (np.bytes_, np.str_) else "string"
    return Port(details["name"], tuple(int(size) for size in shape), dtype, float(scale), int(zero_point))


def _unresolved(kind: str, delegate: Delegate | None) -> str:
    """What to do about an operator that no kernel set has and no delegate took."""
    if delegate is not None:
        return f"the model holds {kind}, which LiteRT does not have and the delegate {delegate.name} does not take"
    if kind == _EDGE_TPU:
        return (
            f"the model is compiled for the Edge TPU ({kind}) and runs there only: where there is one, tersor run, "
            "evaluate and benchmark take --delegate edge_tpu; elsewhere give the model that went into the compiler"
        )
    return (
        f"the model holds {kind}, an unresolved custom op: LiteRT does not have it; a delegate may, which tersor run, "
        "evaluate and benchmark take with --delegate"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in failure_of(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
