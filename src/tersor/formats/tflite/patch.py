"""Other values for constants of a file that is written already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tersor.formats.tflite.schema import raw
from tersor.ir.graph import Tensor


def set_constants(content: bytearray, tensors: Iterable[Tensor]) -> bool:
    """Put values into the constants of these names, in place; their types, shapes and scales stay as they are written.

    Returns whether that could be done. It cannot for a constant that shares its bytes with another one, or whose values
    take other room.
    """
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    written = [graph.Tensors(place) for place in range(graph.TensorsLength())]
    place_of = {tensor.Name(): tensor.Buffer() for tensor in written}
    shared = Counter(tensor.Buffer() for tensor in written)
    for tensor in tensors:
        place = place_of[raw(tensor.name)]
        buffer = model.Buffers(place)
        if tensor.data is None or shared[place] > 1 or buffer.DataLength() != tensor.data.nbytes:
            return False
        buffer.DataAsNumpy()[:] = np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8)
    return True
