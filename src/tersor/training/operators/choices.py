"""Operators that choose, count and decide: their answers are places, truths and integers, which have no gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from tersor.training.operators.call import Call


def extreme(function: Callable[..., Any]) -> Callable[[Call], Any]:
    """The place of the largest or smallest value along an axis."""

    def place(call: Call) -> Any:
        return ops.cast(function(call.operand(0), axis=call.integers(1)[0]), str(call.dtypes[0]))

    return place


def cast(call: Call) -> Any:
    """Another type; among real numbers with gradients."""
    return ops.cast(call.operand(0), str(call.dtypes[0]))


def top_k(call: Call) -> list[Any]:
    """The largest values along the last axis, sorted, and their places; gradients go to where they were."""
    values, places = ops.top_k(call.operand(0), call.integers(1)[0], sorted=True)
    return [values, ops.cast(places, str(call.dtypes[1]))]


def embedding(call: Call) -> Any:
    """Rows of the second operand, by the numbers in the first."""
    return ops.take(call.operand(1), ops.cast(call.operand(0), "int32"), axis=0)


def one_hot(call: Call) -> Any:
    """One value at the place that an index says, the other elsewhere."""
    places = ops.one_hot(ops.cast(call.operand(0), "int32"), call.integers(1)[0], axis=call.option("axis", -1))
    on, off = (ops.cast(call.operand(index), "float32") for index in (2, 3))
    return ops.cast(off + (on - off) * places, str(call.dtypes[0]))


def reduced(function: Callable[..., Any]) -> Callable[[Call], Any]:
    """Whether all, or any, of the values along axes are true."""

    def reduce(call: Call) -> Any:
        axes = tuple(axis % len(call.shapes[0]) for axis in call.integers(1))
        return function(call.operand(0), axis=axes, keepdims=bool(call.option("keep_dims", False)))

    return reduce
