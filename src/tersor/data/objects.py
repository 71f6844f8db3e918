"""Data sets of a program: a `tf.data.Dataset`, a PyTorch `Dataset` or `DataLoader`, a Keras `PyDataset`, any iterable.

They are known by what they can do, so that neither TensorFlow nor PyTorch is imported. Elements are inputs, or
(inputs, label) and (inputs, label, weight) tuples, alone or in batches: batches are taken apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersor.data.dataset import Dataset
from tersor.data.digest import digest_of_arrays
from tersor.data.feed import Sample
from tersor.data.preprocess import Preprocess
from tersor.data.python import called
from tersor.errors import DataError, TersorWarning
from tersor.ir.graph import Array

_INFINITE = -1
"""What `tf.data.Dataset.cardinality` says of one that repeats for ever."""


def from_object(data: Any, shapes: Mapping[str, tuple[int, ...]], preprocess: Preprocess) -> Dataset:
    """The samples of an object.

    Args:
        data: see the module; also a function that makes one.
        shapes: of the model's inputs by name, with the batch, -1 where open: they tell batches from samples.
        preprocess: applied to each array of a sample.

    Raises DataError for what cannot be gone through, or only once, or never ends; later for what fails in it.
    """
    what = getattr(data, "__name__", type(data).__name__)
    take_apart = _Apart(shapes, preprocess, what)
    _require_end(data, what)
    if _has_places(data):
        return _by_place(data, take_apart, what)
    iterate = _iteration(data, what)
    _warn_of_order(iterate, take_apart, what)

    def draw(places: Sequence[int] | None) -> Iterator[Sample]:
        wanted = None if places is None else set(places)
        for number, sample in enumerate(take_apart.all(called(iterate, what))):
            if wanted is None or number in wanted:
                yield replace(sample, source=f"{what} sample {number}")

    return Dataset(draw, None, what)


def is_foreign(data: object) -> bool:
    """Whether something is a data set of another library, or makes one, rather than a row of samples."""
    return not isinstance(data, Sequence | np.ndarray | Iterator) and (
        callable(getattr(data, "as_numpy_iterator", None)) or hasattr(data, "__getitem__") or hasattr(data, "dataset")
    )


def _has_places(data: Any) -> bool:
    """Whether any element can be had by its number.

    A DataLoader has a length, but no elements by number; PyTorch's IterableDataset only inherits a way to get them.
    """
    by_number = hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Mapping | str)
    return by_number and (isinstance(data, Sequence | np.ndarray) or not hasattr(data, "__iter__"))


def _by_place(data: Any, take_apart: _Apart, what: str) -> Dataset:
    """Of a data set with elements by number; of batches by number the count of samples is not known."""
    count = len(data)
    first = next(called(lambda: (data[place] for place in range(min(count, 1))), what), None)
    is_batched = first is not None and take_apart.is_batch(first)

    def draw(places: Sequence[int] | None) -> Iterator[Sample]:
        wanted = range(count) if is_batched or places is None else places
        samples = take_apart.all(called(lambda: (data[place] for place in wanted), what))
        numbers = wanted if not is_batched and places is not None else None
        for number, sample in enumerate(samples):
            yield replace(sample, source=f"{what}[{numbers[number] if numbers is not None else number}]")

    return Dataset(draw, None if is_batched else count, what)


def _require_end(data: Any, what: str) -> None:
    cardinality = getattr(data, "cardinality", None)
    if callable(cardinality) and int(np.asarray(cardinality())) == _INFINITE:
        raise DataError(f"{what}: it repeats for ever; give an end by .take(n)")


def _iteration(data: Any, what: str) -> Callable[[], Iterable[object]]:
    """Begins to go through the elements, as NumPy arrays where the object offers that."""
    if isinstance(data, Iterator):
        raise DataError(f"{what}: it can be gone through only once; give the function that makes it, or a list")
    if callable(getattr(data, "as_numpy_iterator", None)):
        return data.as_numpy_iterator  # type: ignore[no-any-return]
    if hasattr(data, "__iter__"):
        return lambda: iter(data)
    if callable(data):
        return data  # type: ignore[no-any-return]
    raise DataError(f"{what}: it is no data: it cannot be gone through")


def _warn_of_order(iterate: Callable[[], Iterable[object]], take_apart: _Apart, what: str) -> None:
    """Samples to calibrate and to measure on are told apart by their order, which has to be the same each time."""
    firsts = []
    for _ in range(2):
        sample = next(take_apart.all(called(iterate, what)), None)
        if sample is None:
            raise DataError(f"{what}: no samples")
        inputs = sample.inputs
        arrays = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else [inputs]
        firsts.append(digest_of_arrays([np.asarray(values) for values in arrays]))
    if firsts[0] != firsts[1]:
        warnings.warn(
            TersorWarning(
                f"{what}: it begins with another sample each time, so samples to calibrate on may be measured on, too: "
                "leave out shuffling and augmentation, or shuffle with reshuffle_each_iteration=False"
            ),
            stacklevel=4,  # the caller of `load_data`
        )


class _Apart:
    """Makes samples of elements, and takes batches apart."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], preprocess: Preprocess, what: str) -> None:
        self._shapes = shapes
        self._preprocess = preprocess
        self._what = what

    def all(self, elements: Iterable[Any]) -> Iterator[Sample]:
        """The samples in elements, one after the other. Raises DataError."""
        for element in elements:
            if isinstance(element, Sample):
                yield element
                continue
            arrays, label = self._parts(element)
            if not self._are_batched(arrays):
                yield self._sample(arrays, label)
                continue
            sizes = {len(values) for values in arrays.values()} | ({len(label)} if _has_length(label) else set())
            if len(sizes) != 1:
                raise DataError(f"{self._what}: a batch of {sorted(sizes)} inputs and labels: they differ in number")
            for row in range(sizes.pop()):
                own = {name: np.asarray(values[row]) for name, values in arrays.items()}
                yield self._sample(own, label[row] if isinstance(label, np.ndarray) and label.ndim else label)

    def is_batch(self, element: object) -> bool:
        """Whether an element holds several samples."""
        return not isinstance(element, Sample) and self._are_batched(self._parts(element)[0])

    def _are_batched(self, arrays: Mapping[str, Array]) -> bool:
        shapes = [self._shapes.get(name) for name in arrays]
        if any(shape is None for shape in shapes):  # inputs in order
            shapes = list(self._shapes.values())
        pairs = zip(arrays.values(), shapes, strict=False)
        return all(shape is not None and _is_batch(values.shape, shape) for values, shape in pairs)

    def _parts(self, element: Any) -> tuple[dict[str, Array], Any]:
        """The inputs by name (by number where they have none), and the label."""
        label: Any = None
        if isinstance(element, tuple | list) and len(element) in (2, 3) and not self._is_all_inputs(element):
            element, label = element[0], None if element[1] is None else _array(element[1], self._what)
        if isinstance(element, Mapping):
            return {str(name): _array(values, self._what) for name, values in element.items()}, label
        if isinstance(element, tuple | list):
            return {str(number): _array(values, self._what) for number, values in enumerate(element)}, label
        return {"0": _array(element, self._what)}, label

    def _is_all_inputs(self, element: Sequence[Any]) -> bool:
        """Whether a tuple is the inputs of a model that has so many, and no (inputs, label) pair."""
        if len(element) != len(self._shapes) or isinstance(element[0], tuple | list | Mapping):
            return False
        own = [_array(values, self._what).shape for values in element]
        return all(len(found) in (len(w), len(w) - 1) for found, w in zip(own, self._shapes.values(), strict=True))

    def _sample(self, arrays: Mapping[str, Array], label: object) -> Sample:
        if isinstance(label, np.ndarray) and label.ndim == 0:
            label = label[()]
        values = {name: self._preprocess.apply(array) for name, array in arrays.items()}
        if all(name in self._shapes for name in values):
            return Sample(values, label)
        self._require_channels_last(values)
        return Sample(next(iter(values.values())) if len(values) == 1 else tuple(values.values()), label)

    def _require_channels_last(self, values: Mapping[str, Array]) -> None:
        """PyTorch's images have their channels first; a model that takes them last would be fed with nonsense."""
        for array, shape in zip(values.values(), self._shapes.values(), strict=False):
            found, wanted = array.shape[-3:], shape[-3:]
            if len(shape) == 4 and len(found) == 3 and found != wanted and (found[1], found[2], found[0]) == wanted:
                raise DataError(
                    f"{self._what}: samples have shape {'x'.join(map(str, found))}, channels first; the model expects "
                    f"{'x'.join(map(str, wanted))}: permute them, e.g. by np.moveaxis(x, 0, -1)"
                )


def _is_batch(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is several samples for an input of that shape."""
    if len(found) == len(shape):
        return True
    lacks_channel = len(shape) > 2 and shape[-1] == 1 and len(found) == len(shape) - 1
    return lacks_channel and found[-1] != 1 and all(w in (-1, f) for f, w in zip(found[1:], shape[1:-1], strict=True))


def _has_length(label: object) -> bool:
    return isinstance(label, np.ndarray) and label.ndim > 0


def _array(values: Any, what: str) -> Array:
    """As NumPy has it, of a tensor of any framework. Raises DataError."""
    if isinstance(values, np.ndarray):
        return values
    if callable(getattr(values, "detach", None)):  # PyTorch: off the graph, off the device
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{what}: an element is no array: {type(values).__name__}: {error}") from error
    if array.dtype == object:
        raise DataError(f"{what}: an element is no array of numbers but {type(values).__name__}")
    return array
