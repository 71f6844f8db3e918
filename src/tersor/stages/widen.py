"""Writing a network for several samples at once by the plan that was made for it with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tersor.data.batch import batch_of
from tersor.errors import UnsupportedError, VerificationError
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op
from tersor.ir.plan import Plan
from tersor.runtimes.engine import Engine
from tersor.stages.compare import Accumulator, OutputDistance, real_outputs
from tersor.stages.quantize import quantize

_ALIKE_DB = 40.0
"""SQNR between a sample's answers in a batch and alone. Integer kernels give the same bits, float sums agree to 120 dB;
a sample that reads another one's values is below 20 dB."""


class Wide:
    """A float network, read and optimized once for one sample and once for a batch.

    Args:
        single: with a batch of one; plans are made for it.
        model: the same network with a batch of several.
        folder: for files that are made on the way.
        engine: the process to run in.

    Raises UnsupportedError if they do not have the same operators.
    """

    def __init__(self, single: Model, model: Model, folder: Path, engine: Engine) -> None:
        self._single = single
        self._folder = folder
        self._engine = engine
        self.model = replace(model, graphs=(_sharing(single.graph, model.graph), *model.graphs[1:]))
        self.batch = batch_of(self.model.graph.tensors[name].shape for name in self.model.graph.inputs)
        self.float_path = folder / "float.batch.tflite"
        tflite.write(self.model, self.float_path)

    def with_constants_of(self, single: Model) -> Model:
        """The batched network with the weights, biases and channels that algorithms have given that for one sample."""
        if single is self._single:
            return self.model
        graph = self.model.graph
        tensors, ops = dict(graph.tensors), []
        for own, other in zip(graph.ops, single.graph.ops, strict=True):
            _require_same(other, own)
            inputs = list(own.inputs)
            for place, name in enumerate(other.inputs):
                given = None if name is None else single.graph.tensors[name]
                if given is not None and given.is_constant and given.dtype is DType.FLOAT32:
                    tensors[given.name] = given
                    inputs[place : place + 1] = [given.name]
            for name in other.outputs:
                before, after = (item.graph.tensors[name].shape[-1:] for item in (self._single, single))
                if before != after:
                    tensors[name] = replace(tensors[name], shape=(*tensors[name].shape[:-1], *after))
            ops.append(replace(own, inputs=tuple(inputs)))
        return self.model.with_graph(replace(graph, tensors=tensors, ops=tuple(ops)))

    def require_alike(self, single: Model, plan: Plan, path: Path, samples: Sequence[object]) -> None:
        """Raise VerificationError unless a file with a batch answers each sample as the one for single samples does.

        Args:
            single: the float model for single samples, as the plan was made for it.
            plan: what the file was written by.
            path: the file.
            samples: a few samples.
        """
        alone = self._folder / "alone.tflite"
        tflite.write(quantize(single, plan), alone)
        for item in self._distances(alone, path, samples):
            if item.sqnr_db < _ALIKE_DB:
                raise VerificationError(
                    f"{plan.recipe}: output {item.name!r} of samples in a batch is not that of single ones "
                    f"({item.sqnr_db:.1f} dB between them): the model mixes samples; leave --batch-size out"
                )

    def _distances(self, alone: Path, path: Path, samples: Sequence[object]) -> list[OutputDistance]:
        answers = []
        for file in (alone, path):
            handle = self._engine.open(str(file))
            answers.append(list(real_outputs(handle, samples)))
            sums = [Accumulator(port.name) for port in handle.outputs]
            handle.close()
        for own, batched in zip(*answers, strict=True):
            for item, a, b in zip(sums, own, batched, strict=True):
                item.add(a, b)
        return [item.distance() for item in sums]


def _sharing(single: Graph, wide: Graph) -> Graph:
    """The batched graph with the other one's arrays, where they are equal: weights are held once."""
    for a, b in zip(single.ops, wide.ops, strict=False):
        _require_same(a, b)
    if len(single.ops) != len(wide.ops):
        raise UnsupportedError(
            f"with a batch the model has {len(wide.ops)} operators and without {len(single.ops)}: not the same network"
        )
    twins = single.tensors
    tensors = {
        name: twins[name] if name in twins and tensor.is_constant and tensor == twins[name] else tensor
        for name, tensor in wide.tensors.items()
    }
    return replace(wide, tensors=tensors)


def _require_same(single: Op, wide: Op) -> None:
    if (single.kind, single.outputs) != (wide.kind, wide.outputs):
        raise UnsupportedError(
            f"with a batch the operator {single.name!r} ({single.kind}) is {wide.name!r} ({wide.kind}): "
            "not the same network, so the plan for one sample does not fit"
        )
