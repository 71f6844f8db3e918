"""Groups of options that several commands share: a parameter whose type is a group stands for all of its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from tersor.cli import options

if TYPE_CHECKING:
    from tersor.data.dataset import Dataset
    from tersor.data.preprocess import Preprocess
    from tersor.ir.graph import Model


@dataclass(frozen=True)
class Opening:
    """How a model is read: what its file leaves open, and what TensorFlow is asked for."""

    input_shape: options.InputShape = None
    architecture: options.Architecture = None
    via: options.Via = None
    signature: options.SignatureName = None
    tags: options.Tags = None
    graph_inputs: options.GraphInputs = None
    graph_outputs: options.GraphOutputs = None
    select_tf_ops: options.SelectTfOps = False
    trust_code: options.TrustCode = False

    def load(self, path: Path, batch: int = 1) -> Model:
        """The model, for so many samples at once. Raises what `stages.load.load` does, and RecipeError."""
        from tersor.stages.load import load

        asked = options.conversion(
            self.via,
            self.signature,
            self.tags,
            self.graph_inputs,
            self.graph_outputs,
            select_tf_ops=self.select_tf_ops,
            trust_code=self.trust_code,
        )
        shapes = options.input_shapes(self.input_shape)
        return load(path, shapes, batch=batch, architecture=self.architecture, conversion=asked)


@dataclass(frozen=True)
class Normalization:
    """What is done to raw samples."""

    rescale: options.Rescale = None
    mean: options.Mean = None
    std: options.Std = None

    @property
    def preprocess(self) -> Preprocess:
        """See `options.preprocess`."""
        return options.preprocess(self.rescale, self.mean, self.std)

    def load(self, data: str, model: Model) -> Dataset:
        """The samples, for a model; what is to be said of them is printed. Raises what `load_data` does."""
        from tersor.cli import console
        from tersor.stages.load_data import load_data

        dataset = load_data(data, model, self.preprocess)
        console.say(dataset.notes)
        return dataset


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer understands it: with the options of each group in the group's place."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        item.name: item.annotation for item in signature.parameters.values() if is_dataclass(item.annotation)
    }
    parameters: list[inspect.Parameter] = []
    for item in signature.parameters.values():
        parameters += _of_group(groups[item.name]) if item.name in groups else [item]

    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{item.name: given.pop(item.name) for item in fields(group)})
        command(**given)

    call.__doc__ = command.__doc__
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def _of_group(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=hints[item.name])
        for item in fields(group)
    ]
