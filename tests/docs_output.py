"""Whether a program printed what a page shows.

Words have to be the same, blanks may be more or fewer, and numbers may differ as they do between machines: by a
quarter, or by one. A line `...` stands for any lines, and `...` within a line for any text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:\.\d+)?(?:e-?\d+)?")
_SHARE, _LEAST = 0.25, 1.0


def is_shown(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether these lines of a page are what the program printed, all of it."""
    if not shown:
        return not printed
    if shown[0].strip() == "...":
        return any(is_shown(shown[1:], printed[begin:]) for begin in range(len(printed) + 1))
    return bool(printed) and _matches(shown[0], printed[0]) and is_shown(shown[1:], printed[1:])


def _matches(shown: str, printed: str) -> bool:
    if "..." in shown:
        parts = (re.escape(_words(part)) for part in shown.split("..."))
        return re.fullmatch(r"\s*.*\s*".join(parts), _words(printed)) is not None
    if _words(shown) != _words(printed):
        return False
    return all(map(_close, _NUMBER.findall(shown), _NUMBER.findall(printed)))


def _words(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line).split())


def _close(one: str, other: str) -> bool:
    first, second = (float(text.replace("−", "-")) for text in (one, other))
    return math.isclose(first, second, rel_tol=_SHARE, abs_tol=_LEAST)
