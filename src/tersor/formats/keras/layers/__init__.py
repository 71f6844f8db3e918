"""One function per Keras layer class; the tables of these modules say which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers import (
    activation_layers,
    attention,
    convolution,
    convolution_1d,
    convolution_3d,
    convolution_transposed,
    dense,
    merge,
    normalization,
    operations_arithmetic,
    operations_logic,
    operations_nn,
    operations_parts,
    operations_products,
    operations_reduction,
    operations_shape,
    padding,
    pooling,
    recurrent,
    reshape,
    training,
    wrappers,
)
from tersor.formats.keras.layers.channels_first import is_channels_first, turned
from tersor.formats.keras.layers.old_functions import old_function

Function = Callable[[Call], str | tuple[str, ...]]

LAYERS: Mapping[str, Function] = MappingProxyType(
    {
        **activation_layers.LAYERS,
        **attention.LAYERS,
        **convolution.LAYERS,
        **convolution_1d.LAYERS,
        **convolution_3d.LAYERS,
        **convolution_transposed.LAYERS,
        **dense.LAYERS,
        **merge.LAYERS,
        **normalization.LAYERS,
        **operations_arithmetic.LAYERS,
        **operations_logic.LAYERS,
        **operations_nn.LAYERS,
        **operations_parts.LAYERS,
        **operations_products.LAYERS,
        **operations_reduction.LAYERS,
        **operations_shape.LAYERS,
        **padding.LAYERS,
        **pooling.LAYERS,
        **recurrent.LAYERS,
        **reshape.LAYERS,
        **training.LAYERS,
        **wrappers.LAYERS,
    }
)


def function_of(call: Call) -> Function:
    """The function for a layer. Raises UnsupportedError that says what to do for one that has none."""
    layer = call.layer
    if layer.kind in ("SlicingOpLambda", "TFOpLambda"):
        return old_function(call)
    if layer.kind == "Lambda" or "__lambda__" in str(layer.config.get("function")):
        raise call.refused(
            "it holds Python code, which is not executed: express it with Keras layers or keras.ops and save the "
            "model again, or, if you trust its author, give --trust-code"
        )
    policy = layer.config.get("dtype")
    is_quantized = isinstance(policy, dict) and str(policy.get("class_name")).startswith("Quantized")
    if is_quantized or layer.config.get("quantization_config") is not None:
        raise call.refused("its weights are quantized by Keras already: save the float model")
    function = LAYERS.get(layer.kind)
    if function is None or not _is_own(layer.module):
        if not _is_own(layer.module):
            raise call.refused(
                "it is a custom layer: replace it with layers that are read, or export the model as a SavedModel "
                "(model.export('folder')) and convert that"
            )
        raise call.refused(
            "tersor does not read this layer: replace it with layers that are read, or have TensorFlow convert the "
            "model with --via tensorflow"
        )
    if layer.kind not in training.LAYERS and is_channels_first(call):
        return partial(turned, function=function)
    return function


def _is_own(module: str) -> bool:
    """Whether a module is Keras's own: a custom class may have any name."""
    return module in ("", "builtins") or module.split(".")[0] in ("keras", "keras_core", "tensorflow", "tf_keras")
