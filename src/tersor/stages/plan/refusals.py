"""What cannot be planned at all, and why."""

from __future__ import annotations

from dataclasses import dataclass

from tersor.errors import PlanError, UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ir.plan import FLOAT, INTEGER, OpPlan
from tersor.ir.text import short
from tersor.recipe import Recipe


@dataclass(frozen=True)
class Compiler:
    """What made a model into operators of its own.

    Attributes:
        target: the device as `tersor place` names it.
        device: the same in words.
    """

    target: str
    device: str


COMPILERS = {
    "edgetpu-custom-op": Compiler("edge_tpu", "the Edge TPU"),
    "ethos-u": Compiler("ethos_u", "an Ethos-U"),
}
"""By the code of the custom operator that holds what was compiled."""


def refuse_finished(model: Model) -> None:
    """Raise UnsupportedError for a model that a compiler or a quantizer has already been at."""
    where = model.source or "the model"
    for op in model.graph.ops:
        compiler = COMPILERS.get(op.custom_code or "")
        if compiler:
            raise UnsupportedError(
                f"{where}: already compiled for {compiler.device} ({op.custom_code}); "
                "quantize the float model it was made from"
            )
    quantized = [t.name for t in model.graph.tensors.values() if t.quant is not None and t.dtype is not DType.FLOAT32]
    if quantized:
        raise UnsupportedError(
            f"{where}: already quantized ({len(quantized)} tensors, {quantized[0]!r} the first); "
            "quantize the float model it was made from"
        )


def refuse_float(recipe: Recipe, modes: dict[str, OpPlan]) -> None:
    """Raise PlanError, which names every operator and reason, if a recipe forbids float and some stay in it."""
    if recipe.float_fallback:
        return
    blamed = {name: op for name, op in modes.items() if op.compute == FLOAT and not (recipe.split and op.wanted)}
    if blamed:
        lines = [f"  {kind}: {why}: {', '.join(names)}" for (kind, why), names in alike(blamed).items()]
        raise PlanError(
            f"{recipe.name} is integer only, and {len(blamed)} operator{'s' if len(blamed) > 1 else ''} cannot be:\n"
            + "\n".join(lines)
            + ("\nCut them off for the CPU with --split, allow" if recipe.target else "\nAllow")
            + " float for them with --allow-float, or change the model."
        )


def refuse_nothing(recipe: Recipe, modes: dict[str, OpPlan]) -> None:
    """A float model under the name of an integer flavour would be a lie."""
    left = {name: op for name, op in modes.items() if op.compute == FLOAT}
    if recipe.needs_calibration and left and not any(op.compute == INTEGER for op in modes.values()):
        lines = [f"  {len(names)} {kind}: {why}" for (kind, why), names in alike(left).items()]
        raise PlanError(f"nothing of this model can be {recipe.name}:\n" + "\n".join(lines))


def alike(ops: dict[str, OpPlan]) -> dict[tuple[str, str], list[str]]:
    """Names of operators in short, by kind and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, op in ops.items():
        found.setdefault((op.kind, op.why), []).append(repr(short(name)))
    return found
