"""Plugins by file name: `min_max` of the rib `observers` is the module `tersor.observers.min_max`.

Packages of other authors add to a rib with an entry point in the group `tersor.<rib>`, whose name is the plugin's name
and whose value is a module that keeps the rib's contract.
"""

from __future__ import annotations

import importlib
import importlib.resources
from types import ModuleType

from tersor.errors import RecipeError


def names(rib: str) -> list[str]:
    """The names of all plugins of a rib, ours and those installed beside, sorted. Nothing is imported."""
    from importlib.metadata import entry_points  # costs more than all the rest of this module

    return sorted(_own(rib) | {point.name for point in entry_points(group=f"tersor.{rib}")})


def plugin(rib: str, name: str) -> ModuleType:
    """The module of one plugin. Raises RecipeError with the known names if there is none."""
    if name in _own(rib):
        return importlib.import_module(f"tersor.{rib}.{name}")
    from importlib.metadata import entry_points

    for point in entry_points(group=f"tersor.{rib}", name=name):
        module = point.load()
        assert isinstance(module, ModuleType)
        return module
    raise RecipeError(f"unknown {rib.removesuffix('s')} {name!r}: there are {', '.join(names(rib))}")


def _own(rib: str) -> set[str]:
    folder = importlib.resources.files(f"tersor.{rib}")
    return {item.name.removesuffix(".py") for item in folder.iterdir() if not item.name.startswith(("_", "."))}
