"""A placement: where each operator of a network runs on a target, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

CPU = "cpu"
"""Where an operator runs that no accelerator takes."""


@dataclass(frozen=True, slots=True)
class OpPlacement:
    """Where one operator runs.

    Attributes:
        index: its place among the operators of the main graph.
        op: its kind, or a custom operator's own name.
        name: its name.
        on: the target's name, or `CPU`.
        status: what the target's own compiler says of it.
        reason: why it runs on the CPU: what was seen; None for what the target takes.
        rule: the rule that this breaks, None where none is broken.
        remedy: what to change; None where there is nothing to change.
        macs: multiply-accumulates of one run.
        parameter_bytes: bytes of its constants as the file holds them.
        kind: the kind, as a compiler's log has it (`CUSTOM` for all custom operators).
    """

    index: int
    op: str
    name: str
    on: str
    status: str
    reason: str | None = None
    rule: str | None = None
    remedy: str | None = None
    macs: int = 0
    parameter_bytes: int = 0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """Parameters on a device with a cache of its own, in bytes.

    Attributes:
        parameters: what the device is given, in its own layout.
        cached: what stays on the chip between runs.
        streamed: what travels to it in every run.
        is_estimate: False where it was read from a compiled file.
    """

    parameters: int
    cached: int
    streamed: int
    is_estimate: bool


@dataclass(frozen=True)
class Placement:
    """Where the operators of a network run.

    Attributes:
        target: the target's name.
        device: what its accelerator is called in a sentence.
        operators: in the file's order.
        parts: how many pieces of the network the accelerator runs, each in one go.
        refusal: why the target's compiler takes no part of the file at all; None where it does.
        notes: what else is to be known.
        memory: of the parameters, where something is known of them.
    """

    target: str
    device: str
    operators: tuple[OpPlacement, ...]
    parts: int = 0
    refusal: str | None = None
    notes: tuple[str, ...] = ()
    memory: Memory | None = None

    @property
    def mapped(self) -> tuple[OpPlacement, ...]:
        """The operators that the accelerator runs."""
        return tuple(item for item in self.operators if item.on != CPU)

    @property
    def left(self) -> tuple[OpPlacement, ...]:
        """The operators that stay on the CPU."""
        return tuple(item for item in self.operators if item.on == CPU)

    @property
    def share_of_macs(self) -> float:
        """The share of multiply-accumulates that the accelerator runs; NaN for a network without any."""
        total = sum(item.macs for item in self.operators)
        return sum(item.macs for item in self.mapped) / total if total else float("nan")

    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many operators of each (kind, status), as a compiler's log groups them."""
        return Counter((item.kind or item.op, item.status) for item in self.operators)
