"""Which operators of a file XNNPACK takes, seen in LiteRT's interpreter after it has cut the graph.

What a delegate takes becomes a node of its own behind the graph's; its members are all that its outputs are computed
from, back to its inputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import RuntimeFailure
from tersor.runtimes.isolation import Channel, Worker
from tersor.runtimes.litert import Session

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


def delegation(model: bytes) -> Delegation:
    """Load a file as a phone or desktop does, in a child process. Raises RuntimeFailure if that takes too long."""
    refusal: str | None = None
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        path = Path(folder) / "model.tflite"  # the interpreter maps a file, and copies what it is given as bytes
        path.write_bytes(model)
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
    with Worker("tersor.runtimes.delegation:serve", _TIME_LIMIT) as worker:
        worker.doing = f"loading the model with {kernels} kernels"
        worker.send((str(path), kernels))
        found: tuple[tuple[int, ...], ...] = worker.receive()
    return found


def serve(channel: Channel) -> None:
    """The child's side: one file, one answer."""
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
