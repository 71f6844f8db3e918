"""A network without most of its weights comes out of quantization with the operators, types and shapes of the whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from small_nets import random
from tersor.ir.build import Builder
from tersor.ir.graph import Model
from tersor.stages.place import as_flavour
from tersor.stages.thin import thinned
from tersor.targets import edge_tpu

WIDE = 64
STRIDE = {"stride_w": 1, "stride_h": 1}


def conv(builder: Builder, x: str, filters: int = WIDE, taps: int = 3, depth: int | None = None, **options: int) -> str:
    depth = depth or builder.shape_of(x)[-1]
    weights = builder.constant("w", random((filters, taps, taps, depth), low=-0.5))
    shape = (*builder.shape_of(x)[:-1], filters)
    bias = builder.constant("b", np.zeros(filters, np.float32))
    return builder.op("CONV_2D", [x, weights, bias], shape, STRIDE | options)


def affine(builder: Builder, x: str) -> str:
    shape = builder.shape_of(x)
    y = builder.op("MUL", [x, builder.constant("scale", random(shape[-1:], low=0.5))], shape)
    return builder.op("ADD", [y, builder.constant("offset", random(shape[-1:]))], shape)


def started() -> tuple[Builder, str]:
    builder = Builder("net")
    return builder, builder.input("x", (1, 6, 6, WIDE))


def norm_behind() -> Model:
    builder, x = started()
    return builder.model([builder.op("RELU", [affine(builder, conv(builder, x))], (1, 6, 6, WIDE))])


def norm_before() -> Model:
    """Folded into the weights."""
    builder, x = started()
    return builder.model([conv(builder, affine(builder, x), filters=4 * WIDE, taps=1, padding=1)])


def norm_before_padding() -> Model:
    builder, x = started()
    pads = builder.constant("pads", [[0, 0], [1, 1], [1, 1], [0, 0]])
    padded = builder.op("PAD", [affine(builder, x), pads], (1, 8, 8, WIDE))
    weights = builder.constant("w", random((WIDE, 3, 3, WIDE)))
    bias = builder.constant("b", np.zeros(WIDE, np.float32))
    options = STRIDE | {"padding": 1}
    return builder.model([builder.op("CONV_2D", [padded, weights, bias], (1, 6, 6, WIDE), options)])


def groups() -> Model:
    builder, x = started()
    return builder.model([conv(builder, x, filters=4 * WIDE, depth=WIDE // 2)])


def dense_behind_reshape() -> Model:
    builder, x = started()
    size = 36 * WIDE
    flat = builder.op(
        "RESHAPE", [conv(builder, x), builder.constant("s", [1, size])], (1, size), {"new_shape": (1, size)}
    )
    weights, bias = builder.constant("w", random((32, size))), builder.constant("b", np.zeros(32, np.float32))
    return builder.model([builder.op("FULLY_CONNECTED", [flat, weights, bias], (1, 32))])


def shared_weights() -> Model:
    builder, x = started()
    weights = builder.constant("w", random((WIDE, 3, 3, WIDE)))
    bias = builder.constant("b", np.zeros(WIDE, np.float32))
    for _ in range(2):
        x = builder.op("CONV_2D", [x, weights, bias], (1, 6, 6, WIDE), STRIDE)
    return builder.model([x])


def weights_read_elsewhere() -> Model:
    builder = Builder("tied")
    x = builder.input("x", (1, 256))
    weights = builder.constant("w", random((256, 256)))
    y = builder.op("FULLY_CONNECTED", [x, weights, None], (1, 256))
    return builder.model([y, builder.op("ADD", [weights, y], (256, 256))])


NETS: dict[Callable[[], Model], bool] = {
    norm_behind: True,
    norm_before: True,
    norm_before_padding: True,
    groups: True,
    dense_behind_reshape: True,
    shared_weights: True,
    weights_read_elsewhere: False,
}
"""And whether something may be left out."""


@pytest.mark.parametrize("make", NETS, ids=lambda make: make.__name__)
def test_operators_types_and_shapes_stay(make: Callable[[], Model]) -> None:
    model = make()
    assert (thinned(model) is not model) == NETS[make]
    whole, thin = (as_flavour(model, "int8", weights=weights).graph for weights in (True, False))
    assert whole.ops == thin.ops
    forms = [{name: (t.dtype, t.shape, t.byte_size) for name, t in graph.tensors.items()} for graph in (whole, thin)]
    assert forms[0] == forms[1]
    assert edge_tpu.place(Model((whole,))) == edge_tpu.place(Model((thin,)))
