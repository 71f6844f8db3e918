"""`tersor params`: what a model carries for the program that runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tersor.cli import groups, options
from tersor.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tersor.formats.tflite.parameters import Parameter
    from tersor.ir.graph import Model

_OPERANDS = {"list": 0, "get": 1, "set": 2, "remove": 1, "attach": 0}
"""For each action how many words follow it."""

SETTINGS = {"ignore_unknown_options": True}
"""So that a value may be negative; a misspelt option is a word too many."""

_CHANGING = ("set", "remove", "attach")


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.", show_default=False)],
    action: Annotated[
        str,
        typer.Argument(
            metavar="list|get KEY|set KEY VALUE|remove KEY|attach",
            help="'attach' writes the normalization and the labels that options give, in place of those it has "
            "(--as-is: no normalization). 'remove' also takes the name of metadata, to take out all of it.",
        ),
    ] = "list",
    words: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="auto, bool, int8 ... uint64, float, double, str, str_list, int32_list, float_list, or bin "
            "(hexadecimal digits, or @file).",
        ),
    ] = "auto",
    labels: options.Labels = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write there and leave MODEL as it is.", show_default=False)
    ] = None,
    as_json: options.Json = False,
    *,
    normalization: groups.Values,
) -> None:
    """Read and change what a .tflite carries beside the network: parameters (of Silicon Labs' MLTK), normalization."""
    from tersor.cli import console
    from tersor.formats import tflite
    from tersor.formats.tflite.parameters import read_parameters, with_parameters
    from tersor.stages.parameters import found, parse_parameter, plain, save_changed, shown

    operands = _operands(action, words or [])
    if output is not None and action not in _CHANGING:
        raise RecipeError(f"--output goes with {', '.join(_CHANGING)}; {action!r} writes nothing")
    loaded = tflite.read(model)
    if action == "attach":
        changed = _attached(loaded, normalization, labels)
    elif action == "remove" and operands[0] in dict(loaded.metadata):
        changed = replace(loaded, metadata=tuple(item for item in loaded.metadata if item[0] != operands[0]))
    else:
        if labels is not None or normalization != groups.Values():
            raise RecipeError(f"normalization and labels are written by 'attach', not by {action!r}")
        parameters = read_parameters(loaded)
        if action == "list":
            _print_all(loaded, parameters, as_json=as_json)
            return
        key = operands[0]
        if action == "get":
            item = found(parameters, key, str(model))
            if as_json:
                console.print_json({"key": key, "type": item.type, "value": plain(item)})
            else:
                console.out.print(shown(item), markup=False)
            return
        if action == "set":
            parameters[key] = parse_parameter(operands[1], kind)
        else:
            found(parameters, key, str(model))
            del parameters[key]
        changed = with_parameters(loaded, parameters)
    save_changed(loaded, changed, output or model)
    console.note(f"wrote {output or model}")


def _operands(action: str, words: list[str]) -> list[str]:
    if action not in _OPERANDS:
        raise RecipeError(f"params does not know {action!r}: there are {', '.join(_OPERANDS)}")
    if len(words) != _OPERANDS[action]:
        form = {"get": "get KEY", "remove": "remove KEY", "set": "set KEY VALUE"}.get(action, action)
        given = f"{' '.join(words)!r} follows" if words else "nothing follows"
        raise RecipeError(f"{given} {action!r}; the form is: tersor params MODEL {form}")
    return words


def _attached(model: Model, normalization: groups.Values, labels: Path | None) -> Model:
    from tersor.stages.annotate import annotate, read_label_file

    asked = normalization.preprocess
    if asked is None and labels is None:
        raise RecipeError("attach what? Give --rescale, --mean and --std, --samplewise, --as-is, or --labels")
    return annotate(model, asked, None if labels is None else read_label_file(labels))


def _print_all(model: Model, parameters: Mapping[str, Parameter], *, as_json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tersor.cli import console
    from tersor.stages.annotate import declared, labels_of
    from tersor.stages.parameters import plain, shown

    stated = declared(model)
    labels = labels_of(model)
    if as_json:
        console.print_json(
            {
                "normalization": None if stated.is_identity else str(stated),
                "labels": {name: list(names) for name, names in labels.items()},
                "parameters": {key: {"type": item.type, "value": plain(item)} for key, item in parameters.items()},
            }
        )
        return
    console.note(f"normalization: {stated}")
    for name, names in labels.items():
        console.note(f"labels of {name}: {len(names)}, from {names[0]!r} to {names[-1]!r}")
    if not parameters:
        console.note("no parameters")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("parameter", "type", "value"):
        table.add_column(column, overflow="fold")
    for key, item in parameters.items():
        table.add_row(escape(key), item.type, escape(shown(item)))
    console.out.print(table)
