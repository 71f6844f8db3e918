"""Moves each channel's mean back to where it is in the float network, without any data.

``b' = b + (W - W') E[x]`` with the rounded weights W', as `bias_correction`, but with the E[x] that the network's batch
normalizations state: behind one, channels have the mean beta and the deviation gamma, and behind a ReLU or another
function the moments of a normal variable that went through it. From there means are carried on through poolings,
sums, products and concatenations, and the layers that read a value and have a batch normalization of their own behind
them correct what was found. Borders of zeros count as such.

Batch normalizations are folded into weights when a model is simplified, and a `.tflite` file, or a SavedModel that went
through TensorFlow's converter, shows none any longer: only models read from Keras (`.keras`, `.h5`, live) have their
statistics. Layers of whose input nothing is known, and outputs whose shift is no larger than the doubt about it, stay
as they are; so do networks that were never trained.

For flavours without calibration (`dynamic`, `weight_only`), where it is the default if no data is given; with data,
`bias_correction` sees more: what earlier layers shifted, and the true means. It costs a second or two, and nothing in
size or latency.

It hurts where the statistics are not those of the data that the model will meet: after training of fewer than some
hundred steps, in which moving averages do not come to rest. Where rounding shifts little, what it changes is chance.
With 4-bit weights, distributions get wider, too, and means behind a ReLU move by what this does not see; there it takes
away most shifts, but not always error. Random inputs in place of statistics are no way out: on MobileNetV1 0.25 they
find most of the shifts, and on networks that round well they made the error up to 18 dB larger.

Nagel et al. 2019 (Data-Free Quantization, arXiv 1906.04721, section 4.2 and appendix B). The equations of the layers
behind, and the doubts, are ours.
"""

from __future__ import annotations

import numpy as np

from tersor.algorithms._contract import Layer


def apply(layer: Layer) -> Layer:
    """The layer with its bias corrected; as it is where nothing is known of its input."""
    found = layer.moments.expected(layer.weights - layer.rounded)
    if found is None:
        return layer
    shift, doubt = found
    sure = np.abs(shift) > doubt
    if not sure.any():
        return layer
    size = float(np.abs(shift[sure]).max())
    return layer.with_shifted(
        layer.shifted + np.where(sure, shift, 0.0),
        f"bias of {np.count_nonzero(sure)} of {sure.size} channels corrected by up to {size:.3g} without data",
    )
