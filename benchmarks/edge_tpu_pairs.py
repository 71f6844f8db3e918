"""How often the forecast for the Edge TPU is what its compiler did, over a folder of files from before and after it.

    python benchmarks/edge_tpu_pairs.py FOLDER [--write]

A pair is NAME.tflite and NAME_edgetpu.tflite, with the compiler's log NAME_edgetpu.log where there is one. An operator
was mapped if what it computes is no longer computed by an operator of its own in the compiled file. `--write` writes
docs/benchmarks/edge_tpu.md and .json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tersor.errors import TersorError
from tersor.formats import tflite
from tersor.formats.tflite.edge_tpu_package import OPERATOR
from tersor.ir.placement import CPU
from tersor.stages.compilation import was_mapped
from tersor.stages.place import place
from tersor.targets.edge_tpu.compiler import statuses_in
from tersor.targets.edge_tpu.memory import PARAMETERS

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks" / "edge_tpu.md"


@dataclass(frozen=True)
class Pair:
    """One pair.

    Attributes:
        name: of the file.
        operators: how many there are.
        mapped: how many of them the compiler mapped.
        wrong: those of which the forecast says otherwise, by their places.
        log: whether the counts of all statuses are those of the log; None without one.
        parameters: bytes in the compiled file.
        estimate: bytes in the forecast.
        seconds: that the forecast took.
    """

    name: str
    operators: int
    mapped: int
    wrong: tuple[int, ...]
    log: bool | None
    parameters: int
    estimate: float
    seconds: float


def compare(source: Path) -> Pair:
    """The forecast for one file beside what became of it. Raises TersorError for a file that is not read."""
    model = tflite.read(source)
    compiled = tflite.read(source.with_name(f"{source.stem}_edgetpu.tflite"))
    began = time.perf_counter()
    pieces = sum(op.custom_code == OPERATOR for op in compiled.graph.ops)
    placement = place(model, "edge_tpu", multiple_subgraphs=pieces > 1)
    seconds = time.perf_counter() - began
    truth = was_mapped(model.graph, compiled.graph)
    wrong = [item.index for item, mapped in zip(placement.operators, truth, strict=True) if (item.on != CPU) != mapped]
    log = source.with_name(f"{source.stem}_edgetpu.log")
    agrees = statuses_in(log.read_text("utf-8", "replace")) == placement.counts() if log.exists() else None
    given = place(compiled).amount(PARAMETERS)
    estimate = placement.amount(PARAMETERS)
    return Pair(source.stem, len(truth), sum(truth), tuple(wrong), agrees, given, estimate, round(seconds, 3))


def _sources(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*.tflite") if not path.stem.endswith("_edgetpu"))
    return [path for path in files if path.with_name(f"{path.stem}_edgetpu.tflite").exists()]


def _summary(pairs: list[Pair]) -> str:
    exact = sum(not pair.wrong for pair in pairs)
    operators, wrong = sum(pair.operators for pair in pairs), sum(len(pair.wrong) for pair in pairs)
    logs = [pair.log for pair in pairs if pair.log is not None]
    return (
        f"{exact} of {len(pairs)} pairs exact; {operators - wrong} of {operators} operators; "
        f"{sum(logs)} of {len(logs)} logs equal"
    )


def _page(pairs: list[Pair]) -> str:
    rows = [
        "# Forecast and compiler: the Edge TPU",
        "",
        "Written by `python benchmarks/edge_tpu_pairs.py FOLDER --write` from public models before and after the real",
        "compiler. The rules were made with these pairs at hand, so this shows that they are kept, not how well they",
        "generalize.",
        "",
        f"**{_summary(pairs)}.**",
        "",
        "| model | operators | mapped by the compiler | forecast wrong | log | parameters | estimate |",
        "|---|--:|--:|--:|---|--:|--:|",
    ]
    for pair in pairs:
        log = {None: "none", True: "equal", False: "differs"}[pair.log]
        error = f"{100 * (pair.estimate / pair.parameters - 1):+.1f} %" if pair.parameters else ""
        cells = (pair.name, pair.operators, pair.mapped, len(pair.wrong), log, f"{pair.parameters:,}", error)
        rows.append(f"| {' | '.join(map(str, cells))} |")
    rows += [
        "",
        "Parameters are the bytes that the compiled file holds for the device; the estimate is how far `tersor place`",
        "is from them. That of an LSTM is far off: the device is given tables besides its weights.",
        "",
    ]
    return "\n".join(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/edge_tpu.md and .json")
    given = parser.parse_args()
    pairs = []
    for source in _sources(given.folder):
        try:
            pair = compare(source)
        except (TersorError, ValueError) as error:
            print(f"{source.name}: {error}", file=sys.stderr)
            continue
        pairs.append(pair)
        verdict = "exact" if not pair.wrong else f"WRONG at {', '.join(map(str, pair.wrong[:20]))}"
        print(f"{pair.name}: {pair.mapped} of {pair.operators} mapped, {verdict}, log {pair.log}, {pair.seconds} s")
    if not pairs:
        sys.exit(f"{given.folder}: no pair of NAME.tflite and NAME_edgetpu.tflite")
    print(_summary(pairs))
    if given.write:
        DOCS.write_text(_page(pairs), "utf-8")
        DOCS.with_suffix(".json").write_text(json.dumps([asdict(pair) for pair in pairs], indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
