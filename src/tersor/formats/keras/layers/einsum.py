"""Products by an equation: transpositions to [batch, rows, inner] x [batch, inner, columns], and back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.reshape import reshaped, transposed
from tersor.ir.graph import Array

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def spread(call: Call, term: str, count: int) -> str:
    """A term with letters in place of "..."; `count` axes are meant."""
    if "..." not in term:
        return term
    if count < 0 or count > len(_LETTERS):
        raise call.refused(f"the term {term} does not fit its operand")
    return term.replace("...", _LETTERS[:count])


def einsum(call: Call, terms: tuple[str, str, str], a: str, b: str, part: str = "") -> str:
    """A product of two tensors; terms (left, right, result) of letters."""
    left, right, result = terms
    _check(call, terms, (call.shape(a), call.shape(b)))
    a, left = _summed(call, a, left, right + result, "a")
    b, right = _summed(call, b, right, left + result, "b")
    shared, inner, rows, columns = _roles(left, right, result)
    size = dict(zip(left + right, (*call.shape(a), *call.shape(b)), strict=True))
    order = shared + rows + inner
    a = transposed(call, a, [left.index(letter) for letter in order], "a_moved")
    b_order = shared + columns + inner if _is_adjoint(right, shared, columns, inner) else shared + inner + columns
    b = transposed(call, b, [right.index(letter) for letter in b_order], "b_moved")
    sizes = [prod(size[letter] for letter in group) for group in (shared, rows, inner, columns)]
    batch, m, k, n = sizes
    adjoint = b_order == shared + columns + inner and b_order != shared + inner + columns
    a = reshaped(call, a, (batch, m, k), "a_matrix")
    b = reshaped(call, b, (batch, n, k) if adjoint else (batch, k, n), "b_matrix")
    whole = shared + rows + columns
    is_last = whole == result and (batch, m, n) == tuple(size[letter] for letter in result)
    options = {"adj_x": False, "adj_y": adjoint}
    product = call.op("BATCH_MATMUL", [a, b], (batch, m, n), options, part if is_last else "product")
    return _restored(call, product, whole, result, size, part)


def einsum_with(
    call: Call, terms: tuple[str, str, str], tensor: str, kernel: Array, bias: Array | None, is_last: bool
) -> str:
    """A product of a tensor with a constant: FULLY_CONNECTED, where no letter stands in all terms."""
    left, right, result = terms
    part = "" if is_last else "linear"
    _check(call, terms, (call.shape(tensor), kernel.shape))
    shared, inner, rows, columns = _roles(left, right, result)
    if shared or not inner or set(right) - set(left + result) or set(left) - set(right + result):
        product = einsum(call, terms, tensor, call.constant("kernel", kernel), part if bias is None else "product_all")
        if bias is None:
            return product
        return call.op("ADD", [product, call.constant("bias", bias)], call.shape(product), None, part)
    size = dict(zip(left + right, (*call.shape(tensor), *kernel.shape), strict=True))
    k, n = (prod(size[letter] for letter in group) for group in (inner, columns))
    moved = transposed(call, tensor, [left.index(letter) for letter in rows + inner], "moved")
    flat = reshaped(call, moved, (*(size[letter] for letter in rows), k), "rows")
    if not rows:
        flat = reshaped(call, flat, (1, k), "row")
    matrix = kernel.transpose([right.index(letter) for letter in columns + inner]).reshape(n, k)
    offset = np.zeros(n, np.float32)
    joins = bias is not None and bias.ndim <= len(columns) and result.endswith(columns)
    if joins and bias is not None:
        offset = np.broadcast_to(bias, [size[letter] for letter in columns]).reshape(n).copy()
    whole = rows + columns
    ends = whole == result and len(columns) == 1 and bool(rows) and (joins or bias is None)
    inputs = [flat, call.constant("kernel", np.ascontiguousarray(matrix)), call.constant("bias", offset)]
    shape = (*call.shape(flat)[:-1], n)
    options = {"keep_num_dims": True} if len(shape) > 2 else {}
    version = 5 if options else 1
    product = call.op("FULLY_CONNECTED", inputs, shape, options, part if ends else "product", version)
    if joins or bias is None:
        return _restored(call, product, whole, result, size, part)
    product = _restored(call, product, whole, result, size, "restored")
    return call.op("ADD", [product, call.constant("offset", bias)], call.shape(product), None, part)


def _check(call: Call, terms: tuple[str, str, str], shapes: tuple[Sequence[int], Sequence[int]]) -> None:
    left, right, result = terms
    size: dict[str, int] = {}
    for term, shape in zip((left, right), shapes, strict=True):
        if len(term) != len(shape) or len(set(term)) != len(term):
            raise call.refused(f"the term {term!r} of its equation does not fit {list(shape)}")
        for letter, length in zip(term, shape, strict=True):
            if size.setdefault(letter, length) != length:
                raise call.refused(f"{letter!r} of its equation stands for {size[letter]} and for {length}")
    if len(set(result)) != len(result) or not set(result) <= set(size):
        raise call.refused(f"the result {result!r} of its equation is not read")


def _roles(left: str, right: str, result: str) -> tuple[str, str, str, str]:
    """The letters of: all terms; both operands only; the left and the result; the right and the result."""
    shared = "".join(letter for letter in result if letter in left and letter in right)
    inner = "".join(letter for letter in left if letter in right and letter not in result)
    rows = "".join(letter for letter in left if letter in result and letter not in right)
    columns = "".join(letter for letter in right if letter in result and letter not in left)
    return shared, inner, rows, columns


def _is_adjoint(right: str, shared: str, columns: str, inner: str) -> bool:
    """Whether the right operand lies as [batch, columns, inner] already."""
    return right == shared + columns + inner


def _summed(call: Call, tensor: str, term: str, others: str, part: str) -> tuple[str, str]:
    """The tensor without the axes that nothing else names."""
    axes = [place for place, letter in enumerate(term) if letter not in others]
    if not axes:
        return tensor, term
    shape = [size for place, size in enumerate(call.shape(tensor)) if place not in axes]
    name = f"{part}_summed"
    summed = call.op("SUM", [tensor, call.integers(f"{name}_axes", axes)], shape, {"keep_dims": False}, name)
    return summed, "".join(letter for place, letter in enumerate(term) if place not in axes)


def _restored(call: Call, product: str, whole: str, result: str, size: dict[str, int], part: str) -> str:
    shape = tuple(size[letter] for letter in whole)
    if whole == result:
        return reshaped(call, product, shape, part)
    unfolded = reshaped(call, product, shape, "unfolded")
    return transposed(call, unfolded, [whole.index(letter) for letter in result], part)
