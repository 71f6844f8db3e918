"""A Keras file -> a function of TensorFlow with fixed shapes, by way of Keras. Runs in the child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tersor.errors import ModelError, UnsupportedError
from tersor.formats.saved_model.shapes import closed
from tersor.formats.saved_model.sources import Source

_UNKNOWN_CLASS = ("Could not locate class", "Unknown layer", "Could not locate function", "Unable to revive")


def source_of_keras(request: Mapping[str, Any]) -> Source:
    """The model in a file that Keras reads. Raises UnsupportedError that says why it does not."""
    import tensorflow as tf

    model = _loaded(request["path"], trust_code=request["trust_code"])
    if not getattr(model, "inputs", None):
        raise UnsupportedError(
            f"the model is a subclass ({type(model).__name__}) that does not say what its inputs are: export it with "
            "model.export('folder') and convert that"
        )
    names = [item.name for item in model.inputs]
    specs = {
        item.name: tf.TensorSpec(
            closed(item.name, tuple(item.shape), request["input_shapes"], request["batch"]), item.dtype, item.name
        )
        for item in model.inputs
    }
    labels = _distinct([item._keras_history.operation.name for item in model.outputs])

    def function(**arguments: Any) -> dict[str, Any]:
        given = [arguments[name] for name in names]
        results = tf.nest.flatten(model(given[0] if len(given) == 1 else given, training=False))
        return dict(zip(labels, results, strict=True))

    owner = tf.Module()
    owner.weights = [variable.value for variable in model.variables]
    return Source("serving_default", function, specs, owner)


def _loaded(path: str, *, trust_code: bool) -> Any:
    import keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=not trust_code)
    except ModelError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        if any(text in said for text in _UNKNOWN_CLASS):
            raise UnsupportedError(
                f"Keras cannot rebuild a custom layer without its Python class ({said[:200]}): export the model with "
                "model.export('folder') where the class is at hand, and convert that"
            ) from error
        raise UnsupportedError(
            f"Keras {keras.__version__} cannot load the file either ({type(error).__name__}: {said[:300]}); if an "
            "older Keras wrote it, load it there, export it with model.export('folder') and convert that"
        ) from error


def _distinct(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(names)]
