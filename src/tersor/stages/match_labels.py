"""Class names of data, matched with the labels that a model carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tersor.data.dataset import Dataset
from tersor.data.feed import Sample
from tersor.errors import DataError
from tersor.ir.graph import Model
from tersor.stages.annotate import labels_of


def match_labels(data: Dataset, model: Model) -> Dataset:
    """The samples with the model's indices as labels, where both name their classes.

    Without names on either side, and where no name is the same on both, the data's own order of classes stays.

    Raises DataError where only some of the data's classes are the model's, or one is there twice.
    """
    labels = next(iter(labels_of(model).values()), ())
    known = set(labels)
    if not data.classes or not known:
        return data
    if not known & set(data.classes):
        if all(name.isdecimal() for name in data.classes):
            return data
        note = (
            f"none of the classes ({_listed(data.classes)}) is among the labels that the model carries "
            f"({_listed(labels)}): they are counted in their own order"
        )
        return replace(data, notes=(*data.notes, note))
    foreign = [name for name in data.classes if name not in known]
    if foreign:
        raise DataError(
            f"{data.what}: {_listed(foreign)} {'is' if len(foreign) == 1 else 'are'} not among the {len(labels)} "
            f"labels that {model.source or 'the model'} carries, the other {len(data.classes) - len(foreign)} are"
        )
    counts = Counter(labels)
    if twice := [name for name in data.classes if counts[name] > 1]:
        raise DataError(
            f"{data.what}: {_listed(twice)}: the model has that label more than once; name classes by index"
        )
    places = tuple(labels.index(name) for name in data.classes)
    if places == tuple(range(len(places))):
        return data

    def draw(chosen: Sequence[int] | None) -> Iterator[Sample]:
        for sample in data.draw(chosen):
            own = sample.label
            yield replace(sample, label=places[own]) if isinstance(own, int) else sample

    notes = (*data.notes, "classes have the indices that the model's labels give their names")
    return replace(data, draw=draw, classes=(), notes=notes)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
