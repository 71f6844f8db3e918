"""Model -> `Placement`: where each operator would run on a target. Nothing is run or compiled."""

from __future__ import annotations

from dataclasses import replace

from tersor import registry
from tersor.errors import UnsupportedError
from tersor.formats.tflite.edge_tpu_package import OPERATOR, read_package
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ir.placement import Memory, Placement
from tersor.passes import deduplicate_constants
from tersor.stages.fit import promise
from tersor.stages.optimize import PASSES, optimize
from tersor.stages.plan.refusals import COMPILERS
from tersor.stages.rough_int8 import rough_int8

_AS_INT8 = (
    "a float model: this is where its operators would run after quantization to int8 (tersor quantize --as int8); "
    "indices count the operators of that model"
)


def place(model: Model, target: str = "edge_tpu", *, multiple_subgraphs: bool = False) -> Placement:
    """Forecast where the operators of a model run.

    Args:
        model: quantized; of a float model it is said where the operators would run after quantization to int8, and the
            operators are then those of the int8 model.
        target: a plugin of the rib `targets`.
        multiple_subgraphs: whether the compiler is asked for several pieces, where it has that option.

    Raises RecipeError for an unknown target, UnsupportedError for a file that was compiled for another device,
    UnsupportedError or PlanError for a float model that cannot be planned, and FormatError for a damaged compiled file.
    """
    module = registry.plugin("targets", target)
    _refuse_compiled(model, target)
    given = model
    if is_float(given):
        model = as_int8(given)
    placement: Placement = module.place(model, multiple_subgraphs=multiple_subgraphs)
    notes: tuple[str, ...] = (_AS_INT8,) if model is not given else ()
    if notes and any(item.rule is not None for item in placement.left):
        notes += promise(given, target)
    compiled = compiled_memory(model)
    return replace(placement, notes=(*notes, *placement.notes), memory=compiled or placement.memory)


def _refuse_compiled(model: Model, target: str) -> None:
    found = next((op.custom_code for op in model.graph.ops if op.custom_code in COMPILERS), None)
    if found is not None and COMPILERS[found].target != target:
        raise UnsupportedError(
            f"{model.source or 'the model'}: already compiled for {COMPILERS[found].device} ({found}), which tells "
            f"nothing of {target}; give the model that went into the compiler"
        )


def compiled_memory(model: Model) -> Memory | None:
    """Parameters of a file that the Edge TPU compiler wrote; None for others. Raises FormatError if it is damaged."""
    packages = [read_package(op.custom_options or b"") for op in model.graph.ops if op.custom_code == OPERATOR]
    if not packages:
        return None
    cached, streamed = sum(item.cached for item in packages), sum(item.streamed for item in packages)
    return Memory(cached + streamed, cached, streamed, is_estimate=False)


def is_float(model: Model) -> bool:
    """Whether activations are real numbers throughout: float32, float16 weights, or dynamic range."""
    graph = model.graph
    values = [graph.tensors[name] for op in graph.ops for name in op.outputs]
    if any(op.custom_code == OPERATOR for op in graph.ops):
        return False
    quantized = any(tensor.quant is not None and not tensor.dtype.is_float for tensor in values)
    return not quantized and any(tensor.dtype is DType.FLOAT32 for tensor in values)


def as_int8(model: Model) -> Model:
    """The model as quantization to int8 would leave it, with ranges that are made up: no value of it means anything.

    Operators without an integer kernel stay in float. Raises what `plan` does.
    """
    return rough_int8(optimize(model, [apply for apply in PASSES if apply is not deduplicate_constants.apply]))
