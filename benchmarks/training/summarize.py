"""What the runs of all methods and seeds say together; in tersor's environment.

    python summarize.py WORK SUMMARY.json

Differences to the float model, and to tfmot's form of a method, are of the same images: the mean over seeds for each
image, and a 95 % interval of the mean over images. How much seeds differ stands beside it, as the least and the most.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from training_page import PEERS

FLOAT = "float"


def summary(work: Path) -> dict[str, Any]:
    """Figures by file, over seeds, and the steps' times."""
    runs = [json.loads(path.read_text()) for path in sorted(work.glob("*/result.json"))]
    found: dict[str, list[dict[str, Any]]] = {}
    right: dict[str, list[Any]] = {}
    for run in runs:
        with np.load(work / f"{run['method']}_{run['seed']}" / "right.npz") as hits:
            for name, figures in run["files"].items():
                found.setdefault(name, []).append({**figures, "seed": run["seed"]})
                right.setdefault(name, []).append(hits[name].astype(np.float64))
    return {
        "sources": sorted({run["tersor_source"] for run in runs if not run["method"].startswith("tfmot")}),
        "minutes": {run["method"]: run["seconds"] / 60 for run in runs},
        "steps": [step for run in runs for step in run.get("steps", ())],
        "files": {name: of_file(name, found[name], right) for name in found},
    }


def of_file(name: str, figures: list[dict[str, Any]], hits: dict[str, list[Any]]) -> dict[str, Any]:
    """One file's figures over seeds."""
    right = hits[name]
    shares = [float(one.mean()) for one in right]
    made = {
        "top1": float(np.mean(shares)),
        "top1_least": min(shares),
        "top1_most": max(shares),
        "seeds": len(shares),
        "images": len(right[0]),
        **{key: figures[0][key] for key in ("bytes", "gzip_bytes", "sparse_bytes", "sparsity") if key in figures[0]},
    }
    agreements = [item["agreement"] for item in figures if "agreement" in item]
    if agreements:
        made["agreement_least"] = min(agreements)
    for key, other in (("to_float", FLOAT), ("to_peer", PEERS.get(name, ""))):
        if other in hits:
            made[key] = difference(np.mean(right, axis=0) - np.mean(hits[other], axis=0))
    return made


def difference(gained: Any) -> dict[str, Any]:
    """The mean of what was gained on each image, and its 95 % interval."""
    mean, spread = float(gained.mean()), 1.959964 * float(gained.std(ddof=1)) / len(gained) ** 0.5
    return {"difference": mean, "interval": [mean - spread, mean + spread]}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(summary(Path(sys.argv[1]))))
