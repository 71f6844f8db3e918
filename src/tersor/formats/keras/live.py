"""A `keras.Model` in this process -> `Model`, on any backend, without importing Keras.

The configuration is the one that the model would be saved with, and the arrays are those that each layer would save
(`Layer.save_own_variables`), so the result is that of a file, without one: `model.save` would write the weights twice
(and the optimizer's, which are twice as many again) only for them to be read back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tersor.errors import FormatError, ModelError, UnsupportedError
from tersor.formats.keras.archive import Archive
from tersor.formats.keras.graph import model_of
from tersor.formats.keras.inputs import InputShapes
from tersor.formats.keras.weights import Shapes, Weights, positions
from tersor.ir.graph import Array, Model

_PACKAGES = ("keras", "tf_keras")

_REBUILD = (
    "its layers are called by Python code, which is not read: make a functional model of it first, "
    "x = keras.Input(shape); keras.Model(x, model.call(x))"
)


def is_live(value: object) -> bool:
    """Whether a value is a Keras model: of Keras 3 on any backend, or of Keras 2 (`tf_keras`)."""
    return any(kind.__name__ == "Model" and _package(kind) in _PACKAGES for kind in type(value).__mro__)


def read_live(live: Any, input_shapes: InputShapes | None = None, batch: int = 1) -> Model:
    """Read a live model. Later training does not change the result.

    Args:
        live: a Functional or Sequential `keras.Model`.
        input_shapes: see `graph.read`.
        batch: samples that the model takes at once.

    Raises:
        UnsupportedError: it is a subclass with a `call` of its own, or holds a layer or an option that is not read.
    """
    where = f"the live model {getattr(live, 'name', '?')!r}"
    try:
        _refuse_own_calls(live)
        archive = Archive(config_of(live), Live(live), _generation(live))
        return model_of(archive, "", input_shapes or {}, batch)
    except ModelError as error:
        raise type(error)(f"{where}: {error}") from error


class Live:
    """The arrays of a live layer, or of a model's layers: copies as float32."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def layers(self, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """See `Weights`."""
        own = {item.name: item for item in getattr(self._owner, "layers", ())}
        return [Live(own.get(name)) for _, name in layers]

    def inside(self, part: str, *_: str) -> Live:
        """See `Weights`; attributes are found without the names in files."""
        owner = self._owner
        for attribute in filter(None, part.split("/")):
            owner = _attribute(owner, attribute)
        return Live(owner)

    def take(self, where: str, shapes: Shapes, part: str = "") -> dict[str, Array]:
        """See `Weights`."""
        owner = self.inside(part)._owner
        store: dict[str, Any] = {}
        if owner is not None:
            owner.save_own_variables(store)
        if len(store) != len(shapes):
            raise FormatError(f"{where}: the layer has {len(store)} arrays where {', '.join(shapes)} are expected")
        found: dict[str, Array] = {}
        for number, (name, shape) in enumerate(shapes.items()):
            values = np.array(np.asarray(store[str(number)]), np.float32)  # a copy: training goes on in the original
            if values.shape != shape:
                raise FormatError(
                    f"{where}: {name} has shape {list(values.shape)}, but the configuration needs {list(shape)}"
                )
            found[name] = values
        return found


def _attribute(owner: Any, name: str) -> Any:
    """A layer inside a layer: an attribute, private ones under their public name, or one of a list of layers."""
    if isinstance(owner, list | tuple):
        return dict(zip(positions([(type(item).__name__, "") for item in owner]), owner, strict=True)).get(name)
    found = getattr(owner, name, None)
    return getattr(owner, f"_{name}", None) if found is None else found


def config_of(live: Any) -> dict[str, Any]:
    """What `model.to_json()` says, without how it is compiled: losses may be Python functions."""
    kind = type(live)
    try:
        if _generation(live) == 2:
            config: dict[str, Any] = json.loads(live.to_json())
        else:
            content = {"class_name": kind.__name__, "module": kind.__module__, "config": live.get_config()}
            config = json.loads(json.dumps(content))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UnsupportedError(f"({kind.__name__}) its configuration cannot be written: {error}") from error
    return config


def _refuse_own_calls(live: Any) -> None:
    """Raise UnsupportedError for a subclass that computes with a `call` of its own; other methods do not matter."""
    for model in _models(live):
        owner = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
        if _package(owner) not in _PACKAGES:
            raise UnsupportedError(f"the model is a subclass ({type(model).__name__}): {_REBUILD}")
        if not getattr(model, "inputs", None) and type(model).__name__ == "Sequential":
            raise UnsupportedError("the Sequential model has no input shape yet: build it first (model.build(...))")


def _models(live: Any) -> Iterator[Any]:
    yield live
    for layer in live.layers:
        if is_live(layer):
            yield from _models(layer)


def _generation(live: Any) -> int:
    """2 or 3, as the package says whose class it is."""
    package = next(_package(kind) for kind in type(live).__mro__ if _package(kind) in _PACKAGES)
    major = str(getattr(sys.modules.get(package), "__version__", "3")).partition(".")[0]
    return 2 if package == "tf_keras" or major in ("1", "2") else 3


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]
