"""Model -> the placement on every target; files of a search -> the placement of each on its target."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from tersor import registry
from tersor.errors import RecipeError, TersorError, UnsupportedError
from tersor.ir.graph import Model
from tersor.ir.outline import has_outlines
from tersor.ir.placement import Placement
from tersor.stages.load import load
from tersor.stages.optimize import optimize
from tersor.stages.place import QUICK, is_finished, is_float, place
from tersor.targets._children import WITH_CHILDREN

if TYPE_CHECKING:
    from tersor.stages.search.result import Search


_LONG = 0.25
"""Seconds; an interrupt may have to wait as long."""


@dataclass(frozen=True)
class Judged:
    """A target's word on a model.

    Attributes:
        target: its name.
        device: what it is called in a sentence.
        placement: where the operators would run; None where that cannot be told here.
        error: why not.
        is_asked: whether it was asked at all.
        flavour: what a float model was first quantized to, where the target runs integers only.
        source: the model's file.
    """

    target: str
    device: str
    placement: Placement | None = None
    error: TersorError | None = None
    flavour: str | None = None
    source: str = ""
    is_asked: bool = True

    @property
    def why(self) -> str:
        """Why it cannot be told, without the file's name."""
        return str(self.error or "").removeprefix(f"{self.source or 'the model'}: ")


def place_everywhere(model: Model, **options: object) -> list[Judged]:
    """The placement on every target that there is; what one of them cannot judge does not keep the others from it.

    Targets that take long for such a network (`QUICK_BELOW`) are not asked, except with options of their own.

    Args:
        model: as for `place`.
        options: each target gets those that it has.

    Raises RecipeError for an option that no target has.
    """
    modules = _modules()
    known = sorted({option for module in modules.values() for option in module.OPTIONS})
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise RecipeError(f"no target has an option {unknown[0]}; there are {', '.join(known) or 'none'}")
    if not is_finished(model):
        model = optimize(model, QUICK)  # once for all, and not by each
    quick = sorted(
        (name for name in modules if not _is_slow(modules[name])), key=lambda name: name not in WITH_CHILDREN
    )
    with _one_after_the_other(), ThreadPoolExecutor(len(modules)) as pool:  # much of it is waiting for child processes
        found = {name: pool.submit(_judged, model, name, modules[name], options) for name in quick}
        here = {
            name: _judged(model, name, module, options)
            if _is_quick(model, module) or options.keys() & module.OPTIONS
            else _left_out(model, name, module)
            for name, module in modules.items()
            if name not in found  # and not in a thread: an interrupt ends them
        }
        return [here[name] if name in here else found[name].result() for name in modules]


@contextmanager
def _one_after_the_other() -> Iterator[None]:
    """Within the block a thread goes on until it waits, so that children are soon busy and not all at the end."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_LONG)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def quick_targets(options: Collection[str]) -> list[str]:
    """The targets that are asked about any network, where these options are given."""
    return [name for name, module in _modules().items() if not _is_slow(module) or module.OPTIONS & set(options)]


def _modules() -> dict[str, ModuleType]:
    return {name: registry.plugin("targets", name) for name in registry.names("targets")}


def _is_slow(module: ModuleType) -> bool:
    return hasattr(module, "QUICK_BELOW")


def _is_quick(model: Model, module: ModuleType) -> bool:
    constants = (tensor for graph in model.graphs for tensor in graph.tensors.values() if tensor.is_constant)
    return sum(tensor.elements for tensor in constants) <= module.QUICK_BELOW and not has_outlines(model)


def _left_out(model: Model, target: str, module: ModuleType) -> Judged:
    asking = f"tersor place {model.source or 'MODEL'} --target {target}"
    error = UnsupportedError(f"takes long for a network of this size; ask for it: {asking}")
    return Judged(target, module.DEVICE, None, error, module.FLAVOUR if is_float(model) else None, is_asked=False)


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
