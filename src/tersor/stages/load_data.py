"""What a user names as data -> `Dataset`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tersor import registry
from tersor.data.dataset import Dataset
from tersor.data.feed import Sample
from tersor.data.image_folder import IMAGE_SUFFIXES, images
from tersor.data.preprocess import Preprocess
from tersor.errors import DataError, RecipeError
from tersor.ir.graph import Model
from tersor.stages.annotate import declared, labels_of, resolve, same
from tersor.stages.match_labels import match_labels

KINDS = ("arrays", "image_csv", "image_folder", "python")
"""The files of `data` that read samples from somewhere, in the order in which they are asked."""

_NARROW = 0.02
"""Of the range of bytes: a sample that spans less was probably normalized before."""


def load_data(spec: str, model: Model, preprocess: Preprocess | None = None) -> Dataset:
    """Samples for a model from a folder of images, a CSV of images, a NumPy file or a Python function.

    Args:
        spec: a folder, a `.csv`, `.npy` or `.npz` file, or "module:function".
        model: tells the shape that images are resized to.
        preprocess: the normalization of raw values; by default what the model's metadata state. `Preprocess()` for
            values that are normalized already.

    Raises DataError if the data cannot be read or is empty; RecipeError for another normalization than the model
    states.
    """
    return _load(spec, model, *normalization(preprocess, model))


def load_shared_data(spec: str, model: Model, other: Model, preprocess: Preprocess | None = None) -> Dataset:
    """Samples for two models at once: normalized and labelled as either of them states.

    Args:
        spec: see `load_data`.
        model: tells the shape that images are resized to.
        other: takes the same samples; counts where `model` states nothing.
        preprocess: see `load_data`.

    Raises what `load_data` does, and RecipeError where the models state different normalizations.
    """
    remarks: tuple[str, ...] = ()
    if preprocess is None:
        own, others = declared(model), declared(other)
        if not (own.is_identity or others.is_identity or same(own, others)):
            raise RecipeError(
                f"{model.source or 'the first model'} states {own}, {other.source or 'the second one'} {others}: they "
                "take different samples; --as-is takes samples that are normalized for both"
            )
        preprocess, remarks = normalization(None, other if own.is_identity else model)
    elif not preprocess.is_identity:
        resolve(preprocess, model)
        resolve(preprocess, other)
    data = _load(spec, model, preprocess, remarks)
    return data if labels_of(model) else match_labels(data, other)


def _load(spec: str, model: Model, preprocess: Preprocess, remarks: tuple[str, ...]) -> Dataset:
    shape = _input_shape(model)
    if ":" not in spec and not Path(spec).exists():
        raise DataError(f"{spec}: no such file or folder")
    spec = _listed(spec)
    for kind in KINDS:
        module = registry.plugin("data", kind)
        if module.accepts(spec):
            data: Dataset = module.load(spec, shape, preprocess)
            if data.size == 0:
                raise DataError(f"{spec}: no samples")
            if remarks and kind == "arrays":
                remarks = (*remarks, *_doubt(data, preprocess))
            return match_labels(replace(data, notes=(*remarks, *data.notes)), model)
    raise DataError(f"{spec}: not data: give a folder of images, a .csv, .npy or .npz file, or module:function")


def _listed(spec: str) -> str:
    """A folder that holds one CSV and no sub-folders is the images which that CSV lists."""
    folder = Path(spec)
    if not folder.is_dir() or any(item.is_dir() for item in folder.iterdir()):
        return spec
    lists = sorted(folder.glob("*.csv"))
    return str(lists[0]) if len(lists) == 1 else spec


def load_inputs(specs: Sequence[str], model: Model, preprocess: Preprocess | None = None) -> Iterator[Sample]:
    """Samples from single image files, and from whatever `load_data` reads, one after the other. Raises DataError."""
    applied, _ = normalization(preprocess, model)
    shape = _input_shape(model)
    for spec in specs:
        if Path(spec).suffix.lower() in IMAGE_SUFFIXES:
            yield from images([Path(spec)], [None], shape, applied, spec)
        else:
            yield from load_data(spec, model, preprocess)


def normalization(asked: Preprocess | None, model: Model) -> tuple[Preprocess, tuple[str, ...]]:
    """What is done to samples of a model, and what is to be said of it; see `load_data`. Raises RecipeError."""
    if asked is not None:
        return (asked if asked.is_identity else resolve(asked, model)), ()
    stated = declared(model)
    if stated.is_identity:
        return stated, ()
    return stated, (f"samples are normalized as the model states: {stated} (--as-is for those that are already)",)


def _doubt(data: Dataset, preprocess: Preprocess) -> tuple[str, ...]:
    """What to say of arrays that look as if they were normalized already."""
    values = next(iter(data)).inputs
    if preprocess.samplewise or not isinstance(values, np.ndarray) or not values.size:
        return ()
    raw = preprocess.apply(np.array([[0.0] * values.shape[-1], [255.0] * values.shape[-1]], np.float32))
    if np.ptp(values) >= _NARROW * np.ptp(raw):
        return ()
    return (
        f"the first sample spans {values.min():.4g} to {values.max():.4g} then: if it was normalized, give --as-is",
    )


def _input_shape(model: Model) -> tuple[int, ...]:
    if not model.graph.inputs:
        raise DataError(f"{model.source or 'the model'}: it has no inputs, so it takes no data")
    first = model.graph.tensors[model.graph.inputs[0]]
    return first.open_shape or first.shape
