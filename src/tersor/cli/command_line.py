"""The command that is running, as somebody would type it again."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import Any

import typer


def typed(context: typer.Context, command: str, only: Collection[str] | None = None, *more: str) -> str:
    """A command with the arguments that were given on the command line.

    Args:
        context: of the running command.
        command: the name of the command, which need not be the running one.
        only: the parameters to keep; all if None.
        more: further words.
    """
    options: list[str] = []
    arguments: list[str] = []
    for item in context.command.params:
        source, value = context.get_parameter_source(item.name or ""), context.params.get(item.name or "")
        if source is None or source.name != "COMMANDLINE" or (only is not None and item.name not in only):
            continue
        if item.param_type_name == "argument":
            arguments += _texts(value)
        elif getattr(item, "is_flag", False):
            options.append(item.opts[0] if value else item.secondary_opts[0])
        else:
            name = max(item.opts, key=len)
            options += [word for text in _texts(value) for word in (name, text)]
    return shlex.join(["tersor", command, *arguments, *options, *more])


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
