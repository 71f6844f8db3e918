"""Integer kernels in NumPy: what a quantized file computes on each kernel set, layer by layer, on any machine."""

from tersor.runtimes.reference.network import Reference
from tersor.runtimes.reference.table import KERNELS, TABLE

__all__ = ["KERNELS", "TABLE", "Reference"]
