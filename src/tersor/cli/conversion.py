"""Command-line values that need no conversion go by Typer's, which imports Pydantic: a tenth of a second.

A value that is missing, text where text is wanted, a path, a default: most of what a command is given. All others take
Typer's way, with its messages.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

_NEEDS_TYPER = object()


class _Help:
    """A command whose option ``--help`` is looked at where it is given only."""

    def get_help_option(self, context: Any) -> Any:
        """What the command has, or None."""
        found = super().get_help_option(context)  # type: ignore[misc]
        if found is not None:
            usual = type(found).process_value
            found.process_value = lambda own, value: usual(found, own, value) if value else value
        return found


class Group(_Help, TyperGroup):
    """The commands together."""


def command_class(command: Callable[..., Any]) -> type[TyperCommand]:
    """The class of a command whose parameters are those of a function, with annotations that are no strings."""
    parameters = inspect.signature(command).parameters.values()
    kinds = {item.name: _kind(item.annotation) for item in parameters if not _is_special(item.annotation)}

    class Command(_Help, TyperCommand):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            for parameter in self.params:
                if parameter.name in kinds and parameter.callback is None:
                    usual = parameter.process_value
                    parameter.process_value = partial(_processed, parameter, kinds[parameter.name], usual)  # type: ignore[method-assign]

    return Command


def _processed(parameter: Any, kind: Any, usual: Callable[..., Any], context: Any, value: Any) -> Any:
    found = _plain(parameter, kind, value)
    return usual(context, value) if found is _NEEDS_TYPER else found


def _plain(parameter: Any, kind: Any, value: Any) -> Any:
    """The value as the command takes it, or `_NEEDS_TYPER`."""
    several = get_origin(kind) is list
    if value is None or (several and isinstance(value, list | tuple) and not value):
        if parameter.required:
            return _NEEDS_TYPER
        return () if several else None
    if several and isinstance(value, list | tuple):
        found = [_one(get_args(kind)[0], item) for item in value]
        return _NEEDS_TYPER if any(item is _NEEDS_TYPER for item in found) else found
    if kind in (int, float) and type(value) is kind and value == parameter.default:
        return value
    return _one(kind, value)


def _one(kind: Any, value: Any) -> Any:
    if kind in (str, Path) and type(value) is str:
        return kind(value)
    return value if type(value) is kind and kind in (bool, Path) else _NEEDS_TYPER


def _kind(annotation: Any) -> Any:
    """The type that an annotation stands for, without what is said of it, and without None."""
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, types.UnionType):
        others = [item for item in get_args(annotation) if item is not type(None)]
        annotation = others[0] if len(others) == 1 else object
    return annotation


def _is_special(annotation: Any) -> bool:
    """Whether more is asked of a value than its type, but for the range of a number."""
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, typer.models.ParameterInfo) and (
            item.exists or item.resolve_path or item.path_type or item.parser or item.envvar
        ):
            return True
    return False
