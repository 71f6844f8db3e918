"""What `produce` measured, as a table in the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.markup import escape
from rich.table import Table

from tersor.report import cells
from tersor.stages.outcome import Outcome, Product
from tersor.stages.quantities import size


def outcome_table(outcome: Outcome) -> Table:
    """One row per file, narrow enough for 80 columns; columns without any figure are left out."""
    rows = (outcome.reference, *outcome.products)
    scored = next((row.score.metric for row in rows if row.score is not None), None)
    columns: list[tuple[str, Callable[[Product], str]]] = [("size", lambda row: _size(row, outcome.reference))]
    if scored is not None:
        columns.append((scored, lambda row: cells.score(row.score)))
        columns.append(("change [95 %]", lambda row: cells.change(row.score, row.change)))
    if any(row.agreement is not None for row in rows):
        columns.append(("agree", lambda row: cells.agreement(row.agreement)))
    if any(row.distances for row in rows):
        columns.append(("SQNR", lambda row: cells.sqnr(row.sqnr_db)))
    if any(row.timing is not None for row in rows):
        columns.append(("latency", _latency))
    if any(row.plan is not None and row.plan.left_in_float() for row in rows):
        columns.append(("float", _left))
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("flavour", no_wrap=True)
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, (row.recipe, *(cell(row) for _, cell in columns))))
    return table


def footnotes(outcome: Outcome, *, lossy_without_data: bool = False) -> list[str]:
    """What the figures rest on; there may be flavours that lose something, and no data to see what."""
    notes = ["without --data losses are not measured"] if lossy_without_data else []
    if outcome.calibration_samples:
        notes.append(f"calibrated on {outcome.calibration_samples} samples")
    if outcome.evaluation_samples:
        same = "other samples" if outcome.disjoint else "the SAME samples (no others were given: too rosy)"
        notes.append(f"measured on {outcome.evaluation_samples} {same if outcome.calibration_samples else 'samples'}")
    if any(product.change is not None for product in outcome.products):
        notes.append("change: from float on the same samples, sample by sample; in the first row float's own interval")
    if any(product.distances for product in outcome.products):
        notes.append("agree: same arg-max as the float model; SQNR: float output over quantization error, in dB")
    if any(product.plan is not None and product.plan.left_in_float() for product in outcome.products):
        notes.append("float: operators that stay in float")
    if any(product.timing is not None for product in outcome.products):
        run = "" if outcome.batch == 1 else f"{outcome.batch} samples at once, "
        notes.append(f"latency: {run}one thread of this machine, median of interleaved rounds, ratio to float")
    if outcome.products:
        kernels = " and ".join(seen.kernels for seen in outcome.products[0].verified)
        notes.append(f"every file was loaded and run on the {kernels} kernels; figures are from xnnpack")
    folders = {product.path.parent for product in outcome.products if product.path is not None}
    files = [str(product.path) for product in outcome.products]
    written = files if len(files) < 3 or len(folders) > 1 else [f"{len(files)} files in {folders.pop()}/"]
    return [*notes, *(f"wrote {what}" for what in written)]


def _size(row: Product, reference: Product) -> str:
    return size(row.size_bytes) if row is reference else cells.size_beside(row.size_bytes, reference.size_bytes)


def _latency(row: Product) -> str:
    if row.timing is None:
        return "-"
    return f"{row.timing.median_ms:.2f} ms {row.timing.ratio:.1f}x"


def _left(row: Product) -> str:
    if row.plan is None:
        return ""
    left = len(row.plan.left_in_float())
    return str(left) if left else "-"
