"""A convolution that is dilated unevenly -> one that is not, with zeros between the weights of its kernel.

Each weight meets the same value as before, and zeros meet the others. Refused where both dilations are the same.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

import numpy as np

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, rewritten
from tersor.passes._match import is_float, values


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if its kernel is filled."""
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D") or not is_float(graph, op.outputs[0]):
        return "it is no convolution of floats"
    if op.option("dilation_h_factor", 1) == op.option("dilation_w_factor", 1):
        return "it is dilated alike in both directions"
    weights = values(graph, op, 1)
    return None if weights is not None and weights.ndim == 4 else "its weights are computed"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such kernels filled, of those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    weights = values(draft.graph, op, 1)
    assert weights is not None
    assert op.options is not None
    down, across = int(op.option("dilation_h_factor", 1)), int(op.option("dilation_w_factor", 1))
    first, height, width, last = weights.shape
    wide = np.zeros((first, (height - 1) * down + 1, (width - 1) * across + 1, last), np.float32)
    wide[:, ::down, ::across] = weights
    options = op.options.with_fields(dilation_h_factor=1, dilation_w_factor=1)
    kernel = draft.constant("kernel", wide)
    draft.end_with(replace(op, inputs=(op.inputs[0], kernel, *op.inputs[2:]), options=options))
