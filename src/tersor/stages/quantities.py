"""Sizes and times as people write them, 2MB, 10ms, 1.5 h, and as they read them."""

from __future__ import annotations

import re

from tersor.errors import RecipeError

_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def parse_bytes(option: str, text: str) -> int:
    """Bytes: 2MB are two million, 2MiB a little more. Raises RecipeError."""
    return int(_parsed(option, text, _BYTES, "500kB, 2MB or 1.5MiB"))


def parse_seconds(option: str, text: str) -> float:
    """Seconds; without a unit it is not known which are meant. Raises RecipeError."""
    return _parsed(option, text, _SECONDS, "10ms, 90s or 10min")


def size(count: int) -> str:
    """Bytes in three digits."""
    if count < 10**3:
        return f"{count} bytes"
    for unit, name in ((10**3, "kB"), (10**6, "MB"), (10**9, "GB")):
        if count < _NEXT * unit:
            return f"{count / unit:.3g} {name}"
    return f"{round(count, -9) // 10**9} GB"


def milliseconds(value: float) -> str:
    """A time in three digits."""
    return f"{value:.3g} ms" if value < _NEXT else f"{value / 1000:.3g} s"


_NEXT = 999.5
"""What would be 1000 in three digits, and is 1 of the next unit."""


def _parsed(option: str, text: str, units: dict[str, float] | dict[str, int], examples: str) -> float:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    unit = None if match is None else units.get(match[2].lower())
    if match is None or unit is None or float(match[1]) <= 0:
        raise RecipeError(f"{option} {text!r}: give it as {examples}")
    return float(match[1]) * unit
