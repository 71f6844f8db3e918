"""Groups of options that several commands share: a parameter whose type is a group stands for all of its options."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from tersor.cli import options
from tersor.errors import RecipeError

if TYPE_CHECKING:
    from tersor.data.dataset import Dataset
    from tersor.data.preprocess import Preprocess
    from tersor.ir.graph import Model
    from tersor.recipe import Recipe
    from tersor.runtimes.engine import Engine
    from tersor.stages.fine_tuning import FineTunes


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

    def load(self, path: Path, batch: int = 1, *, outlines_above: float = math.inf) -> Model:
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
        return load(
            path,
            shapes,
            batch=batch,
            architecture=self.architecture,
            conversion=asked,
            outlines_above=outlines_above,
        )


@dataclass(frozen=True)
class Values:
    """What is done to the values of raw samples."""

    rescale: options.Rescale = None
    mean: options.Mean = None
    std: options.Std = None
    samplewise: options.Samplewise = False
    as_is: options.AsIs = False

    @property
    def preprocess(self) -> Preprocess | None:
        """What is asked for: see `options.preprocess`; None to do what the model states. Raises RecipeError."""
        asked = options.preprocess(self.rescale, self.mean, self.std, samplewise=self.samplewise)
        if self.as_is and not asked.is_identity:
            raise RecipeError(f"--as-is leaves samples as they are, and {asked} is asked for, too: give one of them")
        return asked if self.as_is or not asked.is_identity else None

    def annotate(self, model: Model, labels: Path | None, *, write: bool = True) -> Model:
        """The model with what is asked for in its metadata. Raises RecipeError if that contradicts what they state."""
        from tersor.stages.annotate import annotate, read_label_file, resolve

        asked = self.preprocess
        if asked is not None and not asked.is_identity:
            resolve(asked, model)
        found = None if labels is None else read_label_file(labels)
        return annotate(model, None if asked is None or asked.is_identity or not write else asked, found)


@dataclass(frozen=True)
class Normalization(Values):
    """How samples are read, and what is done to their values."""

    skip_bad: options.SkipBad = False
    features: options.Features = None

    def load(self, data: str, model: Model, other: Model | None = None, *, quiet: bool = False) -> Dataset:
        """The samples, for a model; what is to be said of them is printed. Raises what `load_data` does.

        Args:
            data: what the user names.
            model: that takes them.
            other: takes them as well; see `load_shared_data`.
            quiet: whether nothing is printed.
        """
        from tersor.cli import console
        from tersor.stages.load_data import load_data, load_shared_data

        asked, features = self.preprocess, self.features or ""
        if other is None:
            dataset = load_data(data, model, asked, skip_bad=self.skip_bad, features=features)
        else:
            dataset = load_shared_data(data, model, other, asked, skip_bad=self.skip_bad, features=features)
        if not quiet:
            console.say(dataset.notes)
        return dataset


@dataclass(frozen=True)
class Repairing:
    """How much may be lost, and what may be done about it."""

    max_drop: options.MaxDrop = None
    islands: options.Islands = None
    max_minutes: options.MaxMinutes = 10.0
    finetune: options.FineTune = False
    finetune_minutes: options.FineTuneMinutes = 5.0

    def tuner(self, recipes: Sequence[Recipe]) -> FineTunes | None:
        """What trains, if that is asked for, here or by a recipe. Raises RecipeError where Keras is not installed."""
        if not self.finetune and not any(recipe.finetune for recipe in recipes):
            return None
        if not any(recipe.needs_calibration for recipe in recipes):
            names = ", ".join(recipe.name for recipe in recipes)
            raise RecipeError(f"--finetune is for integer activations, and {names} computes in float: ask for int8")
        from tersor.cli import console

        try:
            with console.hushed():  # backends greet
                from tersor.training.finetune import FineTuner
        except ImportError as error:
            raise RecipeError(f"--finetune: {str(error).splitlines()[0]}") from error
        return FineTuner(minutes=self.finetune_minutes)

    def require_sense(self) -> None:
        """Raise RecipeError for options of repair without a goal."""
        if self.max_drop is None and self.islands is not None:
            raise RecipeError("--islands is for repair: give --max-drop, too")


@dataclass(frozen=True)
class Delegating:
    """What runs besides the kernels."""

    delegate: options.DelegateName = None
    device: options.Device = None
    delegate_option: options.DelegateOption = None

    def engine(self) -> Engine:
        """A child process that runs models with the delegate, or without one. Raises RecipeError for odd options."""
        from tersor.runtimes.delegate import find_delegate
        from tersor.runtimes.engine import Engine

        given = self._given()
        if self.delegate is None:
            if given:
                option = "--delegate-option" if self.device is None else "--device"
                raise RecipeError(f"{option} is for a delegate: give --delegate, too")
            return Engine()
        return Engine(delegate=find_delegate(self.delegate, given))

    def say(self, engine: Engine, models: Sequence[object]) -> None:
        """Say what the delegate took of each model that was opened."""
        from tersor.cli import console
        from tersor.report.delegated import notes, warnings

        if engine.delegate is not None:
            named = [str(model) for model in models] if len(models) > 1 else [""]
            pairs = list(zip(named, engine.shares, strict=False))
            console.say(notes(engine.delegate, pairs), warnings(engine.delegate, pairs))

    def _given(self) -> dict[str, str]:
        given = {}
        for text in self.delegate_option or ():
            key, equals, value = text.partition("=")
            if not key or not equals:
                raise RecipeError(f"--delegate-option {text!r} is not KEY=VALUE")
            if key in given:
                raise RecipeError(f"--delegate-option: {key} is given twice")
            given[key] = value
        if self.device is not None:
            if "device" in given:
                raise RecipeError("--device and --delegate-option device=... are the same: give one of them")
            given["device"] = self.device
        return given


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
