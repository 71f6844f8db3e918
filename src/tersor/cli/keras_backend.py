"""Which backend Keras computes with where nobody has said it."""

from __future__ import annotations

import importlib.util
import json
import os
from contextlib import suppress
from pathlib import Path

_BACKENDS = ("jax", "tensorflow", "torch")
"""By the time that a step of training takes on a CPU."""


def choose() -> None:
    """Have Keras take a backend that is installed, unless the environment or Keras's own settings name such a one.

    Keras writes its settings itself when it is first imported, so what these name need not be there.
    """
    if "KERAS_BACKEND" in os.environ:
        return
    settings = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    wishes: tuple[object, ...] = ()
    with suppress(OSError, ValueError, AttributeError):
        wishes = (json.loads(settings.read_text("utf-8")).get("backend"),)
    found = next((name for name in (*wishes, *_BACKENDS) if isinstance(name, str) and _is_installed(name)), None)
    if found is not None:
        os.environ["KERAS_BACKEND"] = found


def _is_installed(name: str) -> bool:
    return name in (*_BACKENDS, "openvino") and importlib.util.find_spec(name) is not None
