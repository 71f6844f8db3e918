"""The child processes that targets ask, known without loading a target: they start while that and the model load."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tersor.runtimes.children import DELEGATION, TFLITE_MICRO

WEIGHTS_MATTER = 64 << 20
"""Bytes; no microcontroller has flash for more: what is larger is not run."""

WITH_CHILDREN = ("cpu", "micro")
"""Targets that ask some."""


def children_of(target: str | None, path: Path) -> list[str]:
    """The children that placing a file on a target will probably ask; None for all targets."""
    asked = []
    if target in (None, "cpu"):
        asked.append(DELEGATION)
    is_small = path.is_file() and path.stat().st_size <= WEIGHTS_MATTER
    if target in (None, "micro") and is_small and importlib.util.find_spec("tflite_micro"):
        asked.append(TFLITE_MICRO)
    return asked
