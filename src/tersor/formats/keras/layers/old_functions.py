"""Functions of TensorFlow that Keras 2 recorded, told as the functions of `keras.ops` that they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers import (
    operations_arithmetic,
    operations_logic,
    operations_nn,
    operations_parts,
    operations_products,
    operations_reduction,
    operations_shape,
)
from tersor.formats.keras.layers.activation import binary
from tersor.formats.keras.layers.operands import axis_of, first, operands, setting, tensors
from tersor.formats.keras.layers.operations_parts import indexed, split_into, split_sizes
from tersor.formats.keras.layers.padding import resized
from tersor.formats.keras.layers.reshape import transposed

Function = Callable[[Call], str | tuple[str, ...]]

_NEW: Mapping[str, Function] = {
    **operations_arithmetic.LAYERS,
    **operations_logic.LAYERS,
    **operations_nn.LAYERS,
    **operations_parts.LAYERS,
    **operations_products.LAYERS,
    **operations_reduction.LAYERS,
    **operations_shape.LAYERS,
}


def _get_item(call: Call) -> str:
    keys = call.kwargs.get("slice_spec")
    return indexed(call, first(call), [_key(key) for key in (keys if isinstance(keys, list) else [keys])])


def _key(key: Any) -> Any:
    if not isinstance(key, dict):
        return key
    return ... if "class_name" in key else slice(key.get("start"), key.get("stop"), key.get("step"))


def _matmul(call: Call) -> str:
    given = operands(call)
    for place, letter in enumerate("ab"):
        if (call.kwargs.get(f"transpose_{letter}") or call.kwargs.get(f"adjoint_{letter}")) and place < len(given):
            if not isinstance(given[place], Edge):
                raise call.refused("it transposes an array, which is not read")
            rank = len(call.shape(given[place]))
            order = [*range(rank - 2), rank - 1, rank - 2]
            given[place] = Edge(transposed(call, given[place], order, f"{letter}_transposed"))
    return operations_products.matmul(replace(call, args=tuple(given), kwargs={}))


def _split(call: Call) -> tuple[str, ...]:
    tensor = first(call)
    axis, parts = axis_of(call, tensor, "axis", 2, 0), setting(call, "num_or_size_splits", 1)
    if isinstance(parts, int):
        return split_into(call, tensor, axis, parts)
    return split_sizes(call, tensor, axis, [int(size) for size in parts])


def _add_all(call: Call) -> str:
    result, *others = tensors(call)
    for number, other in enumerate(others, start=1):
        result = binary("ADD", call, result, other, "" if number == len(others) else f"first_{number + 1}")
    return result


def _bias(call: Call) -> str:
    if str(call.kwargs.get("data_format") or "NHWC") not in ("NHWC", "N...C"):
        raise call.refused("its data_format is not read")
    return operations_arithmetic.arithmetic("ADD", replace(call, args=(*call.args, call.kwargs["bias"]), kwargs={}))


def _first_resize(method: str, call: Call) -> str:
    """The resizing of TensorFlow 1, which aligns corners of pixels or of the image, not their middles."""
    size, aligned = setting(call, "size", 1), bool(call.kwargs.get("align_corners"))
    middles = bool(call.kwargs.get("half_pixel_centers"))
    return resized(call, first(call), (int(size[0]), int(size[1])), method, aligned=aligned, middles=middles)


def _pool(kind: str, call: Call) -> str:
    if str(call.kwargs.get("data_format") or "NHWC") != "NHWC":
        raise call.refused("its data_format is not read")
    settings = {key: value for key, value in call.kwargs.items() if key != "data_format"}
    for old, new in (("ksize", "pool_size"), ("strides", "strides")):
        value = settings.pop(old, None)
        settings[new] = value[1:3] if isinstance(value, list) and len(value) == 4 else value
    return operations_nn.pooling(kind, replace(call, kwargs=settings))


_SAME: Mapping[str, str] = {
    "__operators__.add": "Add",
    "broadcast_to": "BroadcastTo",
    "cast": "Cast",
    "concat": "Concatenate",
    "expand_dims": "ExpandDims",
    "identity": "Copy",
    "math.abs": "Absolute",
    "math.add": "Add",
    "math.argmax": "Argmax",
    "math.argmin": "Argmin",
    "math.ceil": "Ceil",
    "math.cos": "Cos",
    "math.cumsum": "Cumsum",
    "math.equal": "Equal",
    "math.exp": "Exp",
    "math.floor": "Floor",
    "math.greater": "Greater",
    "math.greater_equal": "GreaterEqual",
    "math.l2_normalize": "Normalize",
    "math.less": "Less",
    "math.less_equal": "LessEqual",
    "math.log": "Log",
    "math.log1p": "Log1p",
    "math.logical_and": "LogicalAnd",
    "math.logical_not": "LogicalNot",
    "math.logical_or": "LogicalOr",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.multiply": "Multiply",
    "math.negative": "Negative",
    "math.not_equal": "NotEqual",
    "math.pow": "Power",
    "math.reciprocal": "Reciprocal",
    "math.reduce_logsumexp": "Logsumexp",
    "math.reduce_max": "Max",
    "math.reduce_mean": "Mean",
    "math.reduce_min": "Min",
    "math.reduce_prod": "Prod",
    "math.reduce_std": "Std",
    "math.reduce_sum": "Sum",
    "math.reduce_variance": "Var",
    "math.rsqrt": "Rsqrt",
    "math.sigmoid": "Sigmoid",
    "math.sign": "Sign",
    "math.sin": "Sin",
    "math.softplus": "Softplus",
    "math.sqrt": "Sqrt",
    "math.square": "Square",
    "math.subtract": "Subtract",
    "math.tanh": "Tanh",
    "math.truediv": "Divide",
    "nn.elu": "Elu",
    "nn.log_softmax": "LogSoftmax",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.selu": "Selu",
    "nn.silu": "Silu",
    "nn.softmax": "Softmax",
    "nn.softsign": "Softsign",
    "ones_like": "OnesLike",
    "repeat": "Repeat",
    "reshape": "Reshape",
    "roll": "Roll",
    "stack": "Stack",
    "stop_gradient": "StopGradient",
    "unstack": "Unstack",
    "where": "Where",
    "zeros_like": "ZerosLike",
}
"""Functions whose arguments have the names that `keras.ops` gives them."""

_RENAMED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "clip_by_value": ("Clip", {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "compat.v1.gather": ("Take", {}),
    "compat.v1.pad": ("Pad", {"paddings": "pad_width"}),
    "compat.v1.squeeze": ("Squeeze", {"squeeze_dims": "axis"}),
    "compat.v1.transpose": ("Transpose", {"perm": "axes"}),
    "image.resize": ("Resize", {"method": "interpolation"}),
    "nn.depth_to_space": ("DepthToSpace", {}),
    "nn.gelu": ("Gelu", {}),
    "nn.leaky_relu": ("LeakyRelu", {"alpha": "negative_slope"}),
    "nn.space_to_depth": ("SpaceToDepth", {}),
    "one_hot": ("OneHot", {"depth": "num_classes"}),
    "reverse": ("Flip", {}),
    "tensordot": ("Tensordot", {}),
    "tile": ("Tile", {"multiples": "repeats"}),
}

_OWN: Mapping[str, Function] = {
    "__operators__.getitem": _get_item,
    "compat.v1.image.resize_bilinear": partial(_first_resize, "bilinear"),
    "compat.v1.image.resize_nearest_neighbor": partial(_first_resize, "nearest"),
    "linalg.matmul": _matmul,
    "math.add_n": _add_all,
    "nn.avg_pool2d": partial(_pool, "AVERAGE_POOL_2D"),
    "nn.bias_add": _bias,
    "nn.max_pool2d": partial(_pool, "MAX_POOL_2D"),
    "split": _split,
}

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "nn.gelu": {"approximate": False},
    "compat.v1.gather": {"axis": 0},
}
"""Where TensorFlow's differ."""

_IDLE = ("name", "validate_indices", "conjugate", "output_type")

_ONLY: Mapping[str, tuple[Any, ...]] = {
    "batch_dims": (0, None),
    "on_value": (1, 1.0, None),
    "off_value": (0, 0.0, None),
    "exclusive": (False, None),
    "reverse": (False, None),
    "antialias": (False, None),
    "preserve_aspect_ratio": (False, None),
}
"""Arguments that must have their usual values."""

FUNCTIONS = frozenset({*_SAME, *_RENAMED, *_OWN})


def old_function(call: Call) -> Function:
    """The function for one of TensorFlow. Raises UnsupportedError for others."""
    name = str(call.layer.config.get("function"))
    if name not in FUNCTIONS:
        raise call.refused(f"the TensorFlow function {name} is not read: export the model as .tflite")
    kind, renamed = _RENAMED.get(name, (_SAME.get(name, name), {}))
    settings = dict(_DEFAULTS.get(name, {}))
    for key, value in call.kwargs.items():
        if key in _ONLY and value not in _ONLY[key]:
            raise call.refused(f"{key} {value!r} of the TensorFlow function {name} is not read")
        if key not in _IDLE and key not in _ONLY:
            settings[renamed.get(key, key)] = value
    layer = replace(call.layer, kind=f"ops.{kind}", config={})
    function = _OWN.get(name) or _NEW[f"ops.{kind}"]
    return lambda own: function(replace(own, layer=layer, kwargs=settings))
