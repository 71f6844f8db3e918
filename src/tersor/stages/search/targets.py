"""The targets that a search knows: plugins of the rib `targets` that say what they run."""

from __future__ import annotations

from tersor import registry
from tersor.errors import RecipeError
from tersor.targets._target import Target

_LATER = {"tensorrt": "is not built yet"}


def targets() -> dict[str, Target]:
    """All of them, by name."""
    modules = {name: registry.plugin("targets", name) for name in registry.names("targets")}
    return {name: module.TARGET for name, module in modules.items() if hasattr(module, "TARGET")}


def target_of(name: str) -> Target:
    """A target by its name. Raises RecipeError that says what there is."""
    known = targets()
    if name not in known:
        there_are = f"there are {', '.join(known)}"
        raise RecipeError(f"--target {name}: {_LATER.get(name, 'there is no such target')}; {there_are}")
    return known[name]
