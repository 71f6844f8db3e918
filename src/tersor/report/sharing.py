"""Several models on one device, or one model on several, for people and machines."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.ir.sharing import Segment, Share, Value
from tersor.ir.text import short
from tersor.report.placement import headline, placement_to_dict
from tersor.stages.place_several import Pipeline, Together
from tersor.stages.quantities import size

_SHOWN = 2
"""Values that are named where several cross a cut."""


def together_headline(found: Together) -> str:
    """How much stays on the device, in one sentence."""
    device = found.placements[0].device
    parameters, cached = (sum(getattr(share, name) for share in found.shares) for name in ("parameters", "cached"))
    begin = f"{len(found.sources)} models, compiled together for one {device}"
    if cached == parameters:
        return f"{begin}: all their parameters ({_about(parameters)}) stay on the chip"
    first = next(place for place, share in enumerate(found.shares) if share.streamed)
    name = Path(found.sources[first]).name
    return f"{begin}: {_about(cached)} of {size(parameters)} stay on the chip; room runs out in {name}"


def together_table(found: Together) -> Table:
    """A row for each model, in the compiler's order."""
    table = _table("model", "operators on the device")
    for source, placement, share in zip(found.sources, found.placements, found.shares, strict=True):
        mapped = f"{len(placement.mapped)} of {len(placement.operators)}"
        table.add_row(escape(Path(source).name), mapped, *_cells(share))
    return table


def together_notes(found: Together) -> Iterator[str]:
    """What else is to be said."""
    for source, placement in zip(found.sources, found.placements, strict=True):
        for note in placement.notes:
            yield f"{Path(source).name}: {note}"
        if placement.left:
            yield f"{Path(source).name}: {headline(placement)}"
    if any(share.streamed for share in found.shares):
        yield "memory goes to the models in this order: name first what runs most often, or has to be quick"
    yield "compiled one by one, each would be sent whole whenever another one has run before it"
    yield f"to compile them so: {shlex.join(['edgetpu_compiler', *found.finished])}"


def together_to_dict(found: Together) -> dict[str, Any]:
    """For `--json`; models are in the compiler's order."""
    return {
        "target": found.placements[0].target,
        "headline": together_headline(found),
        "models": [
            {"file": source, **_share(share), "placement": placement_to_dict(placement)}
            for source, placement, share in zip(found.sources, found.placements, found.shares, strict=True)
        ],
    }


def pipeline_headline(found: Pipeline) -> str:
    """What cutting gains, in one sentence."""
    count, device = len(found.segments), found.whole.device
    largest = max(segment.share.parameters for segment in found.segments)
    streamed = sum(segment.share.streamed for segment in found.segments)
    sent = "nothing is" if not streamed else f"{_about(streamed)} are"
    alone = "nothing" if not found.alone.streamed else _about(found.alone.streamed)
    return (
        f"{count} segments with at most {_about(largest)} of parameters each: {sent} sent in every run "
        f"(on one {device}: {alone} of {size(found.alone.parameters)})"
    )


def pipeline_table(found: Pipeline) -> Table:
    """A row for each segment."""
    table = _table("segment", "operators", "on the device")
    table.add_column("hands on", overflow="fold")
    for number, segment in enumerate(found.segments):
        table.add_row(
            str(number),
            f"{segment.first}-{segment.last}",
            f"{len(segment.mapped)} of {segment.last - segment.first + 1}",
            *_cells(segment.share),
            escape(_values(segment.writes)),
        )
    return table


def pipeline_notes(found: Pipeline) -> Iterable[str]:
    """What else is to be said."""
    yield from found.whole.notes
    left = sum(segment.last - segment.first + 1 - len(segment.mapped) for segment in found.segments)
    if left:
        yield f"{left} operators stay on the CPU; tersor place without --segments says which, and why"
    if found.enough is not None:
        yield f"cut in {found.enough}, all of them would keep their parameters on the chip"
    moved = sum(segment.moved for segment in found.segments)
    alone = sum(value.byte_size for value in (*found.segments[0].reads, *found.segments[-1].writes))
    yield f"values that travel over the bus in one run: {size(moved)}, where one device needs about {size(alone)}"
    yield (
        "segments work side by side on different samples, and the slowest sets the pace; equal parameters are not "
        "equal times"
    )
    command = shlex.join(["edgetpu_compiler", "--num_segments", str(len(found.segments)), found.finished])
    yield f"the compiler cuts by itself, perhaps elsewhere: {command}"


def pipeline_to_dict(found: Pipeline) -> dict[str, Any]:
    """For `--json`; indices count the operators of the main graph in the file's order."""
    return {
        "target": found.whole.target,
        "headline": pipeline_headline(found),
        "file": found.source,
        "one_device": _share(found.alone),
        "segments_without_streaming": found.enough,
        "segments": [_segment(segment) for segment in found.segments],
        "placement": placement_to_dict(found.whole),
    }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "first": segment.first,
        "last": segment.last,
        "mapped": list(segment.mapped),
        **_share(segment.share),
        "reads": [{"name": value.name, "bytes": value.byte_size} for value in segment.reads],
        "writes": [{"name": value.name, "bytes": value.byte_size} for value in segment.writes],
    }


def _share(share: Share) -> dict[str, int]:
    return {"parameter_bytes": share.parameters, "cached_bytes": share.cached, "streamed_bytes": share.streamed}


def _table(*titles: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for title in ("parameters", "on the chip", "sent in every run"):
        table.add_column(title, justify="right")
    return table


def _cells(share: Share) -> tuple[str, str, str]:
    return size(share.parameters), size(share.cached), size(share.streamed) if share.streamed else "-"


def _values(values: tuple[Value, ...]) -> str:
    names = ", ".join(short(value.name) for value in values[:_SHOWN])
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return f"{size(sum(value.byte_size for value in values))}: {names}{more}"


def _about(count: int) -> str:
    return f"about {size(count)}"
