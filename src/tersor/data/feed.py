"""Fits one sample to a model's inputs, or says why it does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tersor.errors import DataError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import quantize


@dataclass(frozen=True)
class Sample:
    """One example.

    Attributes:
        inputs: an array, one array per input in order, or arrays by input name; real numbers as the float model expects
            them, with or without the batch dimension.
        label: what is right for it: a class index, or an array; None if unknown.
        source: where it came from, for messages.
    """

    inputs: object
    label: object = None
    source: str = field(default="", compare=False)


class InputPort(Protocol):
    """What `fit` needs to know of an input: its name, shape (-1 where open), NumPy type name, scale and zero point."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def scale(self) -> float: ...
    @property
    def zero_point(self) -> int: ...


def fit(sample: object, ports: Sequence[InputPort], number: int = 0) -> list[Array]:
    """One array per input, of its type and shape (batch dimension included).

    Float64 and integer arrays become float32 for a float input; a missing batch dimension is added; real numbers are
    quantized for an integer input with a scale. For a model with a batch of several, a single sample gets a batch
    dimension of one: see `data.batch`.

    Args:
        sample: a `Sample`, or what `Sample.inputs` may be.
        ports: the model's inputs.
        number: the sample's place in the data, for messages.

    Raises DataError that names the sample, what was expected and what was found.
    """
    where = f"sample {number}"
    if isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[0], np.ndarray) and np.ndim(sample[1]) == 0:
        sample = sample[0]  # an (inputs, label) pair
    if isinstance(sample, Sample):
        where += f" ({sample.source})" if sample.source else ""
        sample = sample.inputs
    values = _by_port(sample, ports, where)
    return [_fit_one(item, port, where) for item, port in zip(values, ports, strict=True)]


def _by_port(sample: object, ports: Sequence[InputPort], where: str) -> list[object]:
    if isinstance(sample, Mapping):
        missing = [port.name for port in ports if port.name not in sample]
        if missing or len(sample) != len(ports):
            raise DataError(
                f"{where}: its inputs are named {sorted(map(str, sample))}, the model's {[port.name for port in ports]}"
            )
        return [sample[port.name] for port in ports]
    if isinstance(sample, tuple | list) and all(isinstance(item, np.ndarray) for item in sample):
        if len(sample) != len(ports):
            raise DataError(f"{where}: it has {len(sample)} arrays, the model has {len(ports)} inputs")
        return list(sample)
    if len(ports) != 1:
        raise DataError(f"{where}: it is one array, the model has {len(ports)} inputs: {[port.name for port in ports]}")
    return [sample]


def _fit_one(value: object, port: InputPort, where: str) -> Array:
    if port.dtype == "string":
        raise DataError(f"{where}: input {port.name!r} takes strings; tersor runs models on numbers")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{where}: input {port.name!r} is not an array: {error}") from error
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where}: input {port.name!r} has type {array.dtype}, expected {port.dtype}")
    array = _fit_shape(array, port, where)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = "NaN" if np.isnan(array).any() else "infinity"
        raise DataError(f"{where}: input {port.name!r} contains {bad}")
    return _fit_type(array, port, where)


def _fit_shape(array: Array, port: InputPort, where: str) -> Array:
    for shape in dict.fromkeys((port.shape, (1, *port.shape[1:])) if port.shape else (port.shape,)):
        if _matches(array.shape, shape):
            return array
        if shape and _matches(array.shape, shape[1:]):
            return array[np.newaxis]
        if array.shape and array.shape[-1:] != (1,) and _matches((*array.shape, 1), shape):
            return array[..., np.newaxis]
        if array.shape and shape and _matches((1, *array.shape, 1), shape):
            return array[np.newaxis, ..., np.newaxis]
    expected = "x".join("?" if size < 0 else str(size) for size in port.shape) or "a scalar"
    found = "x".join(map(str, array.shape)) or "a scalar"
    raise DataError(f"{where}: input {port.name!r} has shape {found}, the model expects {expected}")


def _matches(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))


def _fit_type(array: Array, port: InputPort, where: str) -> Array:
    wanted = np.dtype(port.dtype)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            result = np.asarray(array, wanted, order="C")
        if result is not array and not np.isfinite(result).all():
            raise DataError(f"{where}: input {port.name!r} does not fit in {wanted}: {array.max():g}")
        return result
    if port.scale:
        return quantize(array, QuantParams((port.scale,), (port.zero_point,), DType(port.dtype)))
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        raise DataError(f"{where}: input {port.name!r} is {wanted} in the model, but has fractions")
    return np.asarray(array, wanted, order="C")
