"""What is wrong with samples that can be read: twins, the same ones on both sides, lopsided classes, another range.

Only what leaves no doubt is said: a false alarm costs more than silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

import numpy as np

from tersor.data.dataset import Dataset, Glimpse
from tersor.data.feed import Sample
from tersor.ir.graph import Array, Graph, Model
from tersor.stages.match_training import match_training

_FLAT = 0.05
"""A model that begins with a normalization expects values that it spreads over about 1: narrower ones are not raw."""

_FAR = 100.0
"""Likewise: values that it takes this far from 0 were meant for another normalization, or for none."""

_LOOKED_AT = 16
"""Samples whose range is compared with what the model expects."""

_MOST = 1000
"""Samples of a set that are compared with others."""

_ENOUGH = 20
"""Labelled samples below which the share of a class says little."""


def examine(calibration: Dataset, evaluation: Dataset | None, model: Model, most: int = _MOST) -> tuple[str, ...]:
    """What a user should know about samples, in sentences.

    Args:
        calibration: what ranges come from.
        evaluation: what is measured on, None if that is the same.
        model: as it was loaded: its first operators say what it expects.
        most: samples of the evaluation set that are measured on, and so looked at.

    Samples are told apart by the digests of their files (or array rows); data without them is not compared.
    """
    own = list(calibration.glimpses(_MOST))
    others = [] if evaluation is None else list(evaluation.glimpses(most))
    contents = _contents([*own, *others])
    found = _twins(own, contents[: len(own)])
    found += _leak(own, others, contents)
    found += _lopsided([item.label for item in own], calibration.classes)
    return (*found, *_normalized(calibration, model))


def _contents(items: Sequence[Glimpse]) -> list[bytes]:
    """What only samples of the same content have in common: of those with a sketch of their own that, else a digest."""
    sketches = [item.sketch() for item in items]
    counts = Counter(sketches)
    return [
        b"alone" + sketch if counts[sketch] == 1 else item.digest()
        for item, sketch in zip(items, sketches, strict=True)
    ]


def _twins(own: Sequence[Glimpse], contents: Sequence[bytes]) -> list[str]:
    """Samples of the same content: they count twice for nothing."""
    first: dict[bytes, Glimpse] = {}
    pairs = []
    for item, content in zip(own, contents, strict=True):
        if content in first:
            pairs.append((item, first[content]))
        first.setdefault(content, item)
    if not pairs:
        return []
    copy, original = pairs[0]
    are = "are copies" if len(pairs) > 1 else "is a copy"
    return [
        f"{len(pairs)} of {len(own)} calibration samples {are} of others ({copy.source} is {original.source})",
    ]


def _leak(own: Sequence[Glimpse], others: Sequence[Glimpse], contents: Sequence[bytes]) -> list[str]:
    """Samples that ranges come from, among those that are measured on."""
    known = dict(zip(contents, own, strict=False))
    theirs = contents[len(own) :]
    shared = [(item, known[content]) for item, content in zip(others, theirs, strict=True) if content in known]
    if not shared:
        return []
    item, twin = shared[0]
    where = item.source if item.source == twin.source else f"{item.source} is {twin.source}"
    were = f"{len(shared)} of {len(others)} samples that are measured on were calibrated on, too"
    return [f"{were} ({where}): they say nothing of new data"]


def _lopsided(labels: Sequence[object], names: Sequence[str]) -> list[str]:
    """Classes that calibration sees hardly, or not at all."""
    classes = [index for label in labels if (index := _index(label)) is not None]
    if len(classes) < max(_ENOUGH, len(labels)):
        return []
    counts = Counter(classes)
    index, most = counts.most_common(1)[0]
    share = most / len(classes)
    known = max(len(names), len(counts))
    name = f"class {names[index]!r}" if index < len(names) else f"class {index}"
    if len(counts) == 1:
        if known > 1 or not names:
            return [f"all {most} calibration samples are of {name}: ranges are of that class alone"]
        return []
    if share > (0.5 if known > 2 else 0.9):
        return [f"{most} of {len(classes)} calibration samples are of {name}: ranges are mostly of that class"]
    return []


def _index(label: object) -> int | None:
    """A label that is a class index, or one value per class; else None."""
    if label is None:
        return None
    values = np.asarray(label)
    if values.ndim == 0 and values.dtype.kind in "iu":
        return int(values)
    if values.ndim == 1 and values.size > 1 and values.dtype.kind in "fiu" and values.sum() == values.max() == 1:
        return int(values.argmax())
    return None


def _normalized(data: Dataset, model: Model) -> list[str]:
    """Values that are normalized otherwise than a model expects."""
    if len(model.graph.inputs) != 1:
        return []
    arrays = [item.inputs for item in islice(iter(data), _LOOKED_AT) if isinstance(item, Sample)]
    values = [array for array in arrays if isinstance(array, np.ndarray) and array.size]
    if found := _range(values, model.graph):
        return found
    other = match_training(values, model.graph)
    return [] if other is None else [other]


def _range(values: Sequence[Array], graph: Graph) -> list[str]:
    """Values that cannot be what a model expects that normalizes its input itself."""
    factor, offset = _normalization(graph)
    if factor is None:
        return []
    values = [np.asarray(array, np.float64) for array in values]
    if not values or any(factor.size not in (1, each.shape[-1] if each.ndim else 1) for each in values):
        return []
    low, high = min(float(each.min()) for each in values), max(float(each.max()) for each in values)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        return []
    after = [each * factor + offset for each in values]
    least, largest = min(float(each.min()) for each in after), max(float(each.max()) for each in after)
    told = f"samples lie in {low:.4g}..{high:.4g}, and the model begins by normalizing its input itself, which makes "
    told += f"{least:.3g}..{largest:.3g} of that"
    if largest - least < _FLAT:
        return [f"{told}: they look alike to it; were they normalized before (--rescale, --mean and --std)?"]
    if float(np.median([np.abs(each).max() for each in after])) > _FAR:
        return [f"{told}: it expects other values; should they be normalized (--rescale, --mean and --std)?"]
    return []


def _normalization(graph: Graph) -> tuple[Array | None, Array]:
    """The factor and the offset by which a graph begins, per channel or for all; no factor if it does not."""
    name, factor, offset = graph.inputs[0], np.ones(1), np.zeros(1)
    count = 0
    while (op := graph.sole_reader(name)) is not None and op.kind in ("MUL", "ADD", "SUB", "DIV"):
        operands = [graph.tensors[item] for item in op.present_inputs]
        constants = [tensor.data for tensor in operands if tensor.data is not None]
        if len(constants) != 1 or (op.kind in ("SUB", "DIV") and operands[1].data is None):
            break
        constant = np.asarray(constants[0], np.float64)
        if constant.size not in (1, constant.shape[-1] if constant.ndim else 1):
            break
        constant = constant.reshape(-1)
        if op.kind in ("MUL", "DIV"):
            scale = constant if op.kind == "MUL" else 1 / constant
            factor, offset = factor * scale, offset * scale
        else:
            offset = offset + (constant if op.kind == "ADD" else -constant)
        count += op.kind in ("MUL", "DIV")
        name = op.outputs[0]
    return (factor if count else None), offset
