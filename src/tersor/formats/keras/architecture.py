"""What a user names as an architecture -> a model's configuration, for files that hold weights only.

Either a JSON file that `model.to_json()` wrote, or a network of `keras.applications`, by name or with arguments:
``MobileNetV2``, ``MobileNet(alpha=0.25, classes=10)``. Such an expression is parsed, not executed: arguments are
literals. Keras builds the network in another process and gives its configuration back.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tersor.errors import FormatError, RecipeError
from tersor.formats.keras.archive import CONFIG_LIMIT, parse_json

_TEXT_LIMIT = 1000
"""Characters of an expression."""

_TIME_LIMIT = 600.0
"""Seconds to import Keras and build a network; NASNetLarge takes 20."""

_CHILD = "from tersor.formats.keras import application; application.main()"


def find(architecture: str | Path) -> dict[str, Any]:
    """The configuration that a JSON file or an expression stands for.

    Raises:
        FormatError: the file is not a model's configuration.
        RecipeError: the expression is not a network of `keras.applications`, or Keras is not installed.
    """
    path = Path(architecture)
    text = str(architecture)
    if path.suffix.lower() == ".json":
        return _from_json(path)
    name, arguments = parse(text)
    return _build(text, name, arguments)


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of an expression. Raises RecipeError for anything but literals given by name."""
    wrong = RecipeError(
        f"the architecture {text[:80]!r} is neither a .json file nor a network of keras.applications, as MobileNetV2 "
        "or 'MobileNet(alpha=0.25, classes=10)' (arguments are literals, given by name)"
    )
    if len(text) > _TEXT_LIMIT:
        raise wrong
    try:
        node = ast.parse(text, mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if not isinstance(call.func, ast.Name) or call.args:
            raise wrong
        arguments = {str(item.arg): ast.literal_eval(item.value) for item in call.keywords if item.arg}
        if len(arguments) != len(call.keywords):
            raise wrong
        json.dumps(arguments)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise wrong from error
    if "weights" in arguments:
        raise RecipeError(f"the architecture {text!r}: weights come from the model file, not from an argument")
    return call.func.id, arguments


def _from_json(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > CONFIG_LIMIT:
            raise FormatError(f"{path}: {size:,} bytes are too many for an architecture")
        config = parse_json(path, path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    if "class_name" not in config or "config" not in config:
        raise FormatError(f"{path}: not a model's architecture (no class_name and config): write model.to_json() to it")
    return config


def _build(text: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        answer = Path(folder) / "answer.json"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(item for item in sys.path if item)}
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", _CHILD, str(answer)],
                input=repr((name, arguments)),
                capture_output=True,
                text=True,
                env=environment,
                timeout=_TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RecipeError(f"the architecture {text!r}: Keras did not build it in {_TIME_LIMIT:g} s") from None
        if not answer.exists():
            last = done.stderr.strip().rpartition("\n")[2]
            raise RecipeError(f"the architecture {text!r}: Keras failed with exit code {done.returncode}: {last}")
        result = parse_json(answer, answer.read_bytes())
    if "error" in result:
        raise RecipeError(f"the architecture {text!r}: {result['error']}")
    return result
