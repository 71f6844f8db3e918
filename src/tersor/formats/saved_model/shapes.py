"""Sizes that a model leaves open: the batch is one, the others are asked for. Runs in the child, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tersor.errors import UnsupportedError

Sizes = Sequence[int | None] | None
"""A stated shape with its batch, None for an open size; None for one whose rank is open, too."""


def closed(name: str, stated: Sizes, wanted: Mapping[str, Sequence[int]], batch: int = 1) -> list[int]:
    """The shape to convert an input with.

    Args:
        name: the input's.
        stated: what the model says.
        wanted: for an input's name (or "" for any), its sizes without the batch.
        batch: where the model leaves that open.

    Raises UnsupportedError that asks for sizes that are open, or says that those given do not fit.
    """
    given = wanted.get(name) or wanted.get("")
    if stated is None:
        if given is None:
            raise UnsupportedError(
                f"input {name!r} leaves all sizes open; a file for a device has fixed ones: give --input-shape, for "
                "instance --input-shape 224,224,3"
            )
        return [batch, *given]
    shown = ",".join("?" if size is None else str(size) for size in stated[1:])
    if given is None:
        if None in stated[1:]:
            raise UnsupportedError(
                f"input {name!r} leaves sizes open: [{shown}]; a file for a device has fixed ones: give --input-shape, "
                f"for instance --input-shape {shown.replace('?', '224')}"
            )
        given = [size for size in stated[1:] if size is not None]
    elif len(given) != len(stated) - 1 or any(b not in (None, a) for a, b in zip(given, stated[1:], strict=True)):
        raise UnsupportedError(f"input {name!r} is [{shown}]; the shape {','.join(map(str, given))} does not fit it")
    return [batch if size is None else size for size in stated[:1]] + list(given)
