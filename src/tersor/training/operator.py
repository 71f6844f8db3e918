"""An operator of the network as a Keras layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.errors import UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op
from tersor.ir.normal import Normal
from tersor.ir.quant import PerChannel, PerTensor, QuantParams
from tersor.numerics.affine import SMALLEST_SCALE
from tersor.numerics.packing import values_of
from tersor.ops import LAYERS, OPS, LayerOperands, layer_operands
from tersor.training.fake_quantization import fake_quantize
from tersor.training.masking import Mask
from tersor.training.operators import OPERATORS, REFUSED, Call
from tersor.training.operators.elementwise import FUSED
from tersor.training.operators.weights import CHANNEL_AXES, from_keras, to_keras
from tersor.training.rounding import NOTHING, Scheme
from tersor.training.weight_quantizers import Uniform, WeightQuantizer

_EPSILON = 1e-3
"""Of a batch normalization, as a share of the variance that the channel had."""

_LEAST_SHARE = 1e-3
"""Of the largest channel's size: what is smaller than that is dead, and is not blown up."""

_MOMENTUM = 0.99
"""Of its moving statistics; Keras's own default."""

_SMALLEST_STEP = 1e-30
"""Of a bias; channels without weights have none."""


class Operator(keras.layers.Layer):  # type: ignore[misc]
    """One operator: its float constants are weights, laid out as Keras lays them out.

    Where a batch normalization was folded into the layer, it is there again: `Normal` states the mean and deviation
    that it gave to each channel, and nothing else is needed, for folded weights are the original ones times a factor
    per channel, which normalizing takes out again. In training it uses the batch's own statistics, and from the freeze
    on the moving ones, as the file will (Krishnamoorthi 2018, arXiv 1806.08342, section 3.2.2).

    Args:
        op: the operator.
        graph: where it is from.
        name: of the layer, unique in the network.
        frozen: tells whether the statistics of batches are used no longer.
        scheme: how constants are rounded.
        mask: which weights are zeros; None where no care is taken of them.

    Raises UnsupportedError for an operator that cannot be trained.
    """

    def __init__(
        self,
        op: Op,
        graph: Graph,
        name: str,
        frozen: Callable[[], Any],
        scheme: Scheme = NOTHING,
        mask: Mask | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        if op.kind not in OPERATORS:
            why = REFUSED.get(op.kind, "there is no gradient for it here; train the network without it")
            raise UnsupportedError(f"operator {op.name!r} ({op.label}) cannot be trained: {why}")
        self.op = op
        self._function = OPERATORS[op.kind]
        self._scheme = scheme
        self._frozen = frozen
        self._place: LayerOperands | None = layer_operands(op.kind) if op.kind in LAYERS else None
        self._shapes = [() if own is None else graph.tensors[own].shape for own in op.inputs]
        self._results = [graph.tensors[own].shape for own in op.outputs]
        self._states = {index for index, own in enumerate(op.inputs) if own and graph.tensors[own].is_variable}
        self._dtypes = [graph.tensors[own].dtype for own in op.outputs]
        self._constants: dict[int, Any] = {}
        self._input_scale: Callable[[], Any] | None = None
        self._gain = np.ones((), np.float32)
        normal = graph.tensors[op.outputs[0]].normal
        self.normalizes = self._place is not None and normal is not None
        for index, own in enumerate(op.inputs):
            tensor = None if own is None else graph.tensors[own]
            if tensor is not None and tensor.is_constant:
                self._hold(index, values_of(tensor))
        if self._place is not None and normal is not None:
            self._hold_statistics(self._constants.pop(self._place.bias, None), normal)
        self.weight_quantizer = self._quantizer() if self._place is not None and scheme.weights is not None else None
        self.masking = None if mask is None else mask.how
        self._mask = mask
        if mask is not None:
            first = mask.first(ops.convert_to_numpy(self.kernel))
            self.kept = self._variable("kept", first, trainable=False, dtype="bool")

    def call(self, *values: Any, training: bool = False) -> Any:
        """The operator's results on its computed operands, in order."""
        computed = iter(values)
        if training and self._mask is not None:
            self.kept.assign(self._mask.updated(self.kept, self._importance))
        operands = [self._operand(index, own, computed) for index, own in enumerate(self.op.inputs)]
        if self._place is not None and self.compute_dtype != "float32":  # mixed precision: all but this is in float32
            operands = [_cast(value, self.compute_dtype) for value in operands]
        result = self._function(Call(self.op, operands, self._shapes, self._results, self._dtypes))
        if self._place is not None:
            result = _cast(result, "float32")
        if self.normalizes:
            result = self._normalized(result, training)
        if self._input_scale is not None and not training:
            result = result + self._error_of_bias(self._input_scale())
        return result if self._states else FUSED[self.op.option("fused_activation_function", 0) or 0](result)

    def compute_output_spec(self, *values: Any, training: bool = False) -> Any:  # noqa: ARG002 (Keras's)
        """What the graph says of the results: to trace each operator would take a minute where there are thousands."""
        specs = [
            keras.KerasTensor((None, *shape[1:]) if shape else (), self._kept(dtype))
            for shape, dtype in zip(self._results, self._dtypes, strict=True)
        ]
        return specs if len(specs) > 1 else specs[0]

    def _kept(self, dtype: DType) -> str:
        return self.compute_dtype if dtype is DType.FLOAT32 else str(dtype)

    def _operand(self, index: int, name: str | None, computed: Iterator[Any]) -> Any:
        if index in self._constants:
            return self._rounded(index)
        bias = self._place.bias if self._place is not None else -1
        is_absent = name is None or index in self._states or (index == bias and self.normalizes)
        return None if is_absent else next(computed)

    def reads_in(self, scale: Callable[[], Any]) -> None:
        """Be told the scale of the integers that the operator is given."""
        if self._place is not None and self._scheme.weights is not None:
            self._input_scale = scale

    def penalize(self, factors: tuple[float, float] | None) -> None:
        """Add the size of the kernel to the loss: its magnitudes (L1) and its squares (L2), times these factors.

        Of the kernel as it is trained: with batch normalization that is not the file's, which is folded.
        """
        if factors is not None:
            self.kernel.regularizer = keras.regularizers.L1L2(*factors)

    def constants(self) -> dict[int, Array]:
        """The trained constants by operand, as the file has them: batch normalization folded."""
        found = {
            index: np.asarray(ops.convert_to_numpy(value), np.float32)
            for index, value in self._constants.items()
            if not isinstance(value, np.ndarray)
        }
        if self._place is not None and self._place.weights in found:
            kernel = self._stored()[0]
            if self.normalizes:
                mean, beta = (ops.convert_to_numpy(item) for item in (self.moving_mean, self.beta))
                found[self._place.bias] = np.asarray(beta - mean * ops.convert_to_numpy(self._factor()), np.float32)
            found[self._place.weights] = np.asarray(from_keras(self.op.kind, kernel), np.float32)
        return found

    def weight_params(self) -> QuantParams | None:
        """The numbers of the weights in the file, where they are learned and not what the planner would choose."""
        if self._scheme.weights is None or self._place is None or (scales := self._stored()[1]) is None:
            return None
        flat = np.asarray(scales, np.float32).reshape(-1)
        found = tuple(float(scale) for scale in np.where(flat > 0, flat, max(flat.max(), SMALLEST_SCALE)))
        axis = OPS[self.op.kind].weight_axis
        granularity = PerChannel(axis) if self._scheme.per_channel and axis is not None else PerTensor()
        return QuantParams(found, (0,) * len(found), self._scheme.weights, granularity)

    def _stored(self) -> tuple[Array, Array | None]:
        """The kernel as the file has it, in Keras's layout, batch normalization folded; rounded where it has scales.

        The scales come second; None where they are to be chosen by the kernel.
        """
        if self.weight_quantizer is None or isinstance(self.weight_quantizer, Uniform):
            kernel = self._masked(ops.convert_to_tensor(self.kernel)) * self._folding()
            return np.asarray(ops.convert_to_numpy(kernel), np.float32) + np.float32(0), None  # -0 compresses badly
        codes, scales = (np.asarray(ops.convert_to_numpy(item), np.float32) for item in self._coded())
        return codes * scales, np.abs(scales)  # a negative factor of normalization turns the codes

    def _coded(self) -> tuple[Any, Any]:
        """Integers of the kernel and their scales, as tensors, batch normalization folded."""
        assert self.weight_quantizer is not None
        kernel = self._masked(ops.convert_to_tensor(self.kernel))
        if not self._scheme.per_channel:
            return self.weight_quantizer.codes(kernel * self._folding())
        codes, scales = self.weight_quantizer.codes(kernel)
        return codes, scales * self._folding()

    def _folding(self) -> Any:
        """What the kernel is multiplied by in the file, broadcast against it."""
        return ops.reshape(self._factor(), self._spread) if self.normalizes else ops.ones(())

    def normal(self) -> Normal | None:
        """How batch normalization makes the results spread now; None if there is none."""
        if not self.normalizes:
            return None
        deviation = self.gamma * ops.sqrt(self.moving_variance / (self.moving_variance + self.epsilon))
        mean, deviation = (ops.convert_to_numpy(item) for item in (self.beta, ops.absolute(deviation)))
        return Normal(tuple(map(float, mean)), tuple(map(float, deviation)))

    def _hold(self, index: int, values: Array) -> None:
        place = self._place
        if values.dtype != np.float32 or (values.size == 1 and place is None):
            self._constants[index] = values
            return
        label = f"operand_{index}"
        if place is not None and index == place.weights:
            label, values = "kernel", to_keras(self.op.kind, values, self.op.option("depth_multiplier", 1) or 1)
            if self.normalizes:
                self._gain = _usual_size(values, CHANNEL_AXES[self.op.kind])
                values = values * self._gain
        elif place is not None and index == place.bias:
            if self.normalizes:
                self._constants[index] = values
                return
            label = "bias"
        self._constants[index] = self._variable(label, values)
        if label == "kernel":
            self.kernel = self._constants[index]

    def _hold_statistics(self, bias: Array | None, normal: Normal) -> None:
        """A batch normalization that leaves the layer's results as they are."""
        deviation, mean = np.asarray(normal.deviation, np.float32), np.asarray(normal.mean, np.float32)
        folded = np.zeros_like(mean) if bias is None else bias
        epsilon = np.maximum(_EPSILON * deviation**2, 1e-12)
        gain = self._gain.reshape(-1)
        self.epsilon = self._variable("epsilon", epsilon * gain**2, trainable=False)
        self.gamma = self._variable("gamma", np.sqrt(deviation**2 + epsilon))
        self.beta = self._variable("beta", mean)
        self.moving_mean = self._variable("moving_mean", (mean - folded) * gain, trainable=False)
        self.moving_variance = self._variable("moving_variance", (deviation * gain) ** 2, trainable=False)

    def _variable(self, label: str, values: Array, *, trainable: bool = True, dtype: str = "float32") -> Any:
        def initial(shape: Sequence[int], dtype: Any = None) -> Any:  # noqa: ARG001 (Keras's)
            return ops.convert_to_tensor(values, dtype)

        return self.add_weight(
            shape=values.shape, initializer=initial, autocast=False, name=label, trainable=trainable, dtype=dtype
        )

    @property
    def _spread(self) -> tuple[int, ...]:
        """The shape in which a value per channel is broadcast against the kernel."""
        axes = CHANNEL_AXES[self.op.kind]
        return tuple(size if axis in axes else 1 for axis, size in enumerate(self.kernel.shape))

    def _rounded(self, index: int) -> Any:
        value = self._constants[index]
        if isinstance(value, np.ndarray):
            return value
        if self._place is not None and index == self._place.weights:
            return self._rounded_weights(self._masked(value))
        dtype = self._scheme.data.get(index)
        return value if dtype is None else fake_quantize(value, ops.min(value), ops.max(value), dtype)

    def _masked(self, kernel: Any) -> Any:
        return kernel if self._mask is None else kernel * ops.cast(ops.convert_to_tensor(self.kept), kernel.dtype)

    def _importance(self) -> Any:
        """How much each weight matters: the magnitude that it has in the file."""
        kernel = ops.stop_gradient(ops.convert_to_tensor(self.kernel))
        if self.normalizes:
            kernel = kernel * self._folding()
        return ops.absolute(kernel)

    def _rounded_weights(self, kernel: Any) -> Any:
        if self.weight_quantizer is None:
            return kernel
        kernel = ops.convert_to_tensor(kernel)
        if self._scheme.per_channel or not self.normalizes:
            return self.weight_quantizer(kernel)  # a factor per channel goes through: folded weights are rounded alike
        factor = ops.stop_gradient(ops.reshape(self._factor(), self._spread))
        return self.weight_quantizer(kernel * factor) / factor

    def _quantizer(self) -> WeightQuantizer:
        """What rounds the weights, built for those that the layer begins with."""
        assert self._scheme.weights is not None
        assert self._scheme.weights.bits is not None
        given = self._scheme.quantizer
        wanted = Uniform(self._scheme.weights.bits) if given is None else keras.saving.deserialize_keras_object(given)
        found = wanted.like(CHANNEL_AXES[self.op.kind] if self._scheme.per_channel else None)
        folded = self.normalizes and not self._scheme.per_channel

        def start() -> Array:
            factor = ops.reshape(self._factor(), self._spread) if folded else 1.0
            return np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(self.kernel) * factor), np.float32)

        found.attach(self.kernel.shape, start)
        return found  # type: ignore[no-any-return]

    def _factor(self) -> Any:
        """What batch normalization multiplies each channel by in the file."""
        return self.gamma * ops.rsqrt(self.moving_variance + self.epsilon)

    def _error_of_bias(self, input_scale: Any) -> Any:
        """What rounding does to each channel's bias: the file's is a multiple of both scales' product."""
        assert self._place is not None
        bias = self._constants.get(self._place.bias)
        if self.normalizes:
            bias = self.beta - self.moving_mean * self._factor()
        if bias is None:
            return 0.0
        scales = ops.absolute(self._coded()[1])
        step = ops.maximum(ops.reshape(scales, (-1,)) * input_scale, _SMALLEST_STEP)
        return ops.stop_gradient(ops.round(bias / step) * step - bias)

    def _normalized(self, x: Any, training: bool) -> Any:
        mean, variance = ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        if training:
            axes = tuple(range(len(x.shape) - 1))
            own_mean, own_variance = ops.moments(x, axes=axes)
            frozen = self._frozen()
            for variable, own in ((self.moving_mean, own_mean), (self.moving_variance, own_variance)):
                share = ops.where(frozen, 0.0, 1.0 - _MOMENTUM)
                variable.assign(variable + share * (ops.stop_gradient(own) - variable))
            mean, variance = ops.where(frozen, mean, own_mean), ops.where(frozen, variance, own_variance)
        return (x - mean) * (self.gamma * ops.rsqrt(variance + self.epsilon)) + self.beta


def _cast(value: Any, dtype: str) -> Any:
    """A float operand in another precision; others as they are."""
    is_float = keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype))
    return ops.cast(value, dtype) if is_float else value


def _usual_size(kernel: Array, axes: tuple[int, ...]) -> Array:
    """A factor per channel, broadcast against the kernel, that makes weights as large as training begins with them.

    Normalizing takes it out again, but optimizers step by sizes of their own: beside folded weights, which for an input
    of 0..255 are a hundredth of the usual, a step of Adam is too large (He et al. 2015, arXiv 1502.01852).
    """
    others = tuple(axis for axis in range(kernel.ndim) if axis not in axes)
    size = np.sqrt(np.mean(np.square(kernel), axis=others, keepdims=True))
    size = np.maximum(size, _LEAST_SHARE * size.max())
    count = np.prod([kernel.shape[axis] for axis in others])
    factor: Array = np.divide(np.sqrt(2 / count), size, out=np.ones_like(size), where=size > 0)
    return factor.astype(np.float32)
