"""Moves each channel's mean back to where it is in the float network.

``b' = b + W E[x] - W' E[x']`` with the rounded weights W' and the input x' of the quantized network. Rounding errors of
weights do not average out where inputs have a mean: behind a ReLU all are positive, and what is wrong with the sum of a
channel's weights becomes a constant shift of that channel. Shifts accumulate from layer to layer, and make up most of
the error of depthwise networks.

The empirical form of Nagel et al. 2019 (Data-Free Quantization, arXiv 1906.04721, section 4.2), layer after layer on
inputs from the quantized part, so that every layer corrects the shifts that reach it, too. It costs a run of both
networks over some samples, and nothing in size or latency. It hurts only where the samples do not stand for the data:
with very few, the mean itself is a matter of chance.
"""

from __future__ import annotations

import numpy as np

from tersor.algorithms._contract import Layer


def apply(layer: Layer) -> Layer:
    """The layer with its bias corrected."""
    wanted = layer.moments.float_response()
    shift = wanted - np.einsum("gok,gk->go", layer.rounded, layer.moments.mean())
    size, of = float(np.abs(shift).max()), float(np.abs(wanted + layer.bias).max())
    share = f", {size / of:.2g} of the largest mean" if of else ""
    return layer.with_shifted(layer.bias + shift, f"bias corrected by up to {size:.3g}{share}")
