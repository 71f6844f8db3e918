"""Model -> `Placement`: where each operator would run on a target. Nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tersor import registry
from tersor.errors import RecipeError, TersorError, UnsupportedError
from tersor.formats import tflite
from tersor.formats.tflite.edge_tpu_package import OPERATOR, read_package
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ir.placement import Placement, Resource
from tersor.passes import deduplicate_constants
from tersor.stages.fit import promise
from tersor.stages.load import load, runs_as_it_is
from tersor.stages.optimize import PASSES, optimize
from tersor.stages.plan.refusals import COMPILERS
from tersor.stages.rough_quantize import rough_quantize
from tersor.stages.thin import restored, thinned
from tersor.targets.edge_tpu.memory import resources

if TYPE_CHECKING:  # the search asks for placements itself
    from tersor.stages.search.result import Search

_AS = (
    "a float model: this is where its operators would run after quantization to {0} (tersor quantize --as {0}); "
    "indices count the operators of that model"
)


def place(model: Model, target: str = "edge_tpu", **options: object) -> Placement:
    """Forecast where the operators of a model run.

    Args:
        model: where the target runs integers only, a float model is first quantized to its `FLAVOUR` with ranges that
            are made up, and the operators are then those of the quantized model. Elsewhere a model that is no
            `.tflite` file is first made into one.
        target: a plugin of the rib `targets`.
        options: the target's own, as its `place` says: `multiple_subgraphs` of `edge_tpu`, `accelerator` of `ethos_u`.

    Raises RecipeError for an unknown target and for options that it does not have, UnsupportedError for a file that was
    compiled for another device, UnsupportedError or PlanError for a float model that cannot be planned, FormatError
    for a damaged compiled file, and CompilerFailure where the target's compiler is asked and fails.
    """
    module = registry.plugin("targets", target)
    unknown = sorted(options.keys() - module.OPTIONS)
    if unknown:
        known = ", ".join(sorted(module.OPTIONS)) or "none"
        raise RecipeError(f"target {target} has no option {unknown[0]}; its options: {known}")
    _refuse_compiled(model, target)
    given = model
    model, notes = judged_form(given, module)
    if getattr(module, "READS_FILE", False):
        options["content"] = partial(tflite.write_bytes, model)
    placement: Placement = module.place(model, **options)
    found = compiled_resources(model) or placement.resources
    if notes and hasattr(module, "REWRITES") and any(item.rule is not None for item in placement.left):
        notes += promise(given, target)
    if notes:  # of weights whose scales are not yet known
        found = tuple(replace(item, is_estimate=True) for item in found)
    return replace(placement, notes=(*notes, *placement.notes), resources=found)


def judged_form(model: Model, module: ModuleType) -> tuple[Model, tuple[str, ...]]:
    """The model that a target judges, and what is to be said where that is not the given one."""
    if module.FLAVOUR is not None and is_float(model):
        weights = not getattr(module, "SHAPES_SUFFICE", False)
        return as_flavour(model, module.FLAVOUR, weights=weights), (_AS.format(module.FLAVOUR),)
    if model.source and runs_as_it_is(Path(model.source)):
        return model, ()
    return replace(optimize(model), source=""), ()


@dataclass(frozen=True)
class Judged:
    """A target's word on a model.

    Attributes:
        target: its name.
        device: what it is called in a sentence.
        placement: where the operators would run; None where that cannot be told here.
        error: why not.
        flavour: what a float model was first quantized to, where the target runs integers only.
        source: the model's file.
    """

    target: str
    device: str
    placement: Placement | None = None
    error: TersorError | None = None
    flavour: str | None = None
    source: str = ""

    @property
    def why(self) -> str:
        """Why it cannot be told, without the file's name."""
        return str(self.error or "").removeprefix(f"{self.source or 'the model'}: ")


def place_everywhere(model: Model, **options: object) -> list[Judged]:
    """The placement on every target that there is; what one of them cannot judge does not keep the others from it.

    Args:
        model: as for `place`.
        options: each target gets those that it has.

    Raises RecipeError for an option that no target has.
    """
    modules = {name: registry.plugin("targets", name) for name in registry.names("targets")}
    known = sorted({option for module in modules.values() for option in module.OPTIONS})
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise RecipeError(f"no target has an option {unknown[0]}; there are {', '.join(known) or 'none'}")
    return [_judged(model, name, module, options) for name, module in modules.items()]


def place_candidates(found: Search) -> dict[str, Judged]:
    """Where each file of a search would run on its target, by name; nothing where no plugin judges that target."""
    if found.target not in registry.names("targets"):
        return {}
    module = registry.plugin("targets", found.target)
    return {item.name: _judged(load(item.path), found.target, module, {}) for item in found.candidates}


def _judged(model: Model, target: str, module: ModuleType, options: Mapping[str, object]) -> Judged:
    own = {name: value for name, value in options.items() if name in module.OPTIONS}
    flavour = module.FLAVOUR if is_float(model) else None
    try:
        return Judged(target, module.DEVICE, place(model, target, **own), flavour=flavour)
    except TersorError as error:
        return Judged(target, module.DEVICE, None, error, flavour, model.source)


def _refuse_compiled(model: Model, target: str) -> None:
    found = next((op.custom_code for op in model.graph.ops if op.custom_code in COMPILERS), None)
    if found is not None and COMPILERS[found].target != target:
        raise UnsupportedError(
            f"{model.source or 'the model'}: already compiled for {COMPILERS[found].device} ({found}), which tells "
            f"nothing of {target}; give the model that went into the compiler"
        )


def compiled_resources(model: Model) -> tuple[Resource, ...]:
    """What a file that the Edge TPU compiler wrote takes; nothing of others. Raises FormatError if it is damaged."""
    packages = [read_package(op.custom_options or b"") for op in model.graph.ops if op.custom_code == OPERATOR]
    cached, streamed = sum(item.cached for item in packages), sum(item.streamed for item in packages)
    return resources(cached, streamed, is_estimate=False)


def is_float(model: Model) -> bool:
    """Whether activations are real numbers throughout: float32, float16 weights, or dynamic range."""
    graph = model.graph
    values = [graph.tensors[name] for op in graph.ops for name in op.outputs]
    if any(op.custom_code in COMPILERS for op in graph.ops):
        return False
    quantized = any(tensor.quant is not None and not tensor.dtype.is_float for tensor in values)
    return not quantized and any(tensor.dtype is DType.FLOAT32 for tensor in values)


def as_flavour(model: Model, flavour: str, *, weights: bool = True) -> Model:
    """The model as quantization would leave it, with ranges that are made up: no value of it means anything.

    Operators without an integer kernel stay in float. Raises what `plan` does.

    Args:
        model: a float model.
        flavour: the preset.
        weights: whether the weights' values matter; without, those of large layers are zero, which is quicker.
    """
    made = rough_quantize(optimize(model if weights else thinned(model), _QUICK), flavour)
    return made if weights else restored(made)


_QUICK = [apply for apply in PASSES if apply is not deduplicate_constants.apply]
