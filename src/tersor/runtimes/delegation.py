"""Which operators of a file XNNPACK takes, seen in LiteRT's interpreter after it has cut the graph.

What a delegate takes becomes a node of its own behind the graph's; its members are all that its outputs are computed
from, back to its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import RuntimeFailure
from tersor.runtimes.children import DELEGATION
from tersor.runtimes.isolation import Channel, Worker
from tersor.runtimes.litert import Session, load_interpreter

_TIME_LIMIT = 120.0
_DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Delegation:
    """What was seen.

    Attributes:
        pieces: for each piece that XNNPACK runs, the places of its operators in the main graph.
        refusal: what LiteRT says of a file that it does not load with XNNPACK; None where it does.
        runs_without: whether it loads such a file without XNNPACK.
    """

    pieces: tuple[tuple[int, ...], ...]
    refusal: str | None = None
    runs_without: bool = False


def delegation(path: Path) -> Delegation:
    """Load a file as a phone or desktop does, in a child process."""
    try:
        return Delegation(_asked(path, "xnnpack"))
    except RuntimeFailure as error:
        refusal = str(error)
    try:
        _asked(path, "builtin")
    except RuntimeFailure:
        return Delegation((), refusal)
    return Delegation((), refusal, runs_without=True)


def _asked(path: Path, kernels: str) -> tuple[tuple[int, ...], ...]:
    with Worker(DELEGATION, _TIME_LIMIT) as worker:
        worker.doing = f"loading the model with {kernels} kernels"
        worker.send((str(path), kernels))
        found: tuple[tuple[int, ...], ...] = worker.receive()
    return found


def serve(channel: Channel) -> None:
    """The child's side: one file, one answer."""
    load_interpreter()  # while the file is being made
    path, kernels = channel.receive()
    channel.send(("ok", _pieces(Session(path, kernels).nodes())))


def _pieces(nodes: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]]) -> tuple[tuple[int, ...], ...]:
    operators = [node for node in nodes if node[0] != _DELEGATE]
    producers = {tensor: place for place, (_, _, outputs) in enumerate(operators) for tensor in outputs}
    found = []
    for outside, results in (node[1:] for node in nodes if node[0] == _DELEGATE):
        waiting, members = list(results), set[int]()
        while waiting:
            tensor = waiting.pop()
            place = None if tensor in outside else producers.get(tensor)
            if place is not None and place not in members:
                members.add(place)
                waiting.extend(operators[place][1])
        found.append(tuple(sorted(members)))
    return tuple(sorted(found))
