"""A placement: where each operator of a network runs on a target, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

CPU = "cpu"
"""Where an operator runs that no accelerator takes."""

NOWHERE = "nowhere"
"""Where an operator runs on a device that has no other processor to fall back on."""


_LEFT = (CPU, NOWHERE)


@dataclass(frozen=True, slots=True)
class OpPlacement:
    """Where one operator runs.

    Attributes:
        index: its place among the operators of the main graph.
        op: its kind, or a custom operator's own name.
        name: its name.
        on: the target's name, `CPU`, or `NOWHERE`; "xnnpack" for what XNNPACK takes of the target `cpu`.
        status: what the target's own compiler says of it.
        reason: why the target does not take it: what was seen; None for what it takes.
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
class Resource:
    """What a network takes of a device.

    Attributes:
        name: of what, as the device's people call it: "arena", "parameters sent in every run".
        amount: how much.
        unit: "bytes", "cycles" or "ms".
        is_estimate: False where it was measured, or read from a compiled file.
    """

    name: str
    amount: float
    unit: str
    is_estimate: bool


@dataclass(frozen=True)
class Placement:
    """Where the operators of a network run.

    Attributes:
        target: the target's name.
        device: what its accelerator is called in a sentence.
        operators: in the file's order.
        parts: how many pieces of the network the accelerator runs, each in one go.
        refusal: why nothing of the file runs on the target at all; None where it does.
        notes: what else is to be known.
        resources: what the network takes of the device, where something is known of it.
        elsewhere: where the operators are that the accelerator does not take, in a sentence: "on the CPU".
        refuser: who refuses a file, in a sentence.
    """

    target: str
    device: str
    operators: tuple[OpPlacement, ...]
    parts: int = 0
    refusal: str | None = None
    notes: tuple[str, ...] = ()
    resources: tuple[Resource, ...] = ()
    elsewhere: str = "on the CPU"
    refuser: str = "the compiler"

    @property
    def mapped(self) -> tuple[OpPlacement, ...]:
        """The operators that the accelerator runs."""
        return tuple(item for item in self.operators if item.on not in _LEFT)

    @property
    def left(self) -> tuple[OpPlacement, ...]:
        """The operators that it does not run."""
        return tuple(item for item in self.operators if item.on in _LEFT)

    @property
    def share_of_macs(self) -> float:
        """The share of multiply-accumulates that the accelerator runs; NaN for a network without any."""
        total = sum(item.macs for item in self.operators)
        return sum(item.macs for item in self.mapped) / total if total else float("nan")

    def amount(self, name: str) -> float:
        """Of the resource with that name; 0 where nothing is known of it."""
        return next((item.amount for item in self.resources if item.name == name), 0)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many operators of each (kind, status), as a compiler's log groups them."""
        return Counter((item.kind or item.op, item.status) for item in self.operators)
