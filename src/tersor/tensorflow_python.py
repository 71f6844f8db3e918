"""The Python in whose environment TensorFlow lies: this one, or the one that an environment variable names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PYTHON = "TERSOR_TENSORFLOW_PYTHON"
"""The environment variable that names the Python in whose environment TensorFlow lies, if that is another one."""

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
"""Neither a conversion nor a LiteRT kernel has a use for a GPU; a conversion needs Keras on TensorFlow."""


def tensorflow_python() -> str:
    """The path of that Python."""
    return os.environ.get(PYTHON) or sys.executable


def child_command(function: str, *arguments: str) -> list[str]:
    """The command that calls a function of tersor there.

    Another Python gets tersor's modules from here, but no other package.

    Args:
        function: "module:function".
        arguments: strings that it is called with.
    """
    module, name = function.split(":")
    root = str(Path(__file__).parents[1])
    code = (
        f"import sys; usual = [path for path in sys.path if path]; sys.path = [{root!r}, *usual]; "
        f"from {module} import {name}; sys.path = usual; {name}(*{arguments!r})"
    )
    return [tensorflow_python(), "-c", code]


def child_environment() -> dict[str, str]:
    """The environment variables of such a process."""
    environment = os.environ | _QUIET
    if tensorflow_python() == sys.executable:
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return environment


def missing() -> str:
    """What to say where TensorFlow is not there."""
    if os.environ.get(PYTHON):
        return f"TensorFlow is not installed where {PYTHON} points ({os.environ[PYTHON]})"
    return "this needs TensorFlow, which is not installed: pip install 'tersor[tensorflow]'"
