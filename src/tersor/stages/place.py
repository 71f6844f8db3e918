"""Model -> `Placement`: where each operator would run on a target. Nothing is run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from tersor import registry
from tersor.errors import RecipeError, UnsupportedError
from tersor.formats.tflite.edge_tpu_package import OPERATOR, read_package
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ir.placement import Placement, Resource
from tersor.passes import deduplicate_constants
from tersor.stages.fit import promise, promise_of_split
from tersor.stages.load import runs_as_it_is
from tersor.stages.optimize import PASSES, optimize
from tersor.stages.plan.refusals import COMPILERS
from tersor.stages.rough_quantize import rough_quantize
from tersor.stages.thin import thinned
from tersor.targets.edge_tpu.memory import resources

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
    placement: Placement = module.place(model, **options)
    found = compiled_resources(model) or placement.resources
    left = any(item.rule is not None for item in placement.left) or placement.refusal is not None
    if notes and hasattr(module, "REWRITES") and left:
        before = placement if not options else module.place(model)
        notes += promise(optimize(thinned(given), QUICK), target, before, model.graph)
    elif left:
        more = 1 + sum(item.macs for item in placement.mapped)
        said = promise_of_split(model.graph, module, f"tersor split --target {target}", more, "on the CPU")
        placement = replace(placement, notes=(*placement.notes, *said))
    if notes:  # of weights whose scales are not yet known
        found = tuple(replace(item, is_estimate=True) for item in found)
    return replace(placement, notes=(*notes, *placement.notes), resources=found)


def outlines_suffice_above(targets: Sequence[str]) -> float:
    """Of more bytes of weights than these, placing looks at no value of large ones, so that they need not be read.

    Raises RecipeError for an unknown target.
    """
    return max(_weights_matter(registry.plugin("targets", target)) for target in targets)


def _weights_matter(module: ModuleType) -> float:
    return float(getattr(module, "WEIGHTS_MATTER", math.inf))


def judged_form(model: Model, module: ModuleType) -> tuple[Model, tuple[str, ...]]:
    """The model that a target judges, and what is to be said where that is not the given one."""
    weights = bool(_weights_matter(module))
    if module.FLAVOUR is not None and is_float(model):
        made = as_flavour(model, module.FLAVOUR, weights=weights)
        return replace(made, source=""), (_AS.format(module.FLAVOUR),)
    if is_finished(model):
        return model, ()
    return replace(optimize(model if weights else thinned(model)), source=""), ()


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


def is_finished(model: Model) -> bool:
    """Whether a model is the content of a file that a device takes."""
    return bool(model.source) and runs_as_it_is(Path(model.source))


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
        weights: whether the weights' values matter; without, those of large layers are outlines, which is quicker.
    """
    return rough_quantize(optimize(model if weights else thinned(model), QUICK), flavour)


QUICK = [apply for apply in PASSES if apply is not deduplicate_constants.apply]
