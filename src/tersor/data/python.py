"""A Python function, `module:function`, that yields samples.

Called without arguments each time the data is gone through. It yields arrays, (array, label) pairs, dicts by input
name, or `tersor.Sample`s. The module is looked up as by `import`, from the current folder too.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tersor.data.dataset import Dataset
from tersor.data.feed import Sample
from tersor.data.preprocess import Preprocess
from tersor.data.reading import Reading
from tersor.errors import DataError, TersorError


def accepts(spec: str) -> bool:
    """Whether `spec` looks like module:function."""
    return re.fullmatch(r"[\w.]+:\w+", spec) is not None


def load(spec: str, shape: tuple[int, ...], preprocess: Preprocess, reading: Reading | None = None) -> Dataset:  # noqa: ARG001
    """The samples a function yields. Raises DataError if it cannot be found."""
    function = find_function(spec)

    def draw(places: Sequence[int] | None) -> Iterator[Sample]:
        wanted = None if places is None else set(places)
        for number, item in enumerate(called(function, spec)):
            if wanted is None or number in wanted:
                yield as_sample(item, preprocess, f"{spec} item {number}")

    return Dataset(draw, None, spec)


def find_function(spec: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises DataError."""
    module_name, function_name = spec.split(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # whatever the module does when it is imported
        raise DataError(f"{spec}: {_named(error)}") from error
    if not callable(function):
        raise DataError(f"{spec}: it is not a function")
    return function  # type: ignore[no-any-return]


def called(function: Callable[[], Iterable[object]], spec: str) -> Iterator[object]:
    """What the function yields. Raises DataError for whatever goes wrong in it."""
    number = 0
    try:
        for item in function():
            yield item
            number += 1
    except TersorError:
        raise
    except Exception as error:
        raise DataError(f"{spec}: it fails at item {number}: {_named(error)}") from error


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"


def as_sample(item: object, preprocess: Preprocess, source: str) -> Sample:
    """One item of what a user yields: arrays, dicts by input name, (inputs, label) pairs, `Sample`s."""
    if isinstance(item, Sample):
        return item
    label: object = None
    if isinstance(item, tuple) and len(item) == 2 and np.ndim(item[1]) == 0:
        item, label = item
    if isinstance(item, dict):
        return Sample({name: preprocess.apply(np.asarray(value)) for name, value in item.items()}, label, source)
    if isinstance(item, tuple | list) and all(isinstance(part, np.ndarray) for part in item):
        return Sample(tuple(preprocess.apply(part) for part in item), label, source)
    return Sample(preprocess.apply(np.asarray(item)), label, source)
