"""Which weights become zeros together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from keras import ops

from tersor.errors import RecipeError


@dataclass(frozen=True)
class Unstructured:
    """Each weight for itself: the smallest of a layer go."""

    def __str__(self) -> str:
        return "unstructured"

    def refusal(self, inputs: int, outputs: int) -> str | None:  # noqa: ARG002 (of all patterns)
        """Why a kernel of so many inputs and outputs cannot have this pattern; None if it can."""
        return None

    def reachable(self, sparsity: float) -> float:
        """The share of zeros that comes closest to the one that is wanted."""
        return sparsity

    def mask(self, scores: Any, sparsity: Any) -> Any:
        """What stays.

        Args:
            scores: how much each weight matters, [..., inputs, outputs].
            sparsity: the share that goes, a scalar.

        Returns:
            True for what stays, in the shape of `scores`. Of equal scores the first ones go.
        """
        flat = ops.reshape(scores, (-1,))
        dropped = ops.cast(ops.round(ops.cast(sparsity, "float32") * flat.shape[0]), "int32")
        return ops.reshape(_ranks(flat, axis=0) >= dropped, tuple(scores.shape))


@dataclass(frozen=True)
class NofM:
    """Of every `m` weights that follow each other along the inputs, the `n` largest stay, as in 2:4."""

    n: int
    m: int

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    def refusal(self, inputs: int, outputs: int) -> str | None:  # noqa: ARG002 (of all patterns)
        """See `Unstructured`."""
        return None if inputs % self.m == 0 else f"its {inputs} inputs are no multiple of {self.m}"

    def reachable(self, sparsity: float) -> float:  # noqa: ARG002 (of all patterns)
        """See `Unstructured`."""
        return 1.0 - self.n / self.m

    def mask(self, scores: Any, sparsity: Any) -> Any:
        """See `Unstructured`; on the way to the full sparsity, groups lose one weight after the other."""
        *outer, inputs, outputs = scores.shape
        groups = ops.reshape(scores, (*outer, inputs // self.m, self.m, outputs))
        dropped = ops.cast(ops.floor(ops.cast(sparsity, "float32") * self.m + 1e-3), "int32")
        return ops.reshape(_ranks(groups, axis=-2) >= dropped, tuple(scores.shape))


@dataclass(frozen=True)
class Block:
    """Blocks of weights of so many outputs and inputs, which follow each other: the smallest on average go."""

    outputs: int
    inputs: int

    def __str__(self) -> str:
        return f"blocks of {self.outputs} x {self.inputs}"

    def refusal(self, inputs: int, outputs: int) -> str | None:
        """See `Unstructured`."""
        for have, size, what in ((outputs, self.outputs, "outputs"), (inputs, self.inputs, "inputs")):
            if have % size:
                return f"its {have} {what} are no multiple of {size}"
        return None

    def reachable(self, sparsity: float) -> float:
        """See `Unstructured`."""
        return sparsity

    def mask(self, scores: Any, sparsity: Any) -> Any:
        """See `Unstructured`."""
        *outer, inputs, outputs = scores.shape
        split = (*outer, inputs // self.inputs, self.inputs, outputs // self.outputs, self.outputs)
        sums = ops.sum(ops.reshape(scores, split), axis=(-3, -1), keepdims=True)
        kept = Unstructured().mask(sums, sparsity)
        return ops.reshape(ops.broadcast_to(kept, split), tuple(scores.shape))


Pattern = Unstructured | NofM | Block

UNSTRUCTURED = Unstructured()


def pattern_of(text: str, block: tuple[int, int] | None) -> Pattern:
    """The pattern of that name. Raises RecipeError."""
    if text == "block":
        if block is None or len(block) != 2 or min(block) < 1:
            raise RecipeError("pattern 'block' needs its shape: block = [outputs, inputs], as in [1, 4]")
        return Block(*block)
    if block is not None:
        raise RecipeError(f"block is the shape of pattern 'block', and the pattern is {text!r}")
    if text == "unstructured":
        return Unstructured()
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None or not 0 < int(match[1]) < int(match[2]):
        raise RecipeError(f"pattern is {text!r}: it must be 'unstructured', 'block', or N:M with N below M, as '2:4'")
    return NofM(int(match[1]), int(match[2]))


def _ranks(values: Any, axis: int) -> Any:
    """The place of each value among those along the axis, the smallest first."""
    return ops.argsort(ops.argsort(values, axis=axis), axis=axis)
