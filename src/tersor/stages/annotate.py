"""What a model says of its inputs and outputs: normalization and labels, in both forms that other programs read.

MLTK's parameters can say `x * rescale` and "each sample by its own mean and std"; LiteRT's metadata `(x - mean) / std`
(`x * rescale` is `(x - 0) / (1 / rescale)`). What a form cannot say is not said in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tersor.data.preprocess import Preprocess
from tersor.errors import FormatError, RecipeError
from tersor.formats.tflite.metadata import (
    Normalization,
    read_labels,
    read_normalizations,
    with_labels,
    with_normalizations,
)
from tersor.formats.tflite.parameters import Parameter, read_parameters, with_parameters
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model, Tensor

RESCALE = "samplewise_norm.rescale"
"""The factor; 0 for none (MLTK)."""

SAMPLEWISE = "samplewise_norm.mean_and_std"
"""Whether each sample is divided by its own standard deviation, less its mean (MLTK)."""

CLASSES = "classes"
"""The labels (MLTK)."""

LABEL_LIMIT = 1 << 20
"""Bytes of one label; a file of such lines is no list of labels."""

_SAME = 1e-6
"""Relative difference up to which numbers are the same: they went through float32."""


def declared(model: Model) -> Preprocess:
    """The normalization that a model's metadata state; the identity if they state none.

    Raises FormatError if they are damaged, no numbers, or contradict each other.
    """
    stated = {
        "model parameters": _of_parameters(model),
        **{f"metadata of input {name!r}": item for name, item in _of_metadata(model).items()},
    }
    found = {what: item for what, item in stated.items() if not item.is_identity}
    if not found:
        return Preprocess()
    (what, first), *others = found.items()
    for other, item in others:
        if not same(first, item):
            raise FormatError(
                f"{_source(model)}: its {what} say {first}, its {other} {item}; "
                "'tersor params MODEL attach' writes what is right, and --as-is takes samples that are normalized"
            )
    return first


def resolve(asked: Preprocess, model: Model) -> Preprocess:
    """What is done to samples of a model: what is asked for, or what its metadata state.

    Raises RecipeError if these contradict each other, and what `declared` does.
    """
    stated = declared(model)
    if asked.is_identity or stated.is_identity:
        return stated if asked.is_identity else asked
    if not same(asked, stated):
        raise RecipeError(
            f"{asked} is asked for, but {_source(model)} states {stated} in its metadata: leave the option out, or "
            "write what is right into the model with 'tersor params MODEL attach'"
        )
    return stated


def same(one: Preprocess, other: Preprocess) -> bool:
    """Whether two normalizations are the same but for rounding to float32."""
    if one.samplewise or other.samplewise:
        return one.samplewise == other.samplewise and _close((one.rescale or 1.0,), (other.rescale or 1.0,))
    first, second = _affine(one), _affine(other)
    return _close(first.mean, second.mean) and _close(first.std, second.std)


def annotate(model: Model, preprocess: Preprocess | None = None, labels: tuple[str, ...] | None = None) -> Model:
    """A copy whose metadata state the normalization and the labels; all other metadata stay.

    Args:
        model: of any flavour.
        preprocess: what is done to raw values; None leaves what the model states.
        labels: one for each value of an output; None leaves what the model states.

    Raises RecipeError if the labels are not as many as the values of any output; FormatError for metadata that cannot
    be changed without loss.
    """
    if preprocess is not None and not same(preprocess, _declared_or_none(model)):
        model = _with_preprocess(model, preprocess)
    if labels is not None:
        output = _labelled_output(model, labels)
        model = with_labels(model, output, labels)
        parameters = read_parameters(model)
        if parameters:
            model = with_parameters(model, {**parameters, CLASSES: Parameter("str_list", labels)})
    return model


def labels_of(model: Model) -> dict[str, tuple[str, ...]]:
    """For each output that has labels, by name, the labels. Raises FormatError for damaged metadata."""
    found = read_labels(model)
    classes = read_parameters(model).get(CLASSES)
    if classes is not None and isinstance(classes.value, tuple) and classes.type == "str_list":
        names = tuple(str(label) for label in classes.value)
        fitting = [name for name in model.graph.outputs if _values(model.graph.tensors[name]) == len(names)]
        for name in fitting[:1]:
            found.setdefault(name, names)
    return found


def read_label_file(path: Path) -> tuple[str, ...]:
    """The lines of a text file: label 0, label 1, ... Raises RecipeError."""
    try:
        with path.open("rb") as file:
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path}: the labels cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: the labels are not UTF-8 text: {error.reason} at byte {error.start}") from error
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise RecipeError(f"{path}: there are no labels in it; give one per line")
    if not all(lines):
        raise RecipeError(f"{path}: line {lines.index('') + 1} is empty; give one label per line")
    if max(map(len, lines)) > LABEL_LIMIT:
        raise RecipeError(f"{path}: it has a line of {max(map(len, lines))} characters; give one label per line")
    return tuple(lines)


def _declared_or_none(model: Model) -> Preprocess:
    """What a model states; the identity also where it contradicts itself, for that is about to be put right."""
    try:
        return declared(model)
    except FormatError:
        read_parameters(model)  # damage is not put right
        read_normalizations(model)
        return Preprocess()


def _with_preprocess(model: Model, preprocess: Preprocess) -> Model:
    parameters = read_parameters(model)
    is_simple = preprocess.samplewise or preprocess.rescale is not None
    if is_simple or RESCALE in parameters or SAMPLEWISE in parameters:
        parameters[RESCALE] = Parameter("float", float((preprocess.rescale or 0.0) if is_simple else 0.0))
        parameters[SAMPLEWISE] = Parameter("bool", preprocess.samplewise)
        model = with_parameters(model, parameters)
    given = None if preprocess.samplewise or preprocess.is_identity else _affine(preprocess)
    return with_normalizations(model, {name: given for name in model.graph.inputs if _takes_numbers(model, name)})


def _of_parameters(model: Model) -> Preprocess:
    parameters = read_parameters(model)
    rescale, samplewise = parameters.get(RESCALE), parameters.get(SAMPLEWISE)
    factor = 0.0 if rescale is None else rescale.value
    if (
        isinstance(factor, bool)
        or not isinstance(factor, int | float)
        or not isinstance(False if samplewise is None else samplewise.value, bool)
    ):
        raise FormatError(f"{_source(model)}: its model parameters {RESCALE} and {SAMPLEWISE} are a number and a bool")
    try:
        return Preprocess(rescale=float(factor) or None, samplewise=samplewise is not None and bool(samplewise.value))
    except RecipeError as error:
        raise FormatError(f"{_source(model)}: its model parameter {RESCALE} is {factor}") from error


def _of_metadata(model: Model) -> dict[str, Preprocess]:
    found = {}
    for name, item in read_normalizations(model).items():
        if _is_neutral(item):
            continue
        try:
            found[name] = Preprocess(mean=item.mean, std=item.std)
        except RecipeError as error:
            raise FormatError(
                f"{_source(model)}: the metadata of input {name!r} state no usable normalization: {item}"
            ) from error
    return found


def _is_neutral(item: Normalization) -> bool:
    return all(value == 0 for value in item.mean) and all(value == 1 for value in item.std)


def _affine(preprocess: Preprocess) -> Normalization:
    if preprocess.rescale is not None:
        return Normalization((0.0,), (float(np.float32(1 / preprocess.rescale)),))
    return Normalization(preprocess.mean or (0.0,), preprocess.std or (1.0,))


def _close(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    count = max(len(one), len(other))
    if not {len(one), len(other)} <= {1, count}:
        return False
    first, second = np.broadcast_to(one, count), np.broadcast_to(other, count)
    return bool(np.allclose(first, second, rtol=_SAME, atol=0))


def _labelled_output(model: Model, labels: tuple[str, ...]) -> str:
    """The output that labels belong to: the first with as many values."""
    sizes = {name: _values(model.graph.tensors[name]) for name in model.graph.outputs}
    for name, size in sizes.items():
        if size == len(labels):
            return name
    found = ", ".join(f"{name!r} has {size}" for name, size in sizes.items())
    raise RecipeError(f"there are {len(labels)} labels, but of the outputs of {_source(model)}, {found} values")


def _values(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def _takes_numbers(model: Model, name: str) -> bool:
    """Whether an input holds real numbers, and not indices."""
    tensor = model.graph.tensors[name]
    return tensor.dtype is DType.FLOAT32 or tensor.quant is not None


def _source(model: Model) -> str:
    return model.source or "the model"
