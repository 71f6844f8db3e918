"""Model -> the placement on every target; files of a search -> the placement of each on its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from tersor import registry
from tersor.errors import RecipeError, TersorError
from tersor.ir.graph import Model
from tersor.ir.placement import Placement
from tersor.stages.load import load
from tersor.stages.place import is_float, place
from tersor.stages.search.result import Search


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
