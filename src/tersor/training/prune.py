"""Pruning: weights that matter little become zeros while the network trains (Zhu and Gupta 2017, arXiv 1710.01878).

A layer keeps its weights beside a mask of those that stay. What goes is chosen inside the training step, by the
magnitude that weights have in the file, with batch normalization folded; so custom training loops, saving and going on
need no callback. Weights that went have no gradient, and keep the value that they had: at the next choice they can come
back.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from tersor.errors import PlanError, RecipeError
from tersor.ir.graph import Graph, Model, Op
from tersor.ops import LAYERS, layer_operands
from tersor.passes import separate_mean
from tersor.targets.cpu.sparse_inference import sparse_inference
from tersor.training.carried import with_carried
from tersor.training.channels import ChannelGroup, channel_groups, remove_channels
from tersor.training.length import steps_of_fit
from tersor.training.masking import Masking
from tersor.training.network import Network, architecture, masking_of
from tersor.training.operators.weights import inputs_and_outputs
from tersor.training.padding import center_padding
from tersor.training.pruning import Pruning
from tersor.training.rounding import Rounding
from tersor.training.schedules import Constant, PolynomialDecay
from tersor.training.source import source_of
from tersor.training.sparsity import Sparsity, sparsity_of
from tersor.training.spread import lamp

__all__ = [
    "ChannelGroup",
    "Constant",
    "PolynomialDecay",
    "Pruned",
    "Pruning",
    "Sparsity",
    "center_padding",
    "channel_groups",
    "prepare",
    "remove_channels",
    "sparsity_of",
]


@keras.saving.register_keras_serializable("tersor")
class Pruned(Network):
    """A network whose weights become zeros while it trains; `trained` is the float model with these.

    Args:
        source: a float model, simplified.
        rounding: nothing but what the model's own training goes on with.
        freeze_after: see `Network`.
        masking: what becomes of layers, by their operators' names.
        pruning: what was wanted.
        dense: layers that stay as they are, and why.
    """

    def __init__(
        self,
        source: Model,
        rounding: Rounding,
        freeze_after: int | None,
        masking: Mapping[str, Masking],
        pruning: Pruning,
        dense: Mapping[str, str],
    ) -> None:
        super().__init__(source, rounding, freeze_after, masking)
        self.pruning = pruning
        self.dense = dict(dense)
        self.more_to_come = False
        """Whether further calls of `fit` follow, so that one alone need not reach the end of the schedule."""

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's own; raises PlanError where it would end before the schedule does."""
        count = steps_of_fit(self, *args, **kwargs)
        if count is not None and not self.more_to_come:
            self._require_end(self._steps() + count, "fit would end")
        return super().fit(*args, **kwargs)

    def trained(self) -> Model:
        """The float model with what was learned, zeros and all. Raises PlanError before the schedule is over."""
        self._require_end(self._steps(), "training ended")
        return super().trained()

    def save_assets(self, dir_path: str) -> None:
        """Called by `save`; what commands read of the file is there when the schedule is over."""
        if not self._is_before_end(self._steps()):
            super().save_assets(dir_path)

    def sparsity(self) -> Sparsity:
        """The zeros of each layer now, and those that are wanted."""
        wanted = {layer.op.name: layer.masking.sparsity for layer in self.operators() if layer.masking}
        return sparsity_of(super().trained(), wanted, self.dense)

    def get_config(self) -> dict[str, Any]:
        """The architecture without its weights."""
        return {**super().get_config(), "pruning": self.pruning.to_table(), "dense": self.dense}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Pruned:  # noqa: ARG003 (Keras's)
        """The architecture again; Keras then loads its weights."""
        pruning = Pruning.parse(config["pruning"])
        return cls(*architecture(config), config["freeze_after"], masking_of(config), pruning, config["dense"])

    def _steps(self) -> int:
        return int(ops.convert_to_numpy(self.get_layer("training_steps").steps))

    def _is_before_end(self, steps: int) -> bool:
        return steps < self.pruning.schedule.last and self.pruning.wanted > 0

    def _require_end(self, steps: int, what: str) -> None:
        last = self.pruning.schedule.last
        if self._is_before_end(steps):
            raise PlanError(
                f"{what} at step {steps}, and the schedule of pruning at step {last}: the model would not have its "
                f"{self.pruning.wanted:.0%} zeros. Train for more steps (batches), or have the schedule end earlier; "
                "if more calls of fit follow, set more_to_come = True on this network"
            )


def prepare(model: Any, pruning: Pruning, *, freeze_after: int | None = None) -> Pruned:
    """A Keras model that trains as usual, and loses weights on the way.

    Args:
        model: a live Keras model, a file of any kind that tersor reads, a `Model`, or a network of this package.
        pruning: which weights become zeros, and when.
        freeze_after: the step from which on batch normalization uses its moving statistics, as the file does; by
            default in evaluation and in the file only.

    Raises:
        RecipeError: a name that no layer has.
        PlanError: no layer can be pruned; with the reason of each.
        UnsupportedError: an operator cannot be trained, by name; or the model mixes the samples of a batch.
    """
    source = source_of(model)
    chosen, dense = _choose(source.graph, pruning)
    if not chosen:
        reasons = "\n".join(f"  {name}: {why}" for name, why in dense.items())
        raise PlanError(f"no layer can be pruned:\n{reasons}" if dense else "the model has no layer with weights")
    shares = dict.fromkeys((op.name for op in chosen), pruning.wanted)
    if pruning.spread == "lamp":
        free = [op for op in chosen if not _given(op.name, pruning.layers)]
        shares.update(lamp(source.graph, free, pruning.wanted))
    for op in chosen:
        for pattern in _given(op.name, pruning.layers):
            shares[op.name] = pruning.layers[pattern]
    masking = {name: pruning.masking(share) for name, share in shares.items()}
    return Pruned(source, with_carried(Rounding(), model, source.graph), freeze_after, masking, pruning, dense)


def _choose(graph: Graph, pruning: Pruning) -> tuple[list[Op], dict[str, str]]:
    """The layers to prune, and why others stay dense."""
    layers = [op for op in graph.ops if op.kind in LAYERS]
    names = [op.name for op in layers]
    for key, patterns in (("only", pruning.only), ("skip", pruning.skip), ("layers", pruning.layers)):
        _require_known(key, patterns, names)
    forecast = {}
    if pruning.policy == "for_xnnpack":
        assumed = {op.name: pruning.wanted for op in layers}
        forecast = {verdict.name: verdict.reason for verdict in sparse_inference(separate_mean.apply(graph), assumed)}
    chosen, dense = [], {}
    for op in layers:
        reason = _reason(graph, op, pruning) or forecast.get(op.name)
        if reason is None:
            chosen.append(op)
        else:
            dense[op.name] = reason
    return chosen, dense


def _reason(graph: Graph, op: Op, pruning: Pruning) -> str | None:
    """Why a layer stays dense; None if it is pruned."""
    if _given(op.name, pruning.skip):
        return "skip names it"
    if pruning.only and not _given(op.name, pruning.only):
        return "only does not name it"
    weights = graph.operand(op, layer_operands(op.kind).weights)
    if weights is None or not weights.is_constant:
        return "its weights are computed"
    if op.kind == "DEPTHWISE_CONV_2D":
        if not pruning.only:
            return "depthwise layers have few weights and need them (only = [...] prunes them)"
        if pruning.pattern != "unstructured":
            return "a depthwise layer has one input for each output, and no groups of them"
    return pruning.pattern_of_weights.refusal(*inputs_and_outputs(op.kind, weights.shape))


def _given(name: str, patterns: Iterable[str]) -> list[str]:
    """Those of the patterns that a name matches; it may be one itself."""
    return [pattern for pattern in patterns if name == pattern or fnmatch.fnmatchcase(name, pattern)]


def _require_known(key: str, patterns: Iterable[str], names: list[str]) -> None:
    for pattern in patterns:
        if any(_given(name, [pattern]) for name in names):
            continue
        close = difflib.get_close_matches(pattern, names, n=1)
        hint = (
            f"did you mean {close[0]!r}?" if close else f"layers are {', '.join(names[:8])}{', ...' * (len(names) > 8)}"
        )
        raise RecipeError(f"{key} names {pattern!r}, and no layer with weights is called so: {hint}")
