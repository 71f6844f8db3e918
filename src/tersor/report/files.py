"""Everything that a report consists of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from tersor.errors import OutputError
from tersor.report.diagnosis import diagnosis_to_dict
from tersor.report.document import Document, document_of
from tersor.report.markdown import markdown
from tersor.report.model_explorer import MEASURES, node_data
from tersor.report.search import search_to_dict, write_report_json
from tersor.report.tables import candidates_csv, layers_csv
from tersor.report.targets import placements_to_dict
from tersor.stages.debug import Diagnosis
from tersor.stages.place_everywhere import Judged
from tersor.stages.save import atomic
from tersor.stages.search import REPORT, Search

HTML, LAYERS = "report.html", "layers.csv"


def write_report(
    found: Search,
    diagnoses: Mapping[str, Diagnosis] | None = None,
    commands: Mapping[str, str] | None = None,
    placements: Mapping[str, Judged] | None = None,
) -> tuple[list[Path], str | None]:
    """Write report.json and all that is made of it into the folder of a search.

    Args:
        found: the search.
        diagnoses: what `explain` found.
        commands: "command", that made the search, and "pick_command", that makes the pick alone.
        placements: where candidates would run, by name.

    Returns the files, and where there is no HTML, the sentence that says why and what to do. Raises OutputError.
    """
    path = found.folder / REPORT
    looked_into = {name: diagnosis_to_dict(item) for name, item in (diagnoses or {}).items()}
    further = {**(commands or {}), "diagnoses": looked_into, "placements": placements_to_dict(placements or {})}
    write_report_json(found, path, further)
    written, missing = write_files(document_of(search_to_dict(found) | further, str(path)), found.folder)
    return [*written, path], missing


def write_files(found: Document, folder: str | Path) -> tuple[list[Path], str | None]:
    """Write report.md, the tables, node data and report.html into a folder.

    Returns the files, and where there is no HTML, the sentence that says why and what to do. Raises OutputError.
    """
    folder = Path(folder)
    texts = {"report.md": markdown(found), "candidates.csv": candidates_csv(found)}
    if found.diagnoses:
        texts[LAYERS] = layers_csv(found)
    for place, (name, part) in enumerate(found.diagnoses.items(), 1):
        stem = re.sub(r"[^\w.-]", "_", name) or f"candidate_{place}"
        for measure in MEASURES:
            texts[f"{stem}.{measure}.node_data.json"] = json.dumps(node_data(name, part, measure), indent=2) + "\n"
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, "utf-8")
    for path in {
        folder / LAYERS,
        *(item for measure in MEASURES for item in folder.glob(f"*.{measure}.node_data.json")),
    }:
        if path.name not in texts:  # of layers that were looked into for an earlier report
            with suppress(OSError):
                path.unlink()
    written = [folder / name for name in texts]
    if (missing := missing_packages()) is not None:
        return written, f"{missing}; then: tersor report {folder}"
    from tersor.report.page import render, write_html

    write_html(render(found), folder / HTML)
    return [folder / HTML, *written], None


def missing_packages() -> str | None:
    """Why no HTML can be written and what to install; None if it can."""
    try:
        import_module("tersor.report.page")
    except OutputError as error:
        return str(error)
    return None
