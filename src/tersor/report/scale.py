"""Axes that are laid out before a chart is drawn, so that labels can be set where nothing lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_GLYPH, _LINE = 6.1, 13.0
"""Width of a character and height of a line at 11 pixels, about."""

_GAP = 9.0
"""From the middle of a point to its label."""


@dataclass(frozen=True)
class Axis:
    """From values to pixels.

    Attributes:
        kind: "linear", "log" or "symlog", as Vega-Lite calls them.
        low: the value at the first pixel.
        high: the value at the last.
        pixels: how many there are.
        constant: of "symlog": values below are drawn about linearly.
    """

    kind: str
    low: float
    high: float
    pixels: float
    constant: float = 1.0

    def place(self, value: float) -> float:
        """The pixel of a value, from the axis's low end."""
        low, high, at = (self._bent(item) for item in (self.low, self.high, value))
        return self.pixels * (at - low) / (high - low)

    def _bent(self, value: float) -> float:
        if self.kind == "log":
            return math.log(value)
        if self.kind == "symlog":
            return math.copysign(math.log1p(abs(value) / self.constant), value)
        return value


def positive_axis(values: Sequence[float], pixels: float) -> Axis:
    """For sizes and times: from 0, or logarithmic where the largest is ten times the smallest or more."""
    low, high = min(values), max(values)
    if low > 0 and high >= 10 * low:
        return Axis("log", low / 1.4, high * 1.4, pixels)
    return Axis("linear", 0.0, high * 1.12 or 1.0, pixels)


def signed_axis(values: Sequence[float], pixels: float, constant: float) -> Axis:
    """For changes around 0, of which few are large: about linear up to `constant`, logarithmic beyond."""
    low, high = min(0.0, *values), max(0.0, *values)
    pad = 0.25 * constant
    return Axis("symlog", low * 1.25 - pad, high * 1.25 + pad, pixels, constant)


def ticks(axis: Axis) -> list[float]:
    """Round numbers that lie apart enough to be read: even steps, or 1, 2 and 5 times powers of ten."""
    powers = [unit * 10.0**power for power in range(-9, 13) for unit in (1, 2, 5)]
    if axis.kind == "linear":
        least = _APART * (axis.high - axis.low) / axis.pixels
        step = next((power for power in powers if power >= least), powers[-1])
        first, last = math.ceil(axis.low / step), math.floor(axis.high / step)
        return [round(place * step, 9) for place in range(first, last + 1)]
    wanted = sorted({0.0, *powers, *(-value for value in powers)}, key=lambda value: (abs(value) > 0, -abs(value)))
    kept: list[float] = []
    for value in wanted:
        if not axis.low <= value <= axis.high or (axis.kind == "log" and value <= 0):
            continue
        if all(abs(axis.place(value) - axis.place(other)) >= _APART for other in kept):
            kept.append(value)
    return sorted(kept)


_APART = 34.0
"""Pixels between the numbers of an axis."""


@dataclass(frozen=True)
class Label:
    """Where a text goes: pixels right of and below its point, and the end that stands there."""

    dx: float
    dy: float
    align: str


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def labels(
    texts: Sequence[str], points: Sequence[tuple[float, float]], width: float, bars: Sequence[Box] = ()
) -> list[Label | None]:
    """A place for each text, in order of importance, that no point and no other text takes; None where there is none.

    The first text has a place in any case, if need be over a point.

    Args:
        texts: what is written.
        points: in pixels, x to the right, y downwards.
        width: of the chart; labels end there.
        bars: what labels stay clear of if they can.
    """
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    found: list[Label | None] = []
    for text, point in zip(texts, points, strict=True):
        boxes = {label: _box(label, text, point) for label in _PLACES}
        inside = {label: box for label, box in boxes.items() if box[0] >= 0 and box[2] <= width}
        free = [label for label, box in inside.items() if not _hits(box, taken)]
        clear = [label for label in free if not _hits(inside[label], bars)]
        chosen = next(iter(clear or free or (inside if not found else ())), None)
        found.append(chosen)
        if chosen is not None:
            taken.append(boxes[chosen])
    return found


def _box(label: Label, text: str, point: tuple[float, float]) -> Box:
    long = _GLYPH * len(text)
    left = point[0] + label.dx - {"left": 0.0, "center": long / 2, "right": long}[label.align]
    top = point[1] + label.dy - _LINE / 2
    return left, top, left + long, top + _LINE


_PLACES = (
    Label(_GAP, 0.0, "left"),
    Label(-_GAP, 0.0, "right"),
    Label(0.0, -14.0, "center"),
    Label(0.0, 15.0, "center"),
    Label(_GAP, -12.0, "left"),
    Label(_GAP, 12.0, "left"),
    Label(-_GAP, -12.0, "right"),
    Label(-_GAP, 12.0, "right"),
)


def _hits(box: Box, others: Sequence[Box]) -> bool:
    return any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in others)
