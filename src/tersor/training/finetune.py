"""A quantized network, trained a little on the samples it was calibrated on, without labels: the float model teaches it.

It begins as the very file that was made, every weight, scale and range of it, and moves from there by gradients. Some
of the samples are not trained on, and judge: what is not better on these is not kept.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.data.feed import Sample, fit
from tersor.errors import PlanError
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.ir.plan import Plan
from tersor.numerics.metrics import mean_interval
from tersor.ops import layer_operands
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine
from tersor.stages.correct import Corrected
from tersor.stages.quantize import quantize
from tersor.stages.repair.figures import Figures, Reference, gains_db
from tersor.stages.trained import statistics_of
from tersor.training.distill import Distiller, held_by
from tersor.training.network import Network
from tersor.training.qat import QuantizationAware, rounding_of
from tersor.training.relative_adam import RelativeAdam
from tersor.training.weight_quantizers import LearnedScale

LEAST = 20
"""Fewer samples than this can not be trained on and judged by as well."""

_JUDGE = 4
"""Every so many-th sample judges."""

_STEPS = 10
"""The size of a weight in steps of its scale: by a thousandth of that, fifty updates take it to the next integer."""

_LEAST = 1e-6
"""Of a size."""


@dataclass(frozen=True)
class FineTuner:
    """Trains what was made of a model; for `Options.finetune`.

    Attributes:
        minutes: after so many it ends, also if it has not gone through its rounds.
        rounds: how often the samples are gone through.
        batch_size: samples of a step.
        learning_rate: to begin with, in parts of what is trained (`RelativeAdam`); it falls to 0 over the rounds, as a
            cosine.
        temperature: see `Distiller`.
        mixing: whether half of each batch are mixtures of two samples, which makes more of few samples.
        seed: of the order of samples.
    """

    minutes: float = 5.0
    rounds: int = 30
    batch_size: int = 16
    learning_rate: float = 2e-3
    temperature: float = 1.0
    mixing: bool = True
    seed: int = 0

    def __call__(
        self,
        model: Model,
        written: Path,
        made: Corrected,
        recipe: Recipe,
        samples: Sequence[Sample],
        *,
        engine: Engine,
        progress: Callable[[int], None] | None = None,
    ) -> Corrected:
        """See `tersor.stages.fine_tuning`.

        Raises:
            PlanError: there are too few samples.
            UnsupportedError: an operator cannot be trained.
        """
        if len(samples) < LEAST:
            raise PlanError(f"{recipe.name}: {len(samples)} samples are too few to fine-tune on: at least {LEAST}")
        own, judges = [item for place, item in enumerate(samples) if place % _JUDGE], list(samples[::_JUDGE])
        reference = Reference(written, judges, None, engine)
        student = network_of(made, recipe)
        handle = engine.open(str(written))
        arrays = [np.concatenate(items) for items in zip(*(fit(item, handle.inputs) for item in own), strict=True)]
        handle.close()
        before = _figures(made, reference)
        best, after = made, before
        for rounds in self._rounds(student, Network(_without_normals(model)), arrays, progress):
            found = replace(made, model=(planned := student.planned())[0], plan=_noted(planned[1], made.plan, rounds))
            figures = _figures(found, reference)
            if figures.share < after.share:
                best, after = found, figures
        if best is not made and mean_interval(gains_db(before, after))[0] > 0:
            return best
        note = f"fine-tuned in vain: no better on {len(judges)} samples that it was not trained on; left as it was"
        return replace(made, plan=replace(made.plan, warnings=(*made.plan.warnings, note)))

    def _rounds(
        self, student: Any, teacher: Any, arrays: Sequence[Array], progress: Callable[[int], None] | None
    ) -> Iterator[int]:
        """Train, and tell now and then how many rounds are done."""
        keras.utils.set_random_seed(self.seed)
        answers = _listed(teacher.predict(_single(arrays), batch_size=self.batch_size, verbose=0))
        spread = [float(item.var()) for item in answers]
        taught = Distiller(student, teacher, [held_by(item) for item in answers], spread, temperature=self.temperature)
        taught.compile(RelativeAdam(self.learning_rate, _sizes(student)))
        random, started = np.random.default_rng(self.seed), time.monotonic()
        done = 0
        while done < self.rounds:
            late = (time.monotonic() - started) / (60 * self.minutes)
            share = max(done / self.rounds, late)
            if share >= 1:
                return
            taught.optimizer.learning_rate.assign(self.learning_rate * (1 + math.cos(math.pi * share)) / 2)
            for batch in self._batches(arrays, random):
                taught.train_on_batch(_single(batch))
            done += 1
            if progress is not None:
                progress(done)
            if done % max(self.rounds // 6, 1) == 0 or done == self.rounds:
                yield done

    def _batches(self, arrays: Sequence[Array], random: np.random.Generator) -> Iterator[list[Array]]:
        """All samples in a new order, in batches of one size; of each batch the second half mixed, if so asked."""
        count = len(arrays[0])
        size = min(self.batch_size, count)
        order = random.permutation(count)
        for start in range(0, count - size + 1, size):
            chosen = order[start : start + size]
            batch = [item[chosen] for item in arrays]
            if self.mixing and all(item.dtype == np.float32 for item in batch):
                shares, other = random.uniform(0, 1, size), random.permutation(size)
                shares[: size // 2] = 1
                batch = [_mixed(item, item[other], shares) for item in batch]
            yield batch


def network_of(made: Corrected, recipe: Recipe) -> QuantizationAware:
    """The network that answers as the file of this plan does, every scale and range of it to be learned."""
    source = _without_normals(made.model)
    ranges = {name: own.params.real_range for name, own in made.plan.tensors.items() if own.params is not None}
    rounding = rounding_of(source.graph, made.plan, statistics_of(ranges), learned=True)
    schemes = {
        name: replace(scheme, quantizer=keras.saving.serialize_keras_object(LearnedScale(scheme.weights.bits or 8)))
        if scheme.weights is not None
        else scheme
        for name, scheme in rounding.schemes.items()
    }
    rounding = replace(rounding, schemes=schemes)
    network = QuantizationAware(source, rounding, None, replace(recipe, weight_observer="min_max"))
    for layer in network.operators():
        if isinstance(layer.weight_quantizer, LearnedScale):
            params = made.plan.operands[layer.op.name, layer_operands(layer.op.kind).weights].params
            assert params is not None
            layer.weight_quantizer.begin(np.array(params.scales, np.float32))
    return network


def _sizes(network: QuantizationAware) -> dict[str, Array]:
    """How large what is trained is, by the variable's path."""
    found = {}
    for layer in network.operators():
        quantizer = layer.weight_quantizer
        if isinstance(quantizer, LearnedScale):
            steps = np.abs(ops.convert_to_numpy(quantizer.scale))
            found[quantizer.scale.path] = steps
            found[layer.kernel.path] = _STEPS * steps
        for variable in layer.trainable_variables:
            values = np.abs(ops.convert_to_numpy(variable))
            found.setdefault(variable.path, np.maximum(values.mean(), _LEAST))
    for item in network.quantizers().values():
        low, high = item.bounds() or (0.0, 1.0)
        found |= {variable.path: np.array(high - low) for variable in item.trainable_variables}
    return found


def _without_normals(model: Model) -> Model:
    """The model with its biases as they are, and not what normalizations gave them: these are over."""
    graph = model.graph
    plain = [replace(tensor, normal=None) for tensor in graph.tensors.values() if tensor.normal is not None]
    return model.with_graph(graph.edit(tensors=plain)) if plain else model


def _figures(made: Corrected, reference: Reference) -> Figures:
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        path = Path(folder) / "candidate.tflite"
        tflite.write(quantize(made.model, made.plan), path)
        return reference.figures(path)


def _noted(plan: Plan, before: Plan, rounds: int) -> Plan:
    """The plan with what was said of the one before, and a word on the training."""
    operands = {
        key: replace(own, why=f"{own.why}; fine-tuned ({rounds} rounds)") if own.why.endswith("as trained") else own
        for key, own in plan.operands.items()
    }
    return replace(plan, operands=operands, warnings=before.warnings)


def _mixed(values: Array, others: Array, shares: Array) -> Array:
    parts = shares.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
    return np.asarray(parts * values + (1 - parts) * others, np.float32)


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _single(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)
