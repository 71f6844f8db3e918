"""Arm's Ethos-U NPUs, as Vela, their compiler, places operators.

Vela is open and takes seconds, so nothing is forecast: the file is compiled, and the placement is what Vela says of it.
The rules are Vela's as well: where an operator breaks one, its words stand in the placement.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from tersor.errors import CompilerFailure, CompilerMissing
from tersor.formats import tflite
from tersor.ir.graph import Graph, Model
from tersor.ir.placement import CPU, OpPlacement, Placement, Resource
from tersor.targets._compiler import Compiled
from tersor.targets._placing import open_inputs, placed
from tersor.targets._rules import Rule
from tersor.targets._target import Target, integers_only
from tersor.targets.ethos_u import vela
from tersor.targets.ethos_u.remedies import remedy
from tersor.targets.ethos_u.said import Reason, Said, read_said
from tersor.targets.ethos_u.settings import DEFAULT, Settings, device
from tersor.targets.ethos_u.vela import SUFFIX as SUFFIX

NAME = "ethos_u"
DEVICE = "Ethos-U"
FLAVOUR = "int8"
OPTIONS = frozenset({"accelerator", "system_config", "memory_mode", "vela_config"})
NOT_SPLIT = "Vela leaves what the NPU does not run to the CPU, in one file and in as many pieces as there are"
QUICK_BELOW = 2_000_000
"""Vela takes a quarter of a second for networks of microcontrollers, and up to a minute for large ones."""

TARGET = Target(
    NAME,
    "runs integers only, with activations of 8 or 16 bits",
    ("int8", "int16x8"),
    {"int8": "none", "int16x8": "none"},
    integers_only,
)

COMPILED = "ethos-u"
"""The custom operator that holds what was compiled."""

RULES: tuple[Rule, ...] = ()

ON_NPU = "On the NPU"
FOLDED = "Computed by Vela beforehand"
LEFT = "On the CPU"
REFUSED = "Vela refuses the file"
NO_SUCH = "Vela has no such operator"
_NO_REASON = "Vela does not say why"
_MOST_SHOWN = 3
"""Operators that are named as the slowest."""


def place(
    model: Model,
    *,
    accelerator: str = DEFAULT,
    system_config: str | None = None,
    memory_mode: str | None = None,
    vela_config: str | Path | None = None,
) -> Placement:
    """Where the operators of the main graph run.

    Args:
        model: quantized to 8 bits, or to 8 bits with activations of 16.
        accelerator: one of `settings.ACCELERATORS`.
        system_config: a system of Vela's configuration; None for its default.
        memory_mode: likewise.
        vela_config: a configuration (`.ini`) of one's own.

    Raises RecipeError for settings that Vela does not know, CompilerMissing, CompilerFailure.
    """
    settings = _settings(accelerator, system_config, memory_mode, vela_config)
    graph = model.graph
    if any(op.custom_code == COMPILED for op in graph.ops):
        return _compiled(graph)
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        source = Path(folder) / "model.tflite"
        source.write_bytes(tflite.write_bytes(model))
        try:
            return explain(model, vela.compile_file(source, settings))
        except vela.Refused as refused:
            return _refused(graph, settings, str(refused))
        except CompilerMissing:
            raise
        except CompilerFailure as error:
            raise CompilerFailure(f"{error}{_kept(error.output)}", error.output) from error


def compile(  # noqa: A001 (the contract's name; see `targets`)
    model: Path,
    folder: Path,
    *,
    program: str | None = None,
    time_limit: float | None = None,
    accelerator: str = DEFAULT,
    system_config: str | None = None,
    memory_mode: str | None = None,
    vela_config: str | Path | None = None,
) -> Compiled:
    """Compile a file.

    Args:
        model: a `.tflite` file in `folder`.
        folder: where it runs, and writes.
        program: Vela; by default the one in this environment, or on the PATH.
        time_limit: seconds for it; by default 10 minutes.
        accelerator: as of `place`, like all that follows.
        system_config: of Vela's configuration.
        memory_mode: likewise.
        vela_config: a configuration of one's own.

    Raises RecipeError for settings that Vela does not know, CompilerMissing, and CompilerFailure with what it printed
    if it refuses the model, fails, takes too long or writes nothing.
    """
    settings = _settings(accelerator, system_config, memory_mode, vela_config)
    try:
        return vela.compile_file(folder / model.name, settings, program, time_limit)
    except vela.Refused as refused:
        raise CompilerFailure(f"Vela refuses the model: {refused}", refused.output) from refused


def explain(model: Model, made: Compiled) -> Placement:
    """Where the operators of a model's main graph are now that Vela has compiled it, and why.

    Raises CompilerFailure if Vela's report is not understood.
    """
    graph = model.graph
    said = read_said(made, graph)
    operators = tuple(
        _left(graph, place, said.left[place])
        if place in said.left
        else placed(graph, place, NAME, FOLDED if place in said.folded else ON_NPU)
        for place in range(len(graph.ops))
    )
    notes = tuple(_notes(graph, made, said))
    return Placement(
        NAME, device(_given(made, "--accelerator-config")), operators, said.pieces, None, notes, said.resources
    )


def _settings(
    accelerator: str, system_config: str | None, memory_mode: str | None, vela_config: str | Path | None
) -> Settings:
    return Settings(accelerator, system_config, memory_mode, None if vela_config is None else Path(vela_config))


def _refused(graph: Graph, settings: Settings, why: str) -> Placement:
    operators = tuple(placed(graph, place, CPU, REFUSED, why) for place in range(len(graph.ops)))
    return Placement(NAME, device(settings.accelerator), operators, refusal=why, refuser="Vela")


def _given(made: Compiled, option: str) -> str:
    """What an option of Vela was given; "" if it was not."""
    return dict(zip(made.command, made.command[1:], strict=False)).get(option, "")


def _left(graph: Graph, place: int, reason: Reason | None) -> OpPlacement:
    if reason is None:
        return placed(graph, place, CPU, LEFT, _NO_REASON)
    demanded = reason.constraint or NO_SUCH
    found = placed(graph, place, CPU, demanded.splitlines()[0], reason.seen)
    return replace(found, rule=demanded, remedy=remedy(graph.ops[place], graph, demanded))


def _notes(graph: Graph, made: Compiled, said: Said) -> list[str]:
    options = {"--system-config": said.system_config, "--memory-mode": said.memory_mode}
    assumed = [option for option in options if not _given(made, option)]
    default = f" (Vela's defaults; name your board's with {' and '.join(assumed)})" if assumed else ""
    by = f"Vela {made.version}" if made.version else "Vela"
    notes = [f"compiled by {by} for {_given(made, '--accelerator-config')}, {', '.join(options.values())}{default}"]
    notes.extend(open_inputs(graph, "what has an open size besides the batch stays on the CPU; fix it"))
    slowest = _slowest(graph, said)
    if slowest:
        notes.append(slowest)
    if said.left and said.resources:
        notes.append("cycles and time are of the NPU's part; what the CPU takes is not in them")
    if said.counted not in (None, len(said.left)):
        notes.append(f"Vela's summary counts {said.counted} operators on the CPU, and its report {len(said.left)}")
    return notes


def _slowest(graph: Graph, said: Said) -> str:
    """Which operators take the most cycles."""
    total = sum(said.cycles.values())
    if not total:
        return ""
    most = sorted(said.cycles.items(), key=lambda item: -item[1])[:_MOST_SHOWN]
    shown = (f"operator {place} ({graph.ops[place].label}) {100 * cycles / total:.0f} %" for place, cycles in most)
    return f"most cycles on the NPU: {', '.join(shown)}"


def _compiled(graph: Graph) -> Placement:
    """A file that Vela wrote: what the NPU runs is inside the custom operators, with its memory as operands."""
    taken = [place for place, op in enumerate(graph.ops) if op.custom_code == COMPILED]
    operators = tuple(
        replace(placed(graph, place, NAME, ON_NPU), macs=0)
        if place in taken
        else replace(
            placed(graph, place, CPU, LEFT, "Vela left it on the CPU"),
            macs=0,
            remedy="place the file from before the compiler",
        )
        for place in range(len(graph.ops))
    )
    note = f"this file is already compiled for an Ethos-U ({len(taken)} piece{'s' if len(taken) > 1 else ''})"
    return Placement(NAME, DEVICE, operators, len(taken), None, (note,), _memory(graph, taken))


def _memory(graph: Graph, taken: list[int]) -> tuple[Resource, ...]:
    """What the operands of the custom operators take: commands and weights, then what is written to."""
    operands = {name for place in taken for name in graph.ops[place].present_inputs}
    constants = sum(graph.tensors[name].byte_size for name in operands if graph.tensors[name].is_constant)
    scratch = [graph.tensors[name].byte_size for name in operands if name.startswith("scratch")]
    found = {"weights and commands": constants, "scratch memory": max(scratch, default=0)}
    return tuple(Resource(name, amount, "bytes", is_estimate=False) for name, amount in found.items() if amount)


def _kept(output: str | None) -> str:
    """Write what a compiler printed that failed where it can be read; says where."""
    if not (output or "").strip():
        return ""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="vela-", suffix=".log", delete=False) as file:
        file.write(output or "")
    return f"; all that it printed is in {file.name}"
