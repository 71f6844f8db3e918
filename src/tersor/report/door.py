"""What a program has to do to raw bytes before they enter a file that was made."""

from __future__ import annotations

from collections.abc import Iterable

from tersor.data.preprocess import Preprocess
from tersor.ir.dtypes import DType
from tersor.numerics.affine import offset_of
from tersor.stages.outcome import Outcome


def door_notes(outcome: Outcome, inputs: Iterable[str], preprocess: Preprocess) -> list[str]:
    """A line for each file whose input takes bytes without arithmetic, though the float model's are normalized."""
    if preprocess.is_identity or preprocess.samplewise:
        return []
    notes = []
    for product in outcome.products:
        doors = [] if product.plan is None else [product.plan.interface.get(name) for name in inputs]
        for door in doors:
            if door is None or door.params is None or door.dtype not in (DType.INT8, DType.UINT8):
                continue
            offset = offset_of(preprocess.table(door.params))
            if offset is not None:
                how = f"raw bytes less {-offset}" if offset else "raw bytes"
                notes.append(f"{product.recipe}: takes {how}: {preprocess} is folded into its input's scale")
    return notes
