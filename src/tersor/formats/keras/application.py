"""A network of `keras.applications` -> its configuration. Runs in a process of its own: Keras is imported here."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

_BACKENDS = ("tensorflow", "jax", "torch")

_MISSING = "needs Keras, which is not installed: pip install 'tersor[keras]', or give what model.to_json() wrote"


def main() -> None:
    """Read the name and its arguments from standard input, write the configuration or the error to the named file."""
    name, arguments = ast.literal_eval(sys.stdin.read())
    Path(sys.argv[1]).write_text(json.dumps(answer(name, arguments)), encoding="utf-8")


def answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The configuration, or under `error` what stands against it."""
    installed = [backend for backend in _BACKENDS if importlib.util.find_spec(backend)]
    if not installed or importlib.util.find_spec("keras") is None:
        return {"error": _MISSING}
    os.environ.setdefault("KERAS_BACKEND", installed[0])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    try:
        applications = importlib.import_module("keras").applications
    except Exception as error:
        return {"error": f"Keras cannot be imported: {type(error).__name__}: {error}"}
    networks = {key: item for key, item in vars(applications).items() if inspect.isfunction(item)}
    if name not in networks:
        return {"error": f"{name} is no network of keras.applications; there are {', '.join(sorted(networks))}"}
    try:
        model = networks[name](weights=None, **arguments)
        config: dict[str, Any] = json.loads(model.to_json())
    except Exception as error:
        return {"error": f"Keras refuses it: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
    return config
