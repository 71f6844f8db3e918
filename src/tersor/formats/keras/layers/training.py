"""Layers that do something in training only, and those that do nothing."""

from __future__ import annotations

from tersor.formats.keras.call import Call


def identity(call: Call) -> str:
    """The result is the input."""
    return call.any_input()


LAYERS = dict.fromkeys(
    (
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "RandomBrightness",
        "RandomContrast",
        "RandomFlip",
        "RandomRotation",
        "RandomTranslation",
        "RandomZoom",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "StochasticDepth",
    ),
    identity,
)
