"""Model + recipe + statistics + samples -> recipes with more bits for the operators that need them, cheapest first.

Each source of noise (a value that is rounded, a layer's weights) is measured alone in the float network, on the real
kernels; noise powers of independent sources add up, so that the order follows from sums. That holds while the noise is
small beside the signal: the activations of two trained networks made 0.6 dB less together than in sum. Where 4-bit
weights drown the signal, or a softmax makes all hang on the few samples in doubt, it was 5 to 10 dB: there the order is
a good guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import islice

from tersor import registry
from tersor.errors import DataError, PlanError, RecipeError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model
from tersor.ir.plan import INTEGER, Plan
from tersor.ir.work import macs
from tersor.recipe import Recipe, Rule
from tersor.runtimes.engine import Engine
from tersor.stages.correct import drawn_inputs, split_kinds
from tersor.stages.correct.layers import correctable, with_biases
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.mixed_precision.choice import ordered
from tersor.stages.mixed_precision.costs import constant_bytes, cost_of
from tersor.stages.mixed_precision.sources import Source, rounded_values, rounded_weights
from tersor.stages.mixed_precision.trials import Trials
from tersor.stages.plan import plan
from tersor.stages.plan.modes import plan_modes
from tersor.stages.plan.small_layers import with_small_layers
from tersor.stages.statistics import Statistics

__all__ = ["SAMPLES", "WIDENINGS", "Mixture", "mixtures"]

SAMPLES = 32
"""Samples that noise is measured on."""

WIDENINGS = {
    "int16": (("activations", "int16"),),
    "float": (("activations", "float32"), ("weights", "float32"), ("compute", "float")),
    "int8_weights": (("weights", "int8"),),
}
"""What operators can be widened to, with the fields of their scheme that change."""

_STAND_INS = ("coordinate_descent", "bias_correction")
"""Corrections of weights while their noise is measured, in place of the recipe's: most of what these win, and soon."""

_FAN_IN = 256
"""Layers with more inputs get the second of them only."""


@dataclass(frozen=True)
class Mixture:
    """A recipe with more bits for some operators.

    Attributes:
        recipe: the given one with a rule that names them.
        operators: the operators that are widened, in the network's order.
        extra_bytes: what constants take more in the file.
        macs_share: the widened operators' share of all multiply-accumulate operations.
        noise_share: the share of the measured noise that is left.
    """

    recipe: Recipe
    operators: tuple[str, ...]
    extra_bytes: int
    macs_share: float
    noise_share: float


def mixtures(
    model: Model,
    recipe: Recipe,
    statistics: Statistics,
    samples: Iterable[object],
    *,
    widen: str,
    engine: Engine | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Mixture, ...]:
    """Recipes of growing cost and falling noise, each with the operators of the one before; the last has all that help.

    Operators that cannot be widened are left out, and so are values that they compute or read: these stay rounded. A
    network with all its operators in float is no mixture any more and is left out, too.

    Args:
        model: a float model, as it is planned.
        recipe: what is wanted otherwise.
        statistics: from `calibrate`.
        samples: of the calibration data; at most `SAMPLES` are used.
        widen: a name from `WIDENINGS`.
        engine: the process to run in; by default one of its own.
        progress: called with how many sources of noise were measured, and how many there are.

    Raises:
        RecipeError: an unknown `widen`.
        PlanError: nothing can be widened so; the message says why.
        DataError: there are no samples, or one does not fit.
        RuntimeFailure: the runtime refuses a piece of the network.
    """
    if widen not in WIDENINGS:
        raise RecipeError(f"cannot widen to {widen!r}: there are {', '.join(WIDENINGS)}")
    recipe = with_small_layers(model.graph, recipe)
    base = plan(model, recipe, statistics)
    sources = _sources(model, recipe, statistics, base, widen)
    noises = _measured(model, recipe, base, sources, samples, engine, progress)
    found = _Mixing(model, recipe, statistics, base, widen).of(noises)
    if not found:
        raise PlanError(f"{recipe.name} cannot be widened to {widen}: nothing would be left of it")
    return found


def _sources(model: Model, recipe: Recipe, statistics: Statistics, base: Plan, widen: str) -> list[Source]:
    """What goes away if all that can be widened is."""
    graph = model.graph
    where = f"{recipe.name} cannot be widened to {widen}"
    if len(model.graphs) > 1:
        raise PlanError(f"{where}: the model has control flow, whose noise cannot be measured piece by piece")
    if widen == "float" and not recipe.float_fallback:
        raise PlanError(f"{where}: {recipe.name} is integer only; allow float (--allow-float), or widen to int16")
    found = [] if widen == "int8_weights" else rounded_values(graph, base)
    if widen != "int16":
        found += rounded_weights(graph, base, DType.INT4 if widen == "int8_weights" else None)
    able = _able(graph, recipe, statistics, widen, [name for source in found for name in source.operators])
    found = [source for source in found if source.operators <= able]
    if not found:
        raise PlanError(f"{where}: {_why_nothing(widen)}")
    return found


def _able(graph: Graph, recipe: Recipe, statistics: Statistics, widen: str, names: Sequence[str]) -> set[str]:
    """Those of some operators that a widening changes, and that have a kernel for it."""
    if not names:
        return set()
    wide = replace(_widened(recipe, widen, names), float_fallback=True)
    modes = plan_modes(graph, wide, statistics)
    changed = {op.name for op in graph.ops if wide.scheme_of(op.kind, op.name) != recipe.scheme_of(op.kind, op.name)}
    return {name for name in changed if widen == "float" or modes[name].compute == INTEGER}


def _why_nothing(widen: str) -> str:
    if widen == "int8_weights":
        return "no layer has weights of 4 bits"
    return "no value is rounded to 8 bits between operators that have such kernels"


def _widened(recipe: Recipe, widen: str, names: Sequence[str]) -> Recipe:
    return replace(recipe, rules=(*recipe.rules, Rule(WIDENINGS[widen], names=tuple(dict.fromkeys(names)))))


def _measured(
    model: Model,
    recipe: Recipe,
    base: Plan,
    sources: Sequence[Source],
    samples: Iterable[object],
    engine: Engine | None,
    progress: Callable[[int, int], None] | None,
) -> dict[Source, float]:
    """The noise of each source alone."""
    prepared, completed = with_biases(model, base)
    inputs = drawn_inputs(prepared.graph, islice(samples, SAMPLES), SAMPLES)
    if not inputs:
        raise DataError("there are no samples to measure noise on")
    layers = {layer.op.name: layer for layer in correctable(prepared.graph, completed)}
    stand_ins = _STAND_INS if split_kinds(recipe.algorithms)[1] else ()
    steps = [registry.plugin("algorithms", name).apply for name in stand_ins]
    noises = {}
    with ExitStack() as stack:
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        trials = Trials(prepared, completed, inputs, runner, layers, steps, min(recipe.fan_in_limit, _FAN_IN))
        stack.callback(trials.close)
        for number, source in enumerate(sorted(sources, key=trials.place), start=1):
            noises[source] = trials.noise(source)
            if progress is not None:
                progress(number, len(sources))
    return noises


class _Mixing:
    """Turns sets of operators into recipes, and knows what these cost."""

    def __init__(self, model: Model, recipe: Recipe, statistics: Statistics, base: Plan, widen: str) -> None:
        self._model = model
        self._recipe = recipe
        self._statistics = statistics
        self._base = base
        self._widen = widen
        self._macs = {op.name: macs(model.graph, op) for op in model.graph.ops}
        self._bytes = constant_bytes(model.graph, base)
        self._plans: dict[frozenset[str], Plan | None] = {}

    def of(self, noises: dict[Source, float]) -> tuple[Mixture, ...]:
        """The mixtures."""
        cost = cost_of(self._model.graph, self._base, self._widen)
        chosen = ordered(noises, cost, lambda names: self._plan(names) is not None)
        return tuple(self._mixture(names, left) for names, left in chosen)

    def _mixture(self, names: frozenset[str], left: float) -> Mixture:
        recipe, planned = self._with(names), self._plan(names)
        assert planned is not None
        extra = constant_bytes(self._model.graph, planned) - self._bytes
        share = sum(self._macs[name] for name in names) / max(sum(self._macs.values()), 1)
        return Mixture(recipe, recipe.rules[-1].names, extra, share, left)

    def _with(self, names: frozenset[str]) -> Recipe:
        return _widened(self._recipe, self._widen, [op.name for op in self._model.graph.ops if op.name in names])

    def _plan(self, names: frozenset[str]) -> Plan | None:
        """The plan of a mixture; None if the planner refuses it, or leaves more in float than it did."""
        if names not in self._plans:
            self._plans[names] = None
            with suppress(PlanError, RecipeError):
                planned = plan(self._model, self._with(names), self._statistics)
                if planned.left_in_float().keys() <= self._base.left_in_float().keys():
                    self._plans[names] = planned
        return self._plans[names]
