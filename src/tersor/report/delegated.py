"""What a delegate took of a model, in words and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tersor.runtimes.delegate import Delegate
from tersor.runtimes.loaded_delegate import Share

Pairs = Sequence[tuple[str, Share]]
"""Models, by what they are called ("" for the only one), with what was taken of each."""


def notes(delegate: Delegate, pairs: Pairs) -> Iterator[str]:
    """What was taken and what stays, a line per model of which something was."""
    for name, share in pairs:
        if share.taken:
            left = [kind for place, kind in enumerate(share.operators) if place not in share.taken]
            pieces = f" in {len(share.pieces)} pieces" if len(share.pieces) > 1 else ""
            taken = _counted(share.operators[place] for place in share.taken)
            rest = f"; the kernels run {_counted(left)}" if left else ""
            yield (
                f"{_of(name)}delegate {delegate.name} runs {len(share.taken)} of {len(share.operators)} "
                f"operators{pieces} ({taken}){rest}"
            )


def warnings(delegate: Delegate, pairs: Pairs) -> Iterator[str]:
    """The models of which nothing was taken."""
    for name, share in pairs:
        if not share.taken:
            advice = ": it takes compiled models only (tersor compile)" if delegate.name == "edge_tpu" else ""
            yield (
                f"{_of(name)}delegate {delegate.name} takes none of the {len(share.operators)} operators, so "
                f"all of them run on the CPU{advice}"
            )


def share_to_dict(share: Share) -> dict[str, Any]:
    """For `--json`: the operators and which of them run in each piece, by their places in the file."""
    return {"operators": list(share.operators), "pieces": [list(piece) for piece in share.pieces]}


def _of(name: str) -> str:
    return f"{name}: " if name else ""


def _counted(kinds: Iterable[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in Counter(kinds).most_common())
