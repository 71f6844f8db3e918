"""What a user names as data -> `Dataset`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tersor import registry
from tersor.data.audio_folder import SUFFIX, recordings
from tersor.data.dataset import Dataset, from_iterable
from tersor.data.feed import Sample
from tersor.data.image_folder import IMAGE_SUFFIXES, images
from tersor.data.objects import from_object, is_foreign
from tersor.data.preprocess import Preprocess
from tersor.data.reading import Reading
from tersor.errors import DataError, RecipeError
from tersor.ir.graph import Model
from tersor.stages.annotate import declared, labels_of, resolve, same
from tersor.stages.match_labels import match_labels

KINDS = ("arrays", "image_csv", "audio_folder", "image_folder", "python")
"""The files of `data` that read samples from somewhere, in the order in which they are asked."""

_SHOWN = 3
"""Names of classes that a message lists."""

_NARROW = 0.02
"""Of the range of bytes: a sample that spans less was probably normalized before."""


def load_data(
    data: object, model: Model, preprocess: Preprocess | None = None, *, skip_bad: bool = False, features: str = ""
) -> Dataset:
    """Samples for a model from a folder, a file, a Python function, or a data set of TensorFlow, PyTorch or Keras.

    Args:
        data: a folder of images or of `.wav` files, a `.csv`, `.npy` or `.npz` file, or "module:function"; or an
            object: a `tf.data.Dataset`, a PyTorch `Dataset` or `DataLoader`, a Keras `PyDataset`, an array, a function
            that yields samples.
        model: tells the shape that images are resized to, and batches from samples.
        preprocess: the normalization of raw values; by default what the model's metadata state. `Preprocess()` for
            values that are normalized already.
        skip_bad: name files that cannot be read, and leave them out.
        features: what sound becomes, see `data.features.parse`; "" for its samples.

    Raises DataError if the data cannot be read, is empty, or has other classes than the model; RecipeError for another
    normalization than the model states.
    """
    applied, remarks = normalization(preprocess, model)
    return _load(data, model, model, applied, remarks, Reading(skip_bad, features))


def load_shared_data(
    data: object,
    model: Model,
    other: Model,
    preprocess: Preprocess | None = None,
    *,
    skip_bad: bool = False,
    features: str = "",
) -> Dataset:
    """Samples for two models at once: normalized and labelled as either of them states.

    Args:
        data: see `load_data`.
        model: tells the shape that images are resized to.
        other: takes the same samples; counts where `model` states nothing.
        preprocess: see `load_data`.
        skip_bad: see `load_data`.
        features: see `load_data`.

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
    labelled = model if labels_of(model) else other
    return _load(data, model, labelled, preprocess, remarks, Reading(skip_bad, features))


def _load(
    data: object, model: Model, labelled: Model, preprocess: Preprocess, remarks: tuple[str, ...], reading: Reading
) -> Dataset:
    """The samples in the shape of one model, with the classes of another or the same."""
    shape = _input_shape(model)
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, str | Path):
        found = from_object(data, _input_shapes(model), preprocess)
        return replace(found, notes=(*remarks, *found.notes))
    spec = str(data)
    if ":" not in spec and not Path(spec).exists():
        raise DataError(f"{spec}: no such file or folder")
    spec = _listed(spec)
    for kind in KINDS:
        module = registry.plugin("data", kind)
        if module.accepts(spec):
            if reading.features and kind != "audio_folder":
                raise RecipeError(f"--features is for folders of .wav files; {spec} is none")
            read: Dataset = module.load(spec, shape, preprocess, reading)
            if read.size == 0:
                raise DataError(f"{spec}: no samples")
            if remarks and kind == "arrays":
                remarks = (*remarks, *_doubt(read, preprocess))
            matched = match_labels(replace(read, notes=(*remarks, *read.notes)), labelled)
            _require_classes(matched, labelled)
            return matched
    raise DataError(
        f"{spec}: not data: give a folder of images or .wav files, a .csv, .npy or .npz file, or module:function"
    )


def dataset_of(samples: Dataset | Iterable[object] | None, model: Model) -> Dataset | None:
    """What a user of the library gives as samples, values as they are. Raises DataError."""
    if samples is None or isinstance(samples, Dataset):
        return samples
    if is_foreign(samples):
        return load_data(samples, model, Preprocess())
    return from_iterable(samples)


def _require_classes(data: Dataset, model: Model) -> None:
    """Raise DataError for classes that are named, where the model has another number of them: indices would be wrong.

    Nothing is known of a model whose only result is not one value per class, or of a single value.
    """
    outputs = [model.graph.tensors[name].shape for name in model.graph.outputs]
    if not data.classes or len(outputs) != 1 or len(outputs[0]) != 2 or outputs[0][1] < 2:
        return
    count = outputs[0][1]
    labels = next(iter(labels_of(model).values()), ())
    if len(data.classes) != count and not set(data.classes) <= set(labels):
        raise DataError(
            f"{data.what}: its {len(data.classes)} classes ({_shown(data.classes)}) are not the model's {count}, so "
            "their order says nothing: name classes by index (0, 1, ...), or give the model labels (quantize --labels)"
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _SHOWN else f"{', '.join(names[: _SHOWN - 1])}, ..., {names[-1]}"


def _listed(spec: str) -> str:
    """A folder that holds one CSV and no sub-folders is the images which that CSV lists."""
    folder = Path(spec)
    if not folder.is_dir() or any(item.is_dir() for item in folder.iterdir()):
        return spec
    lists = sorted(folder.glob("*.csv"))
    return str(lists[0]) if len(lists) == 1 else spec


def load_inputs(
    specs: Sequence[str], model: Model, preprocess: Preprocess | None = None, *, features: str = ""
) -> Iterator[Sample]:
    """Samples from single images and `.wav` files, and from whatever `load_data` reads, in turn. Raises DataError."""
    applied, _ = normalization(preprocess, model)
    shape = _input_shape(model)
    for spec in specs:
        if Path(spec).suffix.lower() in IMAGE_SUFFIXES:
            yield from images([Path(spec)], [None], shape, applied, spec)
        elif Path(spec).suffix.lower() == SUFFIX:
            yield from recordings([Path(spec)], [None], shape, applied, spec, reading=Reading(features=features))
        else:
            yield from load_data(spec, model, preprocess, features=features if Path(spec).is_dir() else "")


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


def _input_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    tensors = [(name, model.graph.tensors[name]) for name in model.graph.inputs]
    return {name: tensor.open_shape or tensor.shape for name, tensor in tensors}


def _input_shape(model: Model) -> tuple[int, ...]:
    if not model.graph.inputs:
        raise DataError(f"{model.source or 'the model'}: it has no inputs, so it takes no data")
    first = model.graph.tensors[model.graph.inputs[0]]
    return first.open_shape or first.shape
