"""Attention layers: products of queries and keys, a softmax, a product with the values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.activation import binary, unary
from tersor.formats.keras.layers.attention_masks import as_condition, joined_masks, masked_softmax
from tersor.formats.keras.layers.dense import product
from tersor.formats.keras.layers.reshape import reshaped, transposed
from tersor.ir.graph import Array


def multi_head_attention(call: Call) -> str | tuple[str, ...]:
    """`MultiHeadAttention` and `GroupQueryAttention`, over all positions of [batch, ..., features]."""
    is_grouped = call.layer.kind != "MultiHeadAttention"
    heads = call.size("num_query_heads" if is_grouped else "num_heads")
    groups = call.size("num_key_value_heads") if is_grouped else heads
    depth = call.size("head_dim" if is_grouped else "key_dim")
    width = depth if is_grouped else int(call.option("value_dim", None) or depth)
    if heads % groups:
        raise call.refused(f"{groups} key and value heads do not divide {heads} query heads")
    for key in ("use_gate", "sliding_window"):
        if call.option(key, None):
            raise call.refused(f"{key} is not read")
    query, value, key_tensor = _operands(call, ("query", "value", "key"))
    shape, features = call.shape(query), call.shape(query)[-1]
    if call.option("output_shape", None) not in (None, [features], features):
        features = int(np.prod(call.option("output_shape")))
    if len({len(call.shape(item)) for item in (query, value, key_tensor)}) > 1 or len(shape) < 3:
        raise call.refused("its tensors have different numbers of dimensions")
    axes = call.option("attention_axes", None)
    if axes is not None and sorted(int(axis) % len(shape) for axis in _list(axes)) != list(range(1, len(shape) - 1)):
        raise call.refused(f"attention_axes {axes} is not read: attention over all positions only")
    bias = bool(call.option("use_bias", True))
    q = _heads(call, query, "query", (heads, depth), bias, 1 / np.sqrt(depth))
    k = _heads(call, key_tensor, "key", (groups, depth), bias)
    v = _heads(call, value, "value", (groups, width), bias)
    batch, _, length, _ = call.shape(q)
    per_group = heads // groups
    q = reshaped(call, q, (batch, groups, per_group * length, depth), "grouped")
    source = call.shape(k)[2]
    adjoint = {"adj_x": False, "adj_y": True}
    scores = call.op("BATCH_MATMUL", [q, k], (batch, groups, per_group * length, source), adjoint, "scores")
    scores = reshaped(call, scores, (batch, heads, length, source), "head_scores")
    weights = masked_softmax(call, scores, _mask(call, query, value, key_tensor, length, source))
    grouped = reshaped(call, weights, (batch, groups, per_group * length, source), "weights_grouped")
    plain = {"adj_x": False, "adj_y": False}
    mixed = call.op("BATCH_MATMUL", [grouped, v], (batch, groups, per_group * length, width), plain, "mixed")
    mixed = transposed(call, reshaped(call, mixed, (batch, heads, length, width), "heads"), (0, 2, 1, 3), "positions")
    flat = reshaped(call, mixed, (*shape[:-1], heads * width), "joined")
    shapes: dict[str, tuple[int, ...]] = {"kernel": (heads, width, features)} | ({"bias": (features,)} if bias else {})
    arrays = call.weights.inside("output_dense", "attention_output").take(call.where, shapes)
    kernel = np.ascontiguousarray(arrays["kernel"].reshape(heads * width, features).T)
    offset = call.constant("output_bias", arrays.get("bias", np.zeros(features, np.float32)))
    result = product(call, flat, call.constant("output_kernel", kernel), offset)
    return (result, weights) if _setting(call, "return_attention_scores", 7) else result


def _setting(call: Call, key: str, place: int) -> Any:
    return call.kwargs.get(key, call.args[place] if len(call.args) > place else None)


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, int) else list(value)


def _operands(call: Call, names: tuple[str, str, str]) -> tuple[str, str, str]:
    """Query, value, key; the key is the value where it is not given."""
    given = [_setting(call, name, place) for place, name in enumerate(names)]
    given[2] = given[1] if given[2] is None else given[2]
    if not all(isinstance(item, Edge) for item in given):
        raise call.refused("it is not called with query and value")
    return str(given[0]), str(given[1]), str(given[2])


def _heads(call: Call, tensor: str, part: str, sizes: tuple[int, int], has_bias: bool, scale: float = 1.0) -> str:
    """A projection [batch, ..., features] -> [batch, heads, positions, depth]; the scale goes into its weights."""
    batch, *positions, features = call.shape(tensor)
    heads, depth = sizes
    shapes: dict[str, tuple[int, ...]] = {"kernel": (features, heads, depth)} | ({"bias": sizes} if has_bias else {})
    arrays = call.weights.inside(f"{part}_dense", part).take(call.where, shapes)
    kernel = np.ascontiguousarray(arrays["kernel"].reshape(features, heads * depth).T * np.float32(scale))
    bias: Array = arrays.get("bias", np.zeros(sizes, np.float32)).reshape(heads * depth) * np.float32(scale)
    row = reshaped(call, tensor, (batch, int(np.prod(positions)), features), f"{part}_positions")
    flat = product(call, row, call.constant(f"{part}_kernel", kernel), call.constant(f"{part}_bias", bias), part)
    split = reshaped(call, flat, (batch, call.shape(row)[1], heads, depth), f"{part}_split")
    return transposed(call, split, (0, 2, 1, 3), f"{part}_heads")


def _mask(call: Call, query: str, value: str, key: str, length: int, source: int) -> str | None:
    """All masks of the call in one, broadcast to [batch, heads, length, source]; None if there is none."""
    found: list[str] = []
    given = _setting(call, "attention_mask", 6)
    if given is not None:
        if not isinstance(given, Edge):
            given = call.constant("attention_mask", np.asarray(given, bool))
        rank = len(call.shape(given))
        if rank not in (2, 3, 4):
            raise call.refused(f"its attention_mask has {rank} dimensions where 3 are read")
        shape = call.shape(given)
        whole = (1, 1, *shape) if rank == 2 else (shape[0], 1, *shape[1:]) if rank == 3 else shape
        found.append(as_condition(call, reshaped(call, given, whole, "attention_mask_heads")))
    sides = [(query, "query_mask", 3, True), (value, "value_mask", 4, False)]
    if key != value or _setting(call, "key_mask", 5) is not None:
        sides.append((key, "key_mask", 5, False))
    for tensor, name, place, is_query in sides:
        mask = _setting(call, name, place)
        mask = replace(call, kwargs={"mask": mask}).mask(tensor)
        if mask is not None:
            batch, size = call.shape(mask)
            whole = (batch, 1, size, 1) if is_query else (batch, 1, 1, size)
            found.append(as_condition(call, reshaped(call, mask, whole, f"{name}_heads")))
    if _setting(call, "use_causal_mask", 9):
        found.append(call.constant("causal", np.tri(length, source, dtype=bool)[None, None]))
    return joined_masks(call, found)


def attention(call: Call) -> str | tuple[str, ...]:
    """`Attention` and `AdditiveAttention` of [query, value, key]."""
    tensors = call.inputs(others=("mask", "return_attention_scores", "use_causal_mask"))
    if len(tensors) not in (2, 3):
        raise call.refused(f"it is called with {len(tensors)} tensors where it takes query, value and key")
    query, value = tensors[:2]
    key = tensors[-1] if len(tensors) == 3 else value
    for tensor in tensors:
        call.no_mask(tensor)
    is_additive = call.layer.kind == "AdditiveAttention"
    is_concat = call.option("score_mode", "dot") == "concat"
    (batch, length, depth), source = call.shape(query), call.shape(key)[1]
    shapes: dict[str, tuple[int, ...]] = {}
    if call.option("use_scale", is_additive):
        shapes["scale"] = (depth,) if is_additive else ()
    if is_concat:
        shapes["concat_score_weight"] = ()
    arrays = call.take(shapes) if shapes else {}
    scale = arrays.get("scale")
    if is_additive or is_concat:
        scores = _summed_scores(call, query, key, None if scale is None else scale, is_additive)
        weight = arrays.get("concat_score_weight")
        scores = scores if weight is None else binary("MUL", call, scores, float(weight), "weighted")
    else:
        shape = (batch, length, source)
        scores = call.op("BATCH_MATMUL", [query, key], shape, {"adj_x": False, "adj_y": True}, "scores")
        scores = scores if scale is None else binary("MUL", call, scores, float(scale), "scaled")
    causal = None
    if call.kwargs.get("use_causal_mask"):
        causal = call.constant("causal", np.tri(length, source, dtype=bool)[None])
    weights = masked_softmax(call, scores, causal)
    shape = (batch, length, call.shape(value)[2])
    result = call.op("BATCH_MATMUL", [weights, value], shape, {"adj_x": False, "adj_y": False})
    return (result, weights) if call.kwargs.get("return_attention_scores") else result


def _summed_scores(call: Call, query: str, key: str, scale: Array | None, is_additive: bool) -> str:
    """Sum over the features of s tanh(q + k), or of tanh(s (q + k)) in `Attention`."""
    (batch, length, depth), source = call.shape(query), call.shape(key)[1]
    rows = reshaped(call, query, (batch, length, 1, depth), "rows")
    columns = reshaped(call, key, (batch, 1, source, depth), "columns")
    total = binary("ADD", call, rows, columns, "pairs")
    factor = None if scale is None else call.constant("scale", scale)
    if factor is not None and not is_additive:
        total = binary("MUL", call, total, factor, "scaled")
    total = unary("TANH", call, total, "tanh")
    if factor is not None and is_additive:
        total = binary("MUL", call, total, factor, "scaled")
    return call.op("SUM", [total, call.integers("axis", [3])], (batch, length, source), {"keep_dims": False}, "scores")


LAYERS: dict[str, Callable[[Call], str | tuple[str, ...]]] = {
    "AdditiveAttention": attention,
    "Attention": attention,
    "GroupQueryAttention": multi_head_attention,
    "GroupedQueryAttention": multi_head_attention,
    "MultiHeadAttention": multi_head_attention,
}
