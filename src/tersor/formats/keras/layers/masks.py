"""Which layers hand the mask of their input on, as Keras does: positions of a sequence that hold no data."""

from __future__ import annotations

from tersor.formats.keras.call import Call, Edge

_CARRIERS = frozenset(
    {
        "Activation",
        "ActivityRegularization",
        "AdditiveAttention",
        "AlphaDropout",
        "Attention",
        "BatchNormalization",
        "Bidirectional",
        "Dense",
        "Dropout",
        "ELU",
        "GRU",
        "GaussianDropout",
        "GaussianNoise",
        "GroupNormalization",
        "GroupQueryAttention",
        "Identity",
        "LSTM",
        "LayerNormalization",
        "LeakyReLU",
        "Masking",
        "MultiHeadAttention",
        "Normalization",
        "PReLU",
        "RNN",
        "ReLU",
        "Rescaling",
        "SimpleRNN",
        "Softmax",
        "SpatialDropout1D",
        "TimeDistributed",
        "UnitNormalization",
    }
)
"""Layers that hand on the mask of the first tensor they are called with (`supports_masking` in Keras)."""

_MERGERS = frozenset({"Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"})
"""Layers that join the masks of their inputs."""


def carry_mask(call: Call, results: list[str]) -> None:
    """Note that the result of a call is masked, if it is; `Call.mask` asks for it."""
    kind = call.layer.kind
    if not results or kind not in _CARRIERS | _MERGERS:
        return
    first = call.args[0] if call.args else next(iter(call.kwargs.values()), None)
    inputs = [str(item) for item in (first if isinstance(first, list) else [first]) if isinstance(item, Edge)]
    masked = [tensor for tensor in inputs if tensor in call.masks]
    if not masked or results[0] in call.masks:
        return
    if kind in _CARRIERS:
        if inputs[0] in call.masks and not _ends_sequence(call):
            call.masks[results[0]] = call.masks[inputs[0]]
    elif (
        len(inputs) == len(masked) and len({id(call.masks[tensor]) for tensor in masked}) == 1 and kind != "Concatenate"
    ):
        call.masks[results[0]] = call.masks[masked[0]]
    else:
        call.masks[results[0]] = lambda: _refuse(call)


def _ends_sequence(call: Call) -> bool:
    """Whether a recurrent layer returns its last output only, which has no positions any more."""
    config = call.layer.config
    inner = config.get("layer")
    if call.layer.kind == "Bidirectional" and isinstance(inner, dict):
        config = inner.get("config", {})
    return call.layer.kind in ("Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN") and not config.get(
        "return_sequences", False
    )


def _refuse(call: Call) -> str:
    raise call.refused(
        "it joins masked tensors, and the mask of the result is needed later: mask by hand with keras.ops"
    )
