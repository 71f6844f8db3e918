"""Quantized model + target -> parts, each a model: what the accelerator runs in one piece, and what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from tersor import registry
from tersor.errors import RecipeError, UnsupportedError
from tersor.formats.tflite.metadata import with_labels
from tersor.ir.check import check_graph
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Tensor
from tersor.ir.placement import CPU, Placement
from tersor.ir.work import macs
from tersor.recipe import Recipe
from tersor.stages.annotate import annotate, declared, labels_of
from tersor.stages.best_cut import Cut, best_cut
from tersor.stages.place import is_float, place
from tersor.stages.plan.refusals import COMPILERS
from tersor.stages.rough_quantize import rough_quantize


@dataclass(frozen=True, eq=False)
class Part:
    """Some operators of a model, as a model.

    Attributes:
        on: the target's name, or `CPU`.
        model: its inputs are values of the whole model that it reads and does not compute, under their names there.
        macs: multiply-accumulates of one run.
    """

    on: str
    model: Model
    macs: int


@dataclass(frozen=True, eq=False)
class Split:
    """A model in parts, to be run one after the other.

    Attributes:
        target: what one of them is for.
        whole: the model that was cut.
        parts: in the order in which they run; one where the accelerator runs everything.
        placement: where the operators of the accelerator's part run: all there.
        left: for each operator of the other parts that the accelerator cannot run, its place in `whole` and why.
    """

    target: str
    whole: Model
    parts: tuple[Part, ...]
    placement: Placement
    left: Mapping[int, str]

    @property
    def on_device(self) -> Part:
        """The accelerator's part."""
        return next(part for part in self.parts if part.on == self.target)

    @property
    def share_of_macs(self) -> float:
        """The share of multiply-accumulates that the accelerator runs; NaN for a network without any."""
        total = sum(part.macs for part in self.parts)
        return self.on_device.macs / total if total else float("nan")

    @property
    def crossing(self) -> tuple[int, int]:
        """Bytes of one run that go to the accelerator, and that come back."""
        graph = self.on_device.model.graph
        return _bytes(graph, graph.inputs), _bytes(graph, graph.outputs)


def split(model: Model, target: str = "edge_tpu") -> Split:
    """Cut a quantized model where the accelerator gets most to multiply, with the fewest bytes that come back.

    What the accelerator's operators wait for is a part of its own, which runs first. Chained, the parts compute what
    the model does: nothing is changed but where files begin and end.

    Args:
        model: as it is to run: quantized, by any tool.
        target: a plugin of the rib `targets` that has `obstacles`.

    Raises RecipeError for a target that nothing is split for, UnsupportedError for a float or compiled model, for one
    that the accelerator runs nothing of, and for state that several parts would share.
    """
    module = splitting(target)
    where = model.source or "the model"
    done = next((COMPILERS[op.custom_code] for op in model.graph.ops if op.custom_code in COMPILERS), None)
    if done is not None:
        raise UnsupportedError(
            f"{where}: already compiled for {done.device}; give the model that went into the compiler"
        )
    if is_float(model):
        raise UnsupportedError(
            f"{where}: a float model; to quantize and split it: tersor quantize --target {target} --split --data DATA"
        )
    graph = model.graph
    reasons = list(module.obstacles(graph))
    while True:
        cut = best_cut(graph, [reason is None for reason in reasons])
        if cut is None:
            raise UnsupportedError(f"{where}: {nothing_runs(graph, reasons, module)}")
        found = _split(
            model, cut, target, {place: reason for place, reason in enumerate(reasons) if reason is not None}
        )
        if not found.placement.left:
            return found
        for item in found.placement.left:  # what only shows once it is at the border
            reasons[cut.taken[item.index]] = item.reason or item.status


def to_be_split(recipe: Recipe, target: str | None = None) -> Recipe:
    """The recipe, such that its result is split, too. Raises RecipeError without a target that is split for."""
    asked = target or recipe.target
    if not asked:
        raise RecipeError("--split: say for whose accelerator, with --target edge_tpu")
    splitting(asked)
    return replace(recipe, split=True)


def run_by_cpu(model: Model, target: str) -> tuple[str, ...]:
    """Names of the operators of a float model that `split` leaves to the CPU once it is quantized.

    Raises RecipeError for a target that nothing is split for, UnsupportedError where there is nothing to split off.
    """
    module = splitting(target)
    graph = rough_quantize(model, module.FLAVOUR).graph
    reasons = module.obstacles(graph)
    cut = best_cut(graph, [reason is None for reason in reasons])
    if cut is None:
        raise UnsupportedError(f"{model.source or 'the model'}: {nothing_runs(graph, reasons, module)}")
    given = {op.name for op in model.graph.ops}
    return tuple(graph.ops[place].name for place in (*cut.before, *cut.behind) if graph.ops[place].name in given)


def splitting(target: str) -> ModuleType:
    """A target that networks are split for. Raises RecipeError for others."""
    module = registry.plugin("targets", target)
    if hasattr(module, "obstacles"):
        return module
    able = [name for name in registry.names("targets") if hasattr(registry.plugin("targets", name), "obstacles")]
    why = getattr(module, "NOT_SPLIT", "one processor runs the whole network")
    raise RecipeError(f"nothing is split for {target}: {why}; there is {', '.join(able)}")


def nothing_runs(graph: Graph, reasons: Sequence[str | None], module: ModuleType) -> str:
    """Why there is nothing to split off, in a sentence."""
    place = next((place for place, reason in enumerate(reasons) if reason is not None), 0)
    first = f"{graph.ops[place].label} (operator {place}): {reasons[place]}" if graph.ops else "it has no operators"
    return f"the {module.DEVICE} would have nothing to multiply, so there is nothing to split off; {first}"


def _split(model: Model, cut: Cut, target: str, left: Mapping[int, str]) -> Split:
    graph = model.graph
    groups = [(CPU, cut.before), (target, cut.taken), (CPU, cut.behind)]
    runs = [(on, [graph.ops[place] for place in places]) for on, places in groups if places]
    _refuse_shared_state(graph, [ops for _, ops in runs])
    computed = {name for op in graph.ops for name in op.outputs}
    if fixed := [name for name in graph.outputs if name not in computed and name not in graph.inputs]:
        raise UnsupportedError(
            f"{model.source or 'the model'}: its output {fixed[0]!r} is a constant; nothing computes it"
        )
    parts = tuple(_part(model, on, ops, is_whole=cut.is_whole) for on, ops in runs)
    device = next(part for part in parts if part.on == target)
    placement = place(replace(device.model, source=""), target)
    return Split(target, model, parts, placement, {} if cut.is_whole else left)


def _part(model: Model, on: str, ops: Sequence[Op], *, is_whole: bool) -> Part:
    graph = model.graph
    work = sum(macs(graph, op) for op in ops)
    if is_whole:
        return Part(on, model, work)
    own = {op.name for op in ops}
    wanted = {*graph.outputs, *(name for op in graph.ops if op.name not in own for name in op.present_inputs)}
    outputs = list(dict.fromkeys(name for op in ops for name in op.outputs if name in wanted))
    part = graph.subgraph(ops, outputs)
    if on != CPU:  # an accelerator's compiler takes fixed sizes only
        part = replace(part, tensors={name: replace(item, open_shape=None) for name, item in part.tensors.items()})
    check_graph(part)
    others = model.graphs[1:] if on == CPU else ()  # graphs of control flow are found by their place
    alone = replace(model, graphs=(part, *others), signatures=(), metadata=(), attachments=(), source="")
    return Part(on, _annotated(alone, model), work)


def _annotated(part: Model, whole: Model) -> Model:
    """A part with what the whole model states of its input and its outputs."""
    preprocess = declared(whole)
    if not preprocess.is_identity and set(part.graph.inputs) <= set(whole.graph.inputs):
        part = annotate(part, preprocess)
    for name, labels in labels_of(whole).items():
        if name in part.graph.outputs:
            part = with_labels(part, name, labels)
    return part


def _refuse_shared_state(graph: Graph, runs: Iterable[Sequence[Op]]) -> None:
    owner: dict[str, int] = {}
    for number, ops in enumerate(runs):
        for op in ops:
            for name in op.present_inputs:
                if _is_state(graph.tensors[name]) and owner.setdefault(name, number) != number:
                    raise UnsupportedError(f"{op.label} {op.name!r} shares state with operators of another part")


def _is_state(tensor: Tensor) -> bool:
    return tensor.is_variable or tensor.dtype in (DType.RESOURCE, DType.VARIANT)


def _bytes(graph: Graph, names: Iterable[str]) -> int:
    return sum(graph.tensors[name].byte_size for name in names)
