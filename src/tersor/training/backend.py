"""Which of JAX, PyTorch and TensorFlow Keras runs on."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from tersor.errors import RecipeError

_PACKAGES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
"""Keras's backends that train, in the order of its own preference, and what is imported for each."""

_NEEDS = "training needs Keras 3 and a backend: pip install 'tersor[train]' and one of jax, torch, tensorflow"


def choose_backend() -> None:
    """Have Keras start on a backend that is there: what `KERAS_BACKEND` says, else what Keras is set to, else another.

    Does nothing where Keras is running already. Raises ImportError in one line for what is not installed.
    """
    if "keras" in sys.modules:
        return
    if importlib.util.find_spec("keras") is None:
        raise ImportError(f"{_NEEDS} (there is no Keras)")
    asked = os.environ.get("KERAS_BACKEND")
    if asked and asked not in _PACKAGES:
        raise ImportError(f"KERAS_BACKEND is {asked!r}: tersor trains on {', '.join(_PACKAGES)}")
    installed = [name for name, package in _PACKAGES.items() if importlib.util.find_spec(package) is not None]
    if asked and asked not in installed:
        there = f"; {', '.join(installed)} is there" if installed else ""
        raise ImportError(f"KERAS_BACKEND is {asked!r}, which is not installed: pip install {_PACKAGES[asked]}{there}")
    if not installed:
        raise ImportError(f"{_NEEDS} (there is no backend)")
    if not asked and _configured() not in installed:
        os.environ["KERAS_BACKEND"] = installed[0]


def all_devices(batch_size: int) -> AbstractContextManager[object]:
    """Have all devices of this machine share each batch: Keras's data parallelism, which JAX has.

    Args:
        batch_size: of all devices together.

    Raises RecipeError on other backends, and for a batch that cannot be shared.
    """
    import keras

    backend = keras.backend.backend()
    if backend != "jax":
        raise RecipeError(f"--data-parallel is for JAX (KERAS_BACKEND=jax), and Keras runs on {backend}")
    devices = keras.distribution.list_devices()
    if batch_size % len(devices):
        raise RecipeError(
            f"--batch-size {batch_size} cannot be shared by {len(devices)} devices: give a multiple of that"
        )
    distribution = keras.distribution.DataParallel(devices=devices)
    return distribution.scope()  # type: ignore[no-any-return]


def _configured() -> str:
    """What Keras would take by itself."""
    home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
    with suppress(OSError, ValueError, AttributeError):
        return str(json.loads((home / "keras.json").read_text("utf-8")).get("backend", "tensorflow"))
    return "tensorflow"
