"""What `benchmarks/place.py` found, as a page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

GOAL = 1.0
"""Seconds."""

TITLES = {
    "keras all": "`.keras`, all targets",
    "keras edge_tpu": "edge_tpu",
    "keras cpu": "cpu",
    "keras micro": "micro",
    "int8 all": "int8 `.tflite`, all targets",
}
"""The columns, by file and target."""

_HEAD = """# Time of the forecast

Written by `python benchmarks/place.py`: `tersor place MODEL` of every image-classification network of Keras
Applications, float as a `.keras` file and quantized to int8, for each target whose forecast is tersor's own, and for
all targets. Weights are random: no forecast looks at the values of large ones. A figure is the whole process from its
start to its end, with its children, the median of {runs} runs.

The machine did other things besides, and then the time on a clock says more of these than of tersor: a process waits
for others. So the table has the time of the processors, of all processes, user and system: what one core without other
work takes, children one after the other. That time is longer on a busy machine, too, whose caches and cores are shared:
so each run stands between two runs of a fixed piece of work, {work}, and the figure is divided by
what that took just then beside its fastest run. Times on the clock and times as they were stand in `place.json`; on the
clock a run took {waited} times its time of the processors here, in the median. Child processes start while the model is
read and run beside: on a machine with two idle cores the clock shows less than the sum that stands here.
"""

_FOOT = """
Without `--target`, `ethos_u` is asked for networks of up to 2 million parameters only: there Vela, Arm's compiler, is
asked, which takes seconds for larger ones ([how to place](../how-to/place.md)).
"""


def quiet(runs: Sequence[Mapping[str, float]], fastest: float) -> float:
    """Seconds that a processor without other work takes, of runs with the time of the fixed work around each."""
    return statistics.median(run["processors"] * fastest / run["fixed"] for run in runs)


def page(found: Sequence[Mapping[str, Any]], networks: int, made_with: Mapping[str, Any]) -> str:
    """The page in Markdown, of what was found of so many networks."""
    fastest = min(run["fixed"] for each in found for runs in each["runs"].values() for run in runs)
    times = {each["name"]: {key: quiet(runs, fastest) for key, runs in each["runs"].items()} for each in found}
    counts = sorted({len(runs) for each in found for runs in each["runs"].values()})
    waited = statistics.median(
        run["wall"] / run["processors"] for each in found for runs in each["runs"].values() for run in runs
    )
    verdict = [_verdict(column, [own[column] for own in times.values() if column in own]) for column in TITLES]
    lines = [
        _HEAD.format(
            runs=" or ".join(map(str, counts)), work=f"{fastest:.2f} s at its fastest", waited=f"{waited:.1f}"
        ),
        f"**Goal: under {GOAL:g} s for any of them.**",
        "",
        *(f"- {line}" for line in verdict),
        "",
        f"Measured: {len(found)} of {networks} networks.",
        "",
        f"| network | MB | {' | '.join(TITLES.values())} |",
        f"|---|--:|{'--:|' * len(TITLES)}",
    ]
    for each in found:
        cells = [f"{times[each['name']][column]:.2f}" if column in each["runs"] else "" for column in TITLES]
        lines.append(f"| {each['name']} | {each['keras_bytes'] / 1e6:.0f} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in made_with["versions"]["tersor"].items())
    return "\n".join([*lines, _FOOT, f"{made_with['processor']}; {versions}.", ""])


def _verdict(column: str, seconds: Sequence[float]) -> str:
    if not seconds:
        return f"{TITLES[column]}: not measured"
    kept = sum(each < GOAL for each in seconds)
    middle = statistics.median(seconds)
    return f"{TITLES[column]}: {kept} of {len(seconds)} networks; median {middle:.2f} s, slowest {max(seconds):.2f} s"
