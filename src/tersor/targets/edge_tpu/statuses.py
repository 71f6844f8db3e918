"""What the Edge TPU compiler prints of an operator, word for word."""

from __future__ import annotations

MAPPED = "Mapped to Edge TPU"
UNSPECIFIED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
MORE_THAN_ONE_SUBGRAPH = "More than one subgraph is not supported"
DATA_TYPE = "Operation is working on an unsupported data type"
NOT_SUPPORTED = "Operation not supported"
VERSION = "Operation version not supported"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
NOT_COMPILED = "The compiler refuses the file"
"""Ours: where the compiler prints an error for the whole file, and no status for any operator."""
LEFT = "Not mapped by the compiler"
"""Ours: in a compiled file, which does not say why."""
