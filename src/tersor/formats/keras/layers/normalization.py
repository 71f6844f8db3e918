"""Normalizations. Those with constant statistics are a MUL and an ADD, which passes fold into neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.reshape import reshaped, transposed
from tersor.ir.graph import Array
from tersor.ir.normal import Normal

_SMALLEST_DEVIATION = 1e-7
"""`keras.config.epsilon()`, below which Normalization does not divide."""


def affine(call: Call, tensor: str, scale: Array, offset: Array) -> str:
    """``scale x + offset``; operators that would do nothing are left out."""
    shape = call.shape(tensor)
    has_offset = bool(np.any(offset))
    if np.any(scale != 1) or not has_offset:
        constant = call.constant("scale", scale.astype(np.float32))
        tensor = call.op("MUL", [tensor, constant], shape, None, "scaled" if has_offset else "")
    if has_offset:
        tensor = call.op("ADD", [tensor, call.constant("offset", offset.astype(np.float32))], shape)
    return tensor


def _axes(call: Call, rank: int, default: int | Sequence[int] = -1) -> tuple[int, ...]:
    axis = call.option("axis", default)
    if isinstance(axis, dict):
        axis = axis.get("items", axis.get("config", default))
    listed = [axis] if isinstance(axis, int) else list(axis or [])
    return tuple(sorted(int(item) % rank for item in listed))


def batch_normalization(call: Call) -> str:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta``."""
    tensor = call.input()
    shape = call.shape(tensor)
    axes = _axes(call, len(shape))
    if len(axes) != 1 or axes == (0,):
        raise call.refused(f"it normalizes along axis {axes}, and only one, behind the batch, is read")
    size = (shape[axes[0]],)
    spread = (size[0], *[1] * (len(shape) - 1 - axes[0]))
    names = ["gamma"] * bool(call.option("scale", True)) + ["beta"] * bool(call.option("center", True))
    arrays = call.take(dict.fromkeys((*names, "moving_mean", "moving_variance"), size))
    deviation = np.sqrt(arrays["moving_variance"].astype(np.float64) + float(call.option("epsilon", 1e-3)))
    if not np.all(deviation > 0):
        raise call.refused("its variance has values below zero or NaN: the weights are damaged")
    scale = arrays.get("gamma", np.ones(size)) / deviation
    beta = arrays.get("beta", np.zeros(size)).astype(np.float64)
    offset = beta - arrays["moving_mean"] * scale
    result = affine(call, tensor, scale.reshape(spread), offset.reshape(spread))
    if axes[0] == len(shape) - 1:
        _note_statistics(call, tensor, result, arrays, scale, beta)
    return result


def _note_statistics(
    call: Call, tensor: str, result: str, arrays: Mapping[str, Array], scale: Array, beta: Array
) -> None:
    """Keep what a batch normalization knows of its input and its result; one that was never trained knows nothing."""
    mean, deviation = arrays["moving_mean"], np.sqrt(np.maximum(arrays["moving_variance"].astype(np.float64), 0))
    if not np.any(mean) and np.all(deviation == 1):
        return
    for name, own_mean, own_deviation in ((tensor, mean, deviation), (result, beta, np.abs(scale) * deviation)):
        if np.isfinite(own_mean).all() and np.isfinite(own_deviation).all():
            call.builder.note(name, Normal(tuple(own_mean.tolist()), tuple(own_deviation.tolist())))


def normalization(call: Call) -> str:
    """`Normalization`: ``(x - mean) / deviation`` with statistics of the configuration or of the weights."""
    tensor = call.real_input()
    shape = call.shape(tensor)
    axes = _axes(call, len(shape))
    kept = tuple(shape[axis] for axis in axes)
    spread = tuple(size if axis in axes else 1 for axis, size in enumerate(shape))
    if call.option("mean", None) is not None:
        mean = np.asarray(call.option("mean"), np.float64)
        variance = np.asarray(call.option("variance"), np.float64)
        if mean.size not in (1, int(np.prod(kept))) or variance.size != mean.size:
            raise call.refused(f"its mean has {mean.size} values for the sizes {list(kept)}")
        mean, variance = (np.broadcast_to(item.reshape(-1), (int(np.prod(kept)),)) for item in (mean, variance))
    else:
        arrays = call.take({"mean": kept, "variance": kept, "count": ()})
        mean, variance = arrays["mean"].astype(np.float64), arrays["variance"].astype(np.float64)
    deviation = np.maximum(np.sqrt(variance), _SMALLEST_DEVIATION).reshape(spread)
    mean = mean.reshape(spread)
    if call.option("invert", False):
        return affine(call, tensor, deviation, mean)
    return affine(call, tensor, 1 / deviation, -mean / deviation)


def rescaling(call: Call) -> str:
    """`Rescaling`: ``scale x + offset``, numbers or one per channel."""
    scale, offset = (
        np.asarray(call.option(key, default), np.float64) for key, default in (("scale", 1), ("offset", 0))
    )
    return affine(call, call.real_input(), scale, offset)


def layer_scale(call: Call) -> str:
    """`LayerScale` of ConvNeXt: a factor per channel."""
    tensor = call.input()
    name = "gamma" if call.generation < 3 else "variable"
    gamma = call.take({name: (call.size("projection_dim"),)})[name]
    return affine(call, tensor, gamma, np.zeros(()))


def standardized(call: Call, tensor: str, axes: tuple[int, ...], epsilon: float, *, centred: bool = True) -> str:
    """``(x - mean) / sqrt(variance + epsilon)`` with the statistics of the tensor itself along some axes."""
    shape = call.shape(tensor)
    reduced = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    places, keep = call.integers("axes", axes), {"keep_dims": True}
    if centred:
        mean = call.op("MEAN", [tensor, places], reduced, keep, "mean")
        squares = call.op("SQUARED_DIFFERENCE", [tensor, mean], shape, None, "squares")
        tensor = call.op("SUB", [tensor, mean], shape, None, "centred")
    else:
        squares = call.op("MUL", [tensor, tensor], shape, None, "squares")
    variance = call.op("MEAN", [squares, places], reduced, keep, "variance")
    safe = call.op("ADD", [variance, call.constant("epsilon", np.float32(epsilon))], reduced, None, "above_zero")
    inverse = call.op("RSQRT", [safe], reduced, None, "inverse_deviation")
    return call.op("MUL", [tensor, inverse], shape, None, "standardized")


def layer_normalization(call: Call) -> str:
    """`LayerNormalization` (also RMS) over some axes of each sample."""
    tensor = call.input()
    shape = call.shape(tensor)
    axes = _axes(call, len(shape))
    size = tuple(shape[axis] for axis in axes)
    spread = tuple(item if axis in axes else 1 for axis, item in enumerate(shape))
    is_rms = bool(call.option("rms_scaling", False)) or call.layer.kind == "RMSNormalization"
    names = ["gamma"] * bool(call.option("scale", True)) + ["beta"] * (bool(call.option("center", True)) and not is_rms)
    if call.layer.kind == "RMSNormalization":
        names = ["scale"]
    arrays = call.take(dict.fromkeys(names, size)) if names else {}
    result = standardized(call, tensor, axes, float(call.option("epsilon", 1e-3)), centred=not is_rms)
    scale = arrays.get("gamma", arrays.get("scale", np.ones(size))).reshape(spread)
    return affine(call, result, scale, arrays.get("beta", np.zeros(size)).reshape(spread))


def group_normalization(call: Call) -> str:
    """`GroupNormalization`: channels in groups, standardized over positions and the channels of a group."""
    tensor = call.input()
    shape = call.shape(tensor)
    if _axes(call, len(shape)) != (len(shape) - 1,):
        raise call.refused("groups along another axis than the last are not read")
    channels, groups = shape[-1], int(call.option("groups", 32))
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        raise call.refused(f"{groups} groups do not divide {channels} channels")
    names = ["gamma"] * bool(call.option("scale", True)) + ["beta"] * bool(call.option("center", True))
    arrays = call.take(dict.fromkeys(names, (channels,))) if names else {}
    split = (shape[0], int(np.prod(shape[1:-1])), groups, channels // groups)
    result = standardized(call, reshaped(call, tensor, split, "groups"), (1, 3), float(call.option("epsilon", 1e-3)))
    result = reshaped(call, result, shape, "joined")
    return affine(call, result, arrays.get("gamma", np.ones(channels)), arrays.get("beta", np.zeros(channels)))


def unit_normalization(call: Call) -> str:
    """`UnitNormalization`: L2_NORMALIZATION, along the last axis."""
    tensor = call.input()
    axes = _axes(call, len(call.shape(tensor)))
    if len(axes) != 1:
        raise call.refused(f"it normalizes along the axes {axes}, and only one is read")
    return unit_length(call, tensor, axes[0])


def unit_length(call: Call, tensor: str, axis: int) -> str:
    """Vectors along an axis divided by their length; another axis than the last is moved there and back."""
    rank = len(call.shape(tensor))
    axis %= rank
    order = [*(place for place in range(rank) if place != axis), axis]
    moved = transposed(call, tensor, order, "moved")
    part = "" if axis == rank - 1 else "normalized"
    result = call.op("L2_NORMALIZATION", [moved], call.shape(moved), None, part)
    return transposed(call, result, np.argsort(order).tolist())


LAYERS: dict[str, Callable[[Call], str]] = {
    "BatchNormalization": batch_normalization,
    "BatchNormalizationV1": batch_normalization,
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "LayerScale": layer_scale,
    "Normalization": normalization,
    "Rescaling": rescaling,
    "RMSNormalization": layer_normalization,
    "SyncBatchNormalization": batch_normalization,
    "UnitNormalization": unit_normalization,
}
