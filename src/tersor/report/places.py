"""Where candidates would run on the target: the rows of the pages."""

from __future__ import annotations

from dataclasses import dataclass

from tersor.report.document import Document, Place
from tersor.report.placement import percent


@dataclass(frozen=True)
class PlaceRow:
    """One candidate.

    Attributes:
        name: of the candidate.
        role: "pick", "front" or "other".
        anchor: its place in the table of candidates.
        operators: how many the accelerator takes, of how many.
        macs: the share of these, as text; "" where nothing multiplies.
        place: all else.
    """

    name: str
    role: str
    anchor: str
    operators: str
    macs: str
    place: Place


def place_rows(found: Document) -> list[PlaceRow]:
    """The candidates that were placed, in their order."""
    rows = []
    for item in found.candidates:
        place = found.placements.get(item.name)
        if place is None:
            continue
        counted = "none" if place.refusal is not None else f"{place.mapped} of {place.operators}"
        share = place.share_of_macs
        macs = "" if share is None or place.refusal is not None else percent(share)
        rows.append(PlaceRow(item.name, found.role(item), found.anchor(item), counted, macs, place))
    return rows
