"""Joins single samples for models that take several at once, and says which model does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tersor.ir.graph import Array


def batch_of(shapes: Iterable[Sequence[int]]) -> int:
    """Samples that a model takes at once: the first size, where all its inputs and outputs have the same; else 1.

    An open batch (-1) counts as 1: the model takes as many as it gets.
    """
    firsts = {shape[0] if len(shape) else 0 for shape in shapes}
    return max(firsts.pop(), 1) if len(firsts) == 1 else 1


def stacked(
    samples: Iterable[Sequence[Array]], size: int, *, padded: bool = True
) -> Iterator[tuple[list[Array], int | None]]:
    """Join samples, each with a batch dimension of one, along it.

    Args:
        samples: for each sample an array per input.
        size: samples to join.
        padded: whether fewer, at the end, are filled up with the last one.

    Yields:
        The arrays, and how many samples are in them; None for what goes alone because it is no single sample: it fills
        the model's batch by itself, or has no batch dimension.
    """
    group: list[Sequence[Array]] = []
    for sample in samples:
        is_single = all(values.shape[:1] == (1,) for values in sample)
        if group and not is_single:
            yield _joined(group, size if padded else len(group)), len(group)
            group = []
        if not is_single:
            yield list(sample), None
            continue
        group.append(sample)
        if len(group) == size:
            yield _joined(group, size), size
            group = []
    if group:
        yield _joined(group, size if padded else len(group)), len(group)


def _joined(group: Sequence[Sequence[Array]], size: int) -> list[Array]:
    if size == 1:
        return list(group[0])
    whole = [*group, *[group[-1]] * (size - len(group))]
    return [np.concatenate(arrays) for arrays in zip(*whole, strict=True)]
