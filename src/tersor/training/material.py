"""What a network trains on and what it is judged by, from what a user names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from tersor.data.dataset import Dataset
from tersor.data.feed import Sample
from tersor.data.preprocess import Preprocess
from tersor.errors import DataError, RecipeError
from tersor.ir.graph import Model
from tersor.stages.load_data import load_data, normalization
from tersor.training.augment import Augmentation, usual_augmentation

_FEWEST = 2
"""Samples to be judged by, at least."""


@dataclass(frozen=True)
class Material:
    """Samples, normalized as the network takes them, but for `raw`.

    Attributes:
        training: what is trained on.
        validation: what no weight has seen.
        augmentation: how training samples are changed.
        raw: those of `training` before normalization, in the same places; None where nothing is changed.
        normalize: what becomes of `raw` after it was changed.
    """

    training: Dataset
    validation: Dataset
    augmentation: Augmentation = field(default_factory=Augmentation)
    raw: Dataset | None = None
    normalize: Preprocess = field(default_factory=Preprocess)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about them."""
        changed = f"training samples are changed in every epoch: {self.augmentation} (--augment)"
        counts = f"{len(self.training)} samples to train on"
        held = "" if self.validation.size is None else f", {len(self.validation)} others to be judged by"
        return (*self.training.notes, counts + held, *((changed,) if self.augmentation else ()))


def load_material(
    data: str,
    model: Model,
    validate: str = "0.1",
    *,
    preprocess: Preprocess | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    features: str = "",
) -> Material:
    """Samples to train on and others to be judged by.

    Args:
        data: see `stages.load_data.load_data`.
        model: takes them.
        validate: a share of the data that is held back, or other data.
        preprocess: see `load_data`.
        augmentation: how training samples are changed; None for what is usual for them.
        seed: which samples are held back.
        skip_bad: see `load_data`.
        features: see `load_data`.

    Raises DataError, and RecipeError for a share that is none.
    """

    def read(source: str, how: Preprocess | None) -> Dataset:
        return load_data(source, model, how, skip_bad=skip_bad, features=features)

    found = read(data, preprocess)
    whole = by_place(found)
    share = _share(validate)
    if share is None:
        training, validation = whole, read(validate, preprocess)
    else:
        validation, training = held_back(whole, share, seed)
    raw = None
    if augmentation is None and found.peek is None:
        augmentation = Augmentation()
    if augmentation is None or augmentation:
        raw = by_place(read(data, Preprocess()))
        if augmentation is None:
            shape = model.graph.tensors[model.graph.inputs[0]].shape
            augmentation = usual_augmentation(first_of(raw).inputs, shape)
        raw = replace(raw, chosen=training.chosen) if augmentation else None
    return Material(training, validation, augmentation, raw, normalization(preprocess, model)[0])


def held_back(whole: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Two disjoint sets: this share of the samples, drawn at random, and the others. Raises DataError for too few."""
    count = round(share * len(whole))
    if count < _FEWEST:
        raise DataError(
            f"{whole.what}: {share:g} of {len(whole)} samples is too few to judge by; --validate takes a larger share, "
            "or other data"
        )
    return whole.split(count, seed)


def by_place(data: Dataset) -> Dataset:
    """The samples such that any can be drawn by its place; those that cannot be are kept in memory."""
    if data.peek is not None and data.size is not None:
        return data
    kept = list(data)

    def draw(places: Sequence[int] | None) -> Iterator[Sample]:
        return iter(kept) if places is None else (kept[place] for place in places)

    note = f"the {len(kept)} samples are held in memory: their kind of data cannot be drawn from"
    return replace(data, draw=draw, size=len(kept), chosen=None, notes=(*data.notes, note))


def first_of(data: Dataset) -> Sample:
    """Any sample. Raises DataError for no samples."""
    for sample in islice(data, 1):
        return sample
    raise DataError(f"{data.what}: no samples")


def _share(text: str) -> float | None:
    """The number that is given in place of data."""
    if not re.fullmatch(r"[\d.]+ *%?", text):
        return None
    try:
        found = float(text.rstrip("% ")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None
    if not 0 < found < 1:
        raise RecipeError(f"--validate {text}: give a share of the data, as 0.1 or 10%, or other data")
    return found
