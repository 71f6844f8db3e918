"""A file, or a live Keras model -> `Model`."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tersor.errors import FormatError, RecipeError, UnsupportedError
from tersor.formats import tflite
from tersor.formats.tflite.flex import is_tensorflow_op, tensorflow_kinds
from tersor.ir.graph import Model
from tersor.stages.optimize import optimize

if TYPE_CHECKING:
    from tersor.formats.saved_model.conversion import Conversion
    from tersor.runtimes.engine import Engine

_LATER = {".onnx": "ONNX"}

_KERAS = (".keras", ".h5", ".hdf5")
_GRAPHS = (".pb", ".pbtxt")

READ = ".tflite, .keras and .h5 files, SavedModels and frozen graphs (.pb)"

BATCH_LIMIT = 65_536
"""Samples of one batch; more is a slip of the finger, and would not fit a device."""


@runtime_checkable
class Trained(Protocol):
    """A live network of `tersor.training`."""

    def exported(self) -> Model:
        """The float model that was trained."""


def load(
    source: Any,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    batch: int = 1,
    architecture: str | Path | None = None,
    conversion: Conversion | None = None,
    outlines_above: float = math.inf,
) -> Model:
    """Read a model file, or a Keras model of this process.

    Args:
        source: the path of a file, whose extension says what it is, or of a SavedModel's folder; or a Functional or
            Sequential `keras.Model` (on JAX, TensorFlow or PyTorch) or `tf_keras.Model`, whose weights are copied.
        input_shapes: for an input's name (or "" for any), its sizes without the batch, where a model leaves some open.
        batch: samples that a model takes at once, where it leaves that open.
        architecture: for a Keras file with nothing but weights: a JSON file that `model.to_json()` wrote, or a network
            of `keras.applications`, as "MobileNetV2" or "MobileNet(alpha=0.25)"; the latter needs Keras.
        conversion: for what TensorFlow has to read (extra `tersor[tensorflow]`), and whether it is to read Keras files.
        outlines_above: of a Keras file with more bytes of weights than these, large ones need not be read: of these the
            model has types and shapes only, and cannot be written.

    Raises:
        FormatError: says what the file is if it is not a model tersor reads.
        UnsupportedError: the model holds something that is not read; names it.
        RecipeError: an option does not belong to such a file.
        RuntimeFailure: TensorFlow crashed; in its own process.
    """
    if not 1 <= batch <= BATCH_LIMIT:
        raise RecipeError(f"a batch has 1 to {BATCH_LIMIT} samples, not {batch}")
    if not isinstance(source, str | Path):
        if conversion is not None and conversion.options:
            raise RecipeError(f"{', '.join(conversion.options)}: for files and folders, not for a live model")
        return _load_live(source, input_shapes, batch, architecture)
    path = Path(source)
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if path.is_dir() and not _is_saved_model(path):
        raise FormatError(f"{path}: is a folder, but not a SavedModel (no saved_model.pb); tersor reads {READ}")
    if path.is_dir() or suffix in _GRAPHS or (suffix in _KERAS and conversion is not None and conversion.is_for_keras):
        if architecture is not None:
            raise RecipeError(f"{path}: --architecture is for Keras files with nothing but weights")
        from tersor.formats.saved_model.read import read

        return read(path, input_shapes, conversion, batch)
    if conversion is not None and conversion.options:
        raise RecipeError(f"{path}: {', '.join(conversion.options)}: only for what TensorFlow converts; see --help")
    if suffix in _LATER:
        raise FormatError(f"{path}: {_LATER[suffix]} files are not read; tersor reads {READ}")
    if suffix in _KERAS:
        from tersor.formats import keras

        return keras.read(path, input_shapes, batch, architecture, outlines_above=outlines_above)
    for given, option, fixed in (
        (input_shapes, "--input-shape", "the shapes of a .tflite file are fixed"),
        (batch != 1, "--batch-size", "the batch of a .tflite file is fixed; make it from the Keras model"),
        (architecture, "--architecture", "a .tflite file holds its own"),
    ):
        if given:
            raise RecipeError(f"{path}: {option} is for Keras files; {fixed}")
    return tflite.read(path)


def _load_live(
    model: object, input_shapes: Mapping[str, tuple[int, ...]] | None, batch: int, architecture: object
) -> Model:
    from tersor.formats import keras

    if not keras.is_live(model):
        raise FormatError(f"a {type(model).__name__} is neither the path of a file nor a keras.Model")
    if isinstance(model, Trained):
        return model.exported()
    if architecture is not None:
        raise RecipeError("a live model has its own architecture; architecture= is for files with nothing but weights")
    return keras.read_live(model, input_shapes, batch)


def runs_as_it_is(path: Path) -> bool:
    """Whether the runtime loads the file itself, and not one that is made of it."""
    return path.is_file() and path.suffix.lower() not in (*_KERAS, *_GRAPHS)


def _is_saved_model(folder: Path) -> bool:
    return any((folder / f"saved_model{suffix}").is_file() for suffix in _GRAPHS)


def tensorflow_ops(model: Model) -> dict[str, int]:
    """How many operators of which kind only TensorFlow has (LiteRT calls them Flex or Select TensorFlow operators)."""
    ops = [op for graph in model.graphs for op in graph.ops if is_tensorflow_op(op)]
    return dict(sorted(Counter(kind for op in ops for kind in tensorflow_kinds(op)).items()))


def admit_tensorflow_ops(model: Model, engine: Engine) -> None:
    """Let an engine run a model's TensorFlow operators.

    Raises UnsupportedError for operators that reach for files, Python or other machines: a file could do harm by them;
    FormatError where it cannot be told which they are.
    """
    kinds = tensorflow_ops(model)
    if kinds:
        from tersor.formats.saved_model.screen import refuse_operators

        try:
            refuse_operators(kinds)
        except UnsupportedError as error:
            raise UnsupportedError(f"{model.source or 'the model'}: {error}") from error
        engine.admit_tensorflow()


@contextmanager
def runnable(model: Model) -> Iterator[Path]:
    """A file that the runtime loads: the model's own, or a temporary one."""
    path = Path(model.source)
    if model.source and runs_as_it_is(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        temporary = Path(folder) / f"{path.stem or 'model'}.tflite"
        tflite.write(optimize(model), temporary)
        yield temporary
