"""Charts as SVG: Vega-Lite by way of Altair, drawn when the page is written.

So a page needs no script to show them, prints them sharp, and holds a hundredth of what the library's own script takes.
Colours are CSS variables: one drawing serves the light, the dark and the printed page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tersor.errors import OutputError
from tersor.report.document import Distribution
from tersor.report.scale import Axis, Box, Label, labels, positive_axis, signed_axis, ticks

try:
    import altair as alt
    import vl_convert
except ImportError as error:
    raise OutputError(f"no HTML without the package {error.name!r}: pip install 'tersor[report]'") from error

WIDTH, HEIGHT = 345, 235
"""Pixels of the plot, without its axes; pages scale it to what is there, a phone's width too."""

_NUMBER = ",~r"
"""Figures as they are read aloud: 2,000 and not 2e+3."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Point:
    """A candidate in the plot.

    Attributes:
        name: what it is called.
        text: all its figures in words, for those who cannot see the place.
        link: what is opened.
        role: "pick", "float", "front" or "other".
        x: size or time.
        y: change of accuracy in points, or another figure of quality.
        interval: of y.
    """

    name: str
    text: str
    link: str
    role: str
    x: float
    y: float
    interval: tuple[float, float] | None = None


_SHAPES = {"pick": "diamond", "float": "square", "front": "circle", "other": "circle"}
_COLOURS = {"pick": "var(--pick)", "float": "var(--float)", "front": "var(--front)", "other": "var(--other)"}
_FILLS = {"pick": "var(--pick)", "float": "var(--float)", "front": "var(--front)", "other": "var(--surface)"}
_ORDER = ("pick", "float", "front", "other")


def trade_off(points: Sequence[Point], x_title: str, y_title: str, *, is_change: bool) -> str:
    """Size or time against quality, a point with its interval for each candidate, as SVG.

    `is_change`: y is a change against float, drawn around a line at 0.
    """
    points = sorted(points, key=lambda point: _ORDER.index(point.role))
    x_axis = positive_axis([point.x for point in points], WIDTH)
    reach = [bound for point in points for bound in (point.y, *(point.interval or ()))]
    y_axis = signed_axis(reach, HEIGHT, 2.0) if is_change else _open_axis(reach)
    places = [(x_axis.place(point.x), HEIGHT - y_axis.place(point.y)) for point in points]
    bars = [_bar(place, point, y_axis) for place, point in zip(places, points, strict=True) if point.interval]
    written = labels([point.name for point in points], places, WIDTH, bars)
    rows = [_row(point, label) for point, label in zip(points, written, strict=True)]
    rows.reverse()  # what matters most is drawn last, on top
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("x:Q", title=x_title, scale=_scale(x_axis), axis=alt.Axis(values=ticks(x_axis), format=_NUMBER)),
        y=alt.Y(
            "y:Q",
            title=y_title,
            scale=_scale(y_axis),
            axis=alt.Axis(values=ticks(y_axis), format=_NUMBER, minExtent=32),
        ),
    )
    layers: list[Any] = []
    if is_change:
        zero = alt.Chart(alt.InlineData(values=[{"y": 0}])).mark_rule(
            strokeDash=[5, 4], color="var(--float)", aria=False
        )
        layers.append(zero.encode(y=alt.Y("y:Q")))
    spans = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5, opacity=0.65, aria=False)
    layers.append(spans.encode(y=alt.Y("low:Q", title=y_title), y2="high:Q", color=_by_role("colour")))
    marks = base.mark_point(size=110, strokeWidth=2, opacity=1)
    layers.append(
        marks.encode(
            shape=alt.Shape("shape:N", scale=None),
            stroke=_by_role("colour"),
            fill=_by_role("fill"),
            href="link:N",
            description="text:N",
        )
    )
    layers += [_texts(base, label) for label in dict.fromkeys(item for item in written if item is not None)]
    return _svg(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def histogram(spread: Distribution, what: str) -> str:
    """How values spread, on a logarithmic scale, with the range that the integers cover shaded, as SVG."""
    start, end = min(spread.low, spread.smallest), max(spread.high, spread.largest)
    total, bars = sum(spread.counts) or 1, len(spread.counts)
    width = (end - start) / bars
    floor = 0.5 / total
    rows = [
        {"from": start + i * width, "to": start + (i + 1) * width, "share": count / total, "floor": floor}
        for i, count in enumerate(spread.counts)
        if count
    ]
    x = alt.Scale(domain=[start, end], nice=False)
    y = alt.Scale(type="log", domain=[floor, 1.0], nice=False)
    percent = alt.Axis(values=[1.0, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6], format="~%", minExtent=48)
    band = alt.Chart(alt.InlineData(values=[{"from": spread.low, "to": spread.high}]))
    shade = band.mark_rect(fill="var(--range)", aria=False).encode(x=alt.X("from:Q", scale=x), x2="to:Q")
    drawn = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(fill="var(--bars)", aria=False)
        .encode(
            x=alt.X("from:Q", title=what, scale=x, axis=alt.Axis(tickCount=6, format=_NUMBER)),
            x2="to:Q",
            y=alt.Y("share:Q", title=None, scale=y, axis=percent),
            y2="floor:Q",
        )
    )
    ends = alt.Chart(alt.InlineData(values=[{"at": spread.low}, {"at": spread.high}]))
    lines = ends.mark_rule(color="var(--bound)", strokeWidth=1.5, strokeDash=[4, 3], aria=False)
    return _svg(
        alt.layer(shade, drawn, lines.encode(x=alt.X("at:Q", scale=x))).properties(width=WIDTH - 15, height=115)
    )


def _bar(place: tuple[float, float], point: Point, axis: Axis) -> Box:
    low, high = point.interval or (point.y, point.y)
    return place[0] - 2, HEIGHT - axis.place(high), place[0] + 2, HEIGHT - axis.place(low)


def _row(point: Point, label: Label | None) -> dict[str, Any]:
    low, high = point.interval or (None, None)
    return {
        "name": point.name,
        "text": point.text,
        "link": point.link,
        "shape": _SHAPES[point.role],
        "colour": _COLOURS[point.role],
        "fill": _FILLS[point.role],
        "x": point.x,
        "y": point.y,
        "low": low,
        "high": high,
        "place": _key(label),
    }


def _texts(base: Any, label: Label) -> Any:
    """All labels that are set in one way; marks of one kind share their alignment."""
    marks = base.transform_filter(alt.datum.place == _key(label)).mark_text(
        align=label.align, baseline="middle", dx=label.dx, dy=label.dy, fontSize=11, color="var(--ink)", aria=False
    )
    return marks.encode(text="name:N")


def _key(label: Label | None) -> str:
    return "" if label is None else f"{label.dx},{label.dy}"


def _by_role(field: str) -> Any:
    """The value of a field as it stands, without a scale and its legend."""
    channel = {"colour": alt.Color, "fill": alt.Fill}[field]
    return channel(f"{field}:N", scale=None)


def _open_axis(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    pad = 0.12 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis("linear", low - pad, high + pad, HEIGHT)


def _scale(axis: Axis) -> Any:
    given: dict[str, Any] = {"type": axis.kind, "domain": [axis.low, axis.high], "nice": False, "zero": False}
    if axis.kind == "symlog":
        given["constant"] = axis.constant
    return alt.Scale(**given)


def _svg(chart: Any) -> str:
    axis = {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    styled = chart.configure(background="transparent", font=_FONT, padding=4).configure_axis(**axis)
    made = styled.configure_view(stroke=None).to_dict(validate=False)  # which takes ten times as long as all else
    drawn = vl_convert.vegalite_to_svg(made)
    return _LINK.sub('href="#', str(drawn))


_LINK = re.compile(r'xlink:href="[^"#]*#')
"""Places of the page itself, which the renderer puts behind an address of its own."""
