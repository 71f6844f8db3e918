"""What a rule of a target is: a function that says what it saw, and all that a user is told besides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tersor.ir.graph import Graph, Op, Tensor

Judge = Callable[[Op, Graph], str | None]
"""Takes an operator and its graph; returns what breaks the rule, or None."""


@dataclass(frozen=True)
class Rule:
    """One thing that a target demands of operators.

    Attributes:
        name: the function's name.
        statement: the rule, as a user reads it: the function's docstring.
        status: what the target's compiler says of an operator that breaks it.
        remedy: what to change.
        basis: how the rule is known.
        kinds: the operators that it is about; empty for all.
        judge: the function.
    """

    name: str
    statement: str
    status: str
    remedy: str
    basis: str
    kinds: frozenset[str]
    judge: Judge

    def __call__(self, op: Op, graph: Graph) -> str | None:
        """What breaks the rule, or None."""
        return self.judge(op, graph) if not self.kinds or op.kind in self.kinds else None


def rule(status: str, remedy: str, basis: str, kinds: Iterable[str] = ()) -> Callable[[Judge], Rule]:
    """Make a function a rule; see `Rule`."""

    def made(judge: Judge) -> Rule:
        statement = " ".join((judge.__doc__ or "").split())
        return Rule(judge.__name__, statement, status, remedy, basis, frozenset(kinds), judge)

    return made


def broken(rules: Iterable[Rule], op: Op, graph: Graph) -> tuple[Rule, str] | None:
    """The first rule that an operator breaks, and what was seen; None if it keeps all."""
    for each in rules:
        seen = each(op, graph)
        if seen is not None:
            return each, seen
    return None


def described(tensor: Tensor) -> str:
    """Type and shape of a value."""
    return f"{tensor.dtype}[{','.join(map(str, tensor.shape))}]"
