"""What the generated parts of the pages say; `SECTIONS` names them."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Callable
from importlib.resources import files
from types import ModuleType
from typing import Any

import tersor
from command_sections import commands
from placement_sections import cpu_rules, edge_tpu_rewrites, edge_tpu_rules, micro_rules
from tersor.ops import FIXED, FREE, OPS, SAME, SAME_INPUTS
from tersor.registry import names
from tersor.runtimes.reference import KERNELS, coverage
from tersor.stages.optimize import PASSES
from tersor.stages.search.targets import targets as searched_targets
from text import paragraphs, table

_PRESETS = ("float32", "float16", "dynamic", "weight_only", "int8", "uint8", "int8_float_io", "int16x8", "int8_w4")
"""In the order in which they are told; one that is missing here comes last."""


def _module(rib: str, name: str) -> ModuleType:
    return importlib.import_module(f"tersor.{rib}.{name}")


def _presets() -> dict[str, str]:
    found = {
        item.name.removesuffix(".toml"): item.read_text("utf-8")
        for item in files("tersor.presets").iterdir()
        if item.name.endswith(".toml")
    }
    order = [name for name in _PRESETS if name in found]
    return {name: found[name] for name in [*order, *sorted(set(found) - set(order))]}


def _entries(rib: str, more: Callable[[str], str]) -> str:
    """A heading per plugin, what is to be added to it, and its module's docstring."""
    parts = []
    for name in names(rib):
        text = inspect.getdoc(_module(rib, name)) or ""
        first, _, rest = text.partition("\n\n")
        parts += [f"### `{name}`", f"**{paragraphs(first)}**", more(name), paragraphs(rest)]
    return "\n\n".join(part for part in parts if part)


def algorithms() -> str:
    """Every algorithm: its kind, the presets that have it, its docstring."""

    def more(name: str) -> str:
        module = _module("algorithms", name)
        kind = "Rewrites the float network." if hasattr(module, "rewrite") else "Takes one layer after the other."
        read = {preset: tomllib.loads(text) for preset, text in _presets().items()}
        uses = [f"`{preset}`" for preset, recipe in read.items() if name in recipe.get("algorithms", ())]
        tensor = [f"`{preset}`" for preset, recipe in read.items() if name in recipe.get("per_tensor_algorithms", ())]
        said = f"By default in {', '.join(uses)}." if uses else "In no flavour by default."
        return " ".join([kind, said, f"With `--per-tensor` in {', '.join(tensor)}." if tensor else ""]).strip()

    return _entries("algorithms", more)


def observers() -> str:
    """Every observer: its docstring."""
    return _entries("observers", lambda _: "")


def presets() -> str:
    """The flavours, from their files."""
    rows = []
    for name, text in _presets().items():
        recipe = tersor.load_recipe(name)
        scheme = recipe.scheme
        activations = "quantized on the fly" if scheme.compute == "dynamic" else scheme.activations
        integer = scheme.compute == "integer"
        rows.append(
            [
                f"`{name}`",
                text.partition("\n")[0].removeprefix("# "),
                activations,
                scheme.weights,
                recipe.interface,
                ("yes" if recipe.float_fallback else "no") if integer else "",
                "yes" if integer else "no",
            ]
        )
    return table(["preset", "what it is", "activations", "weights", "interface", "float allowed", "needs data"], rows)


_SHARING = {
    FREE: "",
    SAME: "all values",
    SAME_INPUTS: "all operands",
    FIXED: "fixed by the kernel",
}


def operators() -> str:
    """The operator table: which kernels there are, and what they demand."""
    rows = []
    for kind, row in OPS.items():
        has_weights = row.operand_index("weight") is not None or row.dynamic_operand is not None
        scales = "" if not has_weights else "channel" if row.weight_axis is not None else "tensor"
        versions = (row.int8, row.int16, row.int4, row.int2, row.dynamic)
        rows.append(
            [f"`{kind}`", *("" if item is None else str(item) for item in versions), scales, _SHARING[row.scale]]
        )
    head = [
        "operator",
        "int8",
        "int16",
        "4-bit weights",
        "2-bit weights",
        "dynamic",
        "scales of weights, per",
        "one scale for",
    ]
    return f"{len(rows)} operators.\n\n" + table(head, rows)


def kernels() -> str:
    """What the integer reference computes: per row of the operator table and flavour, on each kernel set."""
    rows = []
    for kind in OPS:
        names_of = coverage.flavours(kind)
        cells = []
        for kernels_of in KERNELS:
            said = {flavour: coverage.said(kind, flavour, kernels_of) for flavour in names_of}
            same = len(set(said.values())) == 1
            cells.append(said[names_of[0]] if same else "; ".join(f"{name} {text}" for name, text in said.items()))
        rows.append([f"`{kind}`", ", ".join(names_of), *cells])
    return table(["operator", "flavours", *KERNELS], rows)


def passes() -> str:
    """The passes in their order."""
    parts = []
    for number, apply in enumerate(PASSES, 1):
        module = inspect.getmodule(apply)
        assert module is not None
        name = module.__name__.rpartition(".")[2]
        parts += [f"### {number}. `{name}`", paragraphs(inspect.getdoc(module) or "")]
    return "\n\n".join(parts)


def targets() -> str:
    """What each target tries."""
    islands = {"float": "float islands", "int16": "16-bit islands", "none": "no islands", "": "what costs nothing"}
    rows = []
    for target in searched_targets().values():
        tried = ", ".join(f"`{name}`" for name in target.flavours)
        repaired = ", ".join(f"`{name}` ({islands[by]})" for name, by in target.repaired.items())
        rows.append([f"`{target.name}`", target.rule, tried, repaired])
    return table(["target", "what it runs", "candidates", "repaired where they lose too much"], rows)


def library() -> str:
    """The public names, with what they take."""
    rows = []
    for name in sorted(tersor.__all__, key=lambda name: (name[0].isupper(), name)):
        if name.startswith("__"):
            continue
        value: Any = getattr(tersor, name)
        text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
        home = value.__module__.replace(".", "/").removeprefix("tersor/")
        shown = name if inspect.isclass(value) else f"{name}({_parameters(value)})"
        rows.append([f"`{shown}`", text, f"[{home}]({_source(value)})"])
    return table(["`tersor.`", "what it is", "source"], rows)


def _parameters(function: Callable[..., Any]) -> str:
    parts: list[str] = []
    for item in inspect.signature(function).parameters.values():
        if item.kind is item.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(item.name if item.default is item.empty else f"{item.name}={_default(item.default)}")
    return ", ".join(parts)


def _default(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float | None) else "..."


def _source(value: Any) -> str:
    path = value.__module__.replace(".", "/")
    is_package = hasattr(importlib.import_module(value.__module__), "__path__")
    return f"../../src/{path}/__init__.py" if is_package else f"../../src/{path}.py"


SECTIONS: dict[str, Callable[[], str]] = {
    "algorithms": algorithms,
    "commands": commands,
    "cpu_rules": cpu_rules,
    "edge_tpu_rewrites": edge_tpu_rewrites,
    "edge_tpu_rules": edge_tpu_rules,
    "kernels": kernels,
    "micro_rules": micro_rules,
    "library": library,
    "observers": observers,
    "operators": operators,
    "passes": passes,
    "presets": presets,
    "targets": targets,
}
"""By the name that stands in the page."""
