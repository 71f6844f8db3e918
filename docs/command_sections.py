"""What the page of the command line says of each command; options that several share stand once."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import typer

from tersor.cli import groups
from tersor.cli.ethos_u import EthosU
from tersor.cli.main import application
from text import paragraphs, table

_GROUPS = (groups.Opening, groups.Normalization, groups.Values, groups.Repairing, groups.Delegating, EthosU)
"""In the order in which they are told."""


def commands() -> str:
    """Every command with its arguments and options, and the groups of options."""
    found: Any = typer.main.get_command(application())
    listed = [[f"[`{name}`](#tersor-{name})", _first(item)] for name, item in found.commands.items()]
    parts = [table(["command", "what it does"], listed)]
    for name, item in found.commands.items():
        parts += [f"## tersor {name}", *_command(name, item)]
    for group in _GROUPS:
        parts += [f"## Options: {_title(group).lower()}", _options(_shared(found, group))]
    return "\n\n".join(part for part in parts if part)


def _first(command: Any) -> str:
    return str(inspect.cleandoc(command.help)).partition("\n\n")[0]


def _command(name: str, item: Any) -> list[str]:
    used = _groups(name)
    elsewhere = {field.name for group in used for field in fields(group)}
    arguments = [part for part in item.params if part.param_type_name == "argument" and not part.hidden]
    options = [part for part in item.params if part.param_type_name != "argument" and part.name not in elsewhere]
    usage = " ".join(["tersor", name, *(_metavar(part) for part in arguments), "[OPTIONS]"])
    links = [f"[{_title(group).lower()}](#{_anchor(f'Options: {_title(group).lower()}')})" for group in used]
    return [
        f"```text\n{usage}\n```",
        paragraphs(inspect.cleandoc(item.help)),
        table(["argument", "what it is"], _described(arguments)) if arguments else "",
        _options(part for part in options if part.name != "help" and not part.hidden),
        f"And the options for {'; '.join(links)}." if links else "",
    ]


def _groups(name: str) -> list[Any]:
    """The groups of options that a command takes."""
    signature = inspect.signature(importlib.import_module(f"tersor.cli.{name}").command, eval_str=True)
    return [part.annotation for part in signature.parameters.values() if is_dataclass(part.annotation)]


def _shared(found: Any, group: Any) -> Iterable[Any]:
    """The options of a group, as a command has them that takes it."""
    item = next(item for name, item in found.commands.items() if group in _groups(name))
    known = {part.name: part for part in item.params}
    return [known[field.name] for field in fields(group)]


def _described(arguments: Iterable[Any]) -> Iterable[list[str]]:
    return ([f"`{_metavar(part)}`", part.help or ""] for part in arguments)


def _options(options: Iterable[Any]) -> str:
    rows = [[_spelling(item), _default(item), item.help or ""] for item in options]
    return table(["option", "default", "what it does"], rows) if rows else ""


def _spelling(item: Any) -> str:
    longest = max(item.opts, key=len)
    others = [name for name in (*item.opts, *item.secondary_opts) if name != longest]
    value = "" if item.is_flag else f" {_metavar(item)}"
    return ", ".join(f"`{text}`" for text in [f"{longest}{value}", *others])


def _metavar(item: Any) -> str:
    names = {"float": "X", "int": "N", "Path": "PATH", "str": "TEXT"}
    return str(item.metavar or names[item.type_descriptor.annotation.__name__])


def _default(item: Any) -> str:
    if item.required:
        return "must be given"
    if item.is_flag and item.secondary_opts:
        return f"`{item.opts[0] if item.default else item.secondary_opts[0]}`"
    if item.is_flag or item.default is None or not item.show_default:
        return ""
    return f"`{item.default}`"


def _title(group: Any) -> str:
    return re.split(r"[:.]", inspect.getdoc(group) or "")[0]


def _anchor(heading: str) -> str:
    """The anchor that Markdown readers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
